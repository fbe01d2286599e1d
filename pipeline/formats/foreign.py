"""Image formats that are known by name and not accepted: each is a row of facts, not a parser.

A row: name, offset of the magic (negative: from the end), magic, words for the person, where the
format is described.  The virtual size is read where one fixed field holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.formats import trailer
from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.bounded import padded
from pipeline.source import Reader


@dataclass(frozen=True)
class Foreign:
    """One row; ``size_at`` and ``size_unit`` say where the virtual size is and in what."""

    name: str
    offset: int
    magic: bytes
    words: str
    described: str
    size_at: int | None = None
    size_order: Literal["little", "big"] = "little"
    size_unit: int = 1
    encrypted: bool = False


_QEMU = "https://gitlab.com/qemu-project/qemu/-/blob/master/"

_DMG = Foreign(
    "dmg",
    -512,
    b"koly\0\0\0\x04",
    "an Apple disk image (DMG)",
    _QEMU + "block/dmg.c",
    -20,  # 492 in a trailer of 512 bytes
    size_order="big",
    size_unit=512,
)

ROWS = (
    Foreign(
        "qcow",
        0,
        b"QFI\xfb\0\0\0\x01",
        "a qcow image of version 1, obsolete since 2008",
        _QEMU + "block/qcow.c",
        24,
        size_order="big",
    ),
    Foreign("qed", 0, b"QED\0", "a QED image", _QEMU + "docs/interop/qed_spec.rst", 48),
    Foreign(
        "parallels",
        0,
        b"WithoutFreeSpace",
        "a Parallels image",
        _QEMU + "docs/interop/parallels.rst",
        36,
        size_unit=512,
    ),
    Foreign(
        "parallels",
        0,
        b"WithouFreSpacExt",
        "a Parallels image",
        _QEMU + "docs/interop/parallels.rst",
        36,
        size_unit=512,
    ),
    Foreign("bochs", 0, b"Bochs Virtual HD Image", "a Bochs image", _QEMU + "block/bochs.c"),
    Foreign(
        "cloop",
        0,
        b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop",
        "a compressed loop image (cloop)",
        _QEMU + "block/cloop.c",
    ),
    _DMG,
    Foreign(
        "dmg",
        0,
        b"encrcdsa",
        "an encrypted Apple disk image (DMG)",
        "https://github.com/libyal/libmodi/tree/main/documentation",
        encrypted=True,
    ),
    Foreign(
        "dmg",
        0,
        b"sprs",
        "an Apple sparse image",
        "https://github.com/libyal/libmodi/tree/main/documentation",
    ),
    Foreign(
        "wim",
        0,
        b"MSWIM\0\0\0",
        "a Windows installation image (WIM), files and not a disk",
        "https://www.microsoft.com/en-us/download/details.aspx?id=13096",
    ),
    Foreign(
        "wim",
        0,
        b"WLPWM\0\0\0",
        "a Windows installation image (pipable WIM), files and not a disk",
        "https://wimlib.net/",
    ),
    Foreign(
        "nrg",
        -12,
        b"NER5",
        "a Nero disc image (NRG)",
        "https://en.wikipedia.org/wiki/NRG_(file_format)",
    ),
    Foreign(
        "cso",
        0,
        b"CISO\0\0\0\0",
        "a compressed disc image (CSO)",
        "https://github.com/unknownbrackets/maxcso/blob/master/README_CSO.md",
    ),
    Foreign(
        "daa",
        0,
        b"DAA\0\0\0\0\0",
        "a PowerISO disc image (DAA)",
        "https://en.wikipedia.org/wiki/Direct_Access_Archive",
    ),
    Foreign(
        "aff",
        0,
        b"AFF10\r\n\0",
        "a forensic image (AFF)",
        "https://github.com/sshock/AFFLIBv3",
    ),
    Foreign(
        "ewf",
        0,
        b"EVF\x09\x0d\x0a\xff\0",
        "an EnCase evidence image (E01)",
        "https://github.com/libyal/libewf/tree/main/documentation",
    ),
    Foreign(
        "android-sparse",
        0,
        b"\x3a\xff\x26\xed\x01\0",
        "an Android sparse image",
        "https://android.googlesource.com/platform/system/core/+/refs/heads/main/libsparse/",
    ),
    Foreign(
        "partclone",
        0,
        b"partclone-image",
        "a Partclone image of file systems",
        "https://github.com/Thomas-Tsai/partclone",
    ),
    Foreign(
        "chd",
        0,
        b"MComprHD",
        "a MAME hard disk image (CHD)",
        "https://github.com/mamedev/mame/blob/master/src/lib/util/chd.h",
    ),
    Foreign(
        "vmware-vmss",
        0,
        b"\xd2\xbe\xd2\xbe",
        "a VMware suspended state, memory and not a disk",
        "https://github.com/volatilityfoundation/volatility/wiki/VMware-Snapshot-File",
    ),
)


class ForeignFormat(Format):
    """A file that one of the rows describes."""

    name = "foreign"
    checks = ("unsupported-format", "encrypted-container")

    def matches(self, reader: Reader) -> bool:
        """One of the magics holds."""
        return _find(reader) is not None

    def signature(self, reader: Reader) -> str | None:
        """The row's name."""
        row = _find(reader)
        return row.name if row else None

    def lost_end(self, reader: Reader) -> Problem | None:
        """For a file whose name says DMG: whether its trailer has something appended behind it."""
        at = trailer.anywhere(reader, _DMG.magic)
        if at is None:
            return None
        return Problem("unsupported-format", f"{_DMG.words}, and something behind it", at, 512)

    def inspect(self, reader: Reader) -> Container:
        """The name, and the virtual size where a field holds it."""
        row = _find(reader)
        assert row is not None
        start = _start(row, reader)
        problems = [Problem("unsupported-format", row.words, start, len(row.magic))]
        if row.encrypted:
            problems.append(Problem("encrypted-container", row.words, start, len(row.magic)))
        return Container(
            row.name,
            _size(row, reader),
            encrypted=row.encrypted,
            problems=tuple(problems),
            details={"described": row.described},
        )


def _find(reader: Reader) -> Foreign | None:
    """The row whose magic holds, if any."""
    for row in ROWS:
        if reader.read(_start(row, reader), len(row.magic)) == row.magic:
            return row
    return None


def _start(row: Foreign, reader: Reader) -> int:
    return row.offset if row.offset >= 0 else reader.size + row.offset


def _size(row: Foreign, reader: Reader) -> int | None:
    if row.size_at is None:
        return None
    at = row.size_at if row.size_at >= 0 else reader.size + row.size_at
    value = int.from_bytes(padded(reader, at, 8), row.size_order)
    return value * row.size_unit or None
