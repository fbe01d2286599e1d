"""Superblocks without a byte that is zero by chance: what is said when any one of their bytes is another.

what is said of the volume as it is
1144 ^01      what is said otherwise now: of a byte that nothing rests on there is no line
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from handmade import Memory, le32, le64, patched

from pipeline.content import filesystems, fs_sizes, lvm
from tests import every_field
from tests.content import test_every_superblock as superblocks
from tests.content.test_every_superblock import KIB, at, tell_group

HERE = Path(__file__).parent
Telling = Callable[[Memory], Mapping[str, Any]]


def tell_volume(reader: Memory) -> Mapping[str, Any]:
    """What the first bytes are as a volume."""
    found = filesystems.describe(reader, 0, reader.size)
    kind = found.type if found else None
    told = {} if found is None else asdict(found)
    told |= {"stated": fs_sizes.stated(reader, kind)}
    return {key: value for key, value in told.items() if value is not None}


def letters(length: int, first: int = 0) -> bytes:
    """So many letters; text ends nowhere in them."""
    return bytes(65 + (first + n) % 26 for n in range(length))


@dataclass(frozen=True)
class Whole:
    """A volume, and the bytes of it that are flipped."""

    data: bytes
    ranges: tuple[tuple[int, int], ...]  # first, and behind the last
    tell: Telling = tell_volume


def _ext(features: tuple[int, int, int], high: int) -> bytes:
    return at(
        4 * KIB,
        (1024, letters(1024)),
        (1028, le32(4)),
        (1048, le32(0)),
        (1024 + 0x38, b"\x53\xef\1\0"),
        (1024 + 0x5C, struct.pack("<III", *features)),
        (1024 + 0x150, le32(high)),
    )


_EXT = ((1024, 1024 + 0x90), (1024 + 0x14C, 1024 + 0x158))
_BTRFS = 65536
_LABEL_16 = "".join(chr(0x400 + n) for n in range(256)).encode("utf-16-le")

WHOLES = {
    "flip-ext3": Whole(_ext((0x4, 0x2, 0x1), 1), _EXT),
    "flip-ext4": Whole(_ext((0x0, 0x80, 0x0), 1), _EXT),
    "flip-xfs": Whole(
        patched(patched(superblocks._xfs(superblocks._RING), 102, letters(22)), 16, letters(16, 3)),
        ((0, 128),),
    ),
    "flip-btrfs": Whole(
        at(
            128 * KIB,
            (_BTRFS, letters(4 * KIB)),
            (_BTRFS + 64, b"_BHRfS_M"),
            (_BTRFS + 0x60, bytes(8)),
            (_BTRFS + 0xC9 + 8, le64(96 * KIB)),
        ),
        tuple(
            (_BTRFS + first, _BTRFS + last)
            for first, last in ((0x1C, 0x70), (0xC4, 0xE4), (0x128, 0x130), (0x224, 0x230))
        ),
    ),
    "flip-exfat": Whole(
        at(4 * KIB, (0, letters(512)), (3, b"EXFAT   "), (106, bytes(2))), ((0, 112),)
    ),
    "flip-luks1": Whole(at(4 * KIB, (0, letters(512)), (0, b"LUKS\xba\xbe\0\1")), ((0, 212),)),
    "flip-luks2": Whole(at(4 * KIB, (0, letters(512)), (0, b"LUKS\xba\xbe\0\2")), ((0, 212),)),
    "flip-swap": Whole(
        at(
            16 * KIB,
            (1024, letters(256)),
            (1024, struct.pack("<II", 1, 3)),
            (4076, letters(20)),
            (4086, b"SWAPSPACE2"),
        ),
        ((1020, 1072), (4084, 4098)),
    ),
    "flip-f2fs": Whole(
        at(4 * KIB, (1024, letters(1024)), (1024, le32(0xF2F52010)), (1148, _LABEL_16)),
        ((1022, 1030), (1130, 1154), (1656, 1666)),
    ),
    "flip-ntfs": Whole(
        patched(superblocks._ntfs(), 66, letters(6)),
        ((0, 90), (superblocks._RECORD, superblocks._RECORD + 140)),
    ),
    "flip-fat16": Whole(superblocks._FAT16, ((0, 64), (508, 520))),
    "flip-fat32": Whole(superblocks._FAT32, ((0, 92), (508, 516), (32 * 512, 32 * 512 + 10))),
    "flip-lvm": Whole(superblocks._lvm(), ((512, 640), (4096, 4164)), tell_group),
}
STRUCTURES = tuple(WHOLES)


def flips(whole: Whole) -> Iterator[str]:
    """The lines of one volume."""
    base = whole.tell(Memory(whole.data))
    yield from every_field.compared(base, ())
    for first, last in whole.ranges:
        for place in range(first, last):
            for mask in (0x01, 0xFF):
                changed = Memory(patched(whole.data, place, bytes([whole.data[place] ^ mask])))
                said = every_field.otherwise(base, whole.tell(changed))
                if said:
                    yield f"{place} ^{mask:02x}  {said}"


def compare(name: str) -> None:
    """One volume with the table that is stored."""
    every_field.check(HERE / "said", name, flips(WHOLES[name]))


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_rests_on_each_byte(name: str) -> None:
    compare(name)


# ------------------------------------------------------------------------------- at any place

BASE = (1 << 20) - 1
"""All its low bits are set, so that nothing but a sum leads to a place behind it."""


@pytest.mark.parametrize("name", [*superblocks.VOLUMES, *superblocks.GROUPS])
def test_a_volume_is_the_same_wherever_it_lies(name: str) -> None:
    data = (superblocks.VOLUMES | superblocks.GROUPS)[name].data
    here, there = Memory(data), Memory(bytes(BASE) + data + bytes(KIB))

    found = filesystems.describe(here, 0, len(data))

    assert filesystems.describe(there, BASE, len(data)) == found
    kind = found.type if found else None
    assert fs_sizes.stated(there, kind, BASE) == fs_sizes.stated(here, kind)
    assert lvm.parse(there, BASE) == lvm.parse(here, 0)
    assert lvm.identifier(there, BASE) == lvm.identifier(here, 0)
