"""What is said of every field of every format at its edges: all findings and facts, word for word.

The tables in ``said`` are written by ``python tests/every_field.py`` and were read, not proved: they show
what a change of the code changes.  What is right is in the tests beside this one.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import google_crc32c
import handmade
import handmade_vhdx
import pytest
from handmade import MIB, Memory, be64, le32, le64, patched

from pipeline import formats
from pipeline.formats.foreign import ROWS
from tests import every_field
from tests.every_field import Structure, run

HERE = Path(__file__).parent
CLUSTER = 4096
COPIED = 1 << 63


def tell(name: str) -> Callable[[Memory], dict[str, Any]]:
    """What identification says of a file of that name."""

    def told(reader: Memory) -> dict[str, Any]:
        found = formats.identify(reader, name=name)
        facts = every_field.flat(asdict(found.container))
        facts.pop("problems")
        facts |= {"matches": found.matches, "suffix": found.suffix, "read": found.bytes_read}
        facts["nested"] = formats.nested(reader)
        for number, item in enumerate(found.problems):
            place = "" if item.offset is None else f" at {item.offset}+{item.length}"
            facts[f"{item.rule} {number}" if number else item.rule] = f"{item.detail!r}{place}"
        return {key: value for key, value in facts.items() if value not in (None, (), [], False)}

    return told


# ------------------------------------------------------------------------------------- qcow2

_QCOW2_V2 = run(0, 4, 4, 8, 4, 4, 8, 4, 4, 8, 8, 4, 4, 8)
_QCOW2_V3 = (*_QCOW2_V2, *run(72, 8, 8, 8, 4, 4))


def _qcow2_tables(bits: int, entries: int) -> tuple[every_field.Field, ...]:
    cluster = 1 << bits
    return (
        *run(cluster, 8, 8),
        *run(2 * cluster, 2, 2, 2),
        *run(3 * cluster, 8),
        *run(4 * cluster, *[8] * entries),
    )


def _qcow2_snapshots() -> bytes:
    """Two snapshots in a cluster behind the data."""
    image = handmade.qcow2(bits=12)
    entries = b""
    for number, name in ((1, b"before"), (2, b"after the update")):
        entry = struct.pack(">QIHHIIQII", 3 * CLUSTER, 1, 1, len(name), 0, 0, 0, 0, 16)
        entry += be64(0) + be64(MIB) + str(number).encode() + name
        entries += entry + bytes(-len(entry) % 8)
    image = patched(image, 60, struct.pack(">IQ", 2, len(image)))
    return image + entries.ljust(CLUSTER, b"\0")


def _qcow2_compressed() -> bytes:
    """One cluster that is compressed into two sectors, and one that is stored."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    packed = packer.compress(bytes(range(256)) * 16) + packer.flush()
    descriptor = 1 << 62 | 5 * CLUSTER | (len(packed) // 512) << 58
    image = handmade.qcow2(l2=(descriptor, 6 * CLUSTER | COPIED, 1))
    return patched(image, 5 * CLUSTER, packed)


def _qcow2_bitmaps() -> bytes:
    """A bitmap directory in the last cluster, as its header extension says."""
    directory = struct.pack(">QIIBBHI", 4 * CLUSTER, 1, 2, 1, 16, 4, 0) + b"dirt" + bytes(4)
    extension = struct.pack(">IIQQ", 1, 0, len(directory), 8 * CLUSTER)
    image = handmade.qcow2(extensions=((0x23852875, extension),))
    return patched(image, 88, be64(1)) + directory.ljust(CLUSTER, b"\0")


QCOW2 = {
    "qcow2-version-2": Structure(
        handmade.qcow2(version=2, bits=9, size=32768),
        (*_QCOW2_V2, *_qcow2_tables(9, 4)),
        cuts=(4, 71, 72, 512, 2560, 3072, 4095, 4097),
    ),
    "qcow2": Structure(
        handmade.qcow2(extensions=((0xE2792ACA, b"raw"), (0x6803F857, bytes(48)))),
        (*_QCOW2_V3, *run(104, 4, 4, 8, 4, 4, 8), *_qcow2_tables(12, 4)),
        cuts=(8, 103, 104, 4096, 8192, 8 * CLUSTER - 1, 8 * CLUSTER + 1, 9 * CLUSTER),
    ),
    "qcow2-backed": Structure(
        handmade.qcow2(backing=b"base.img", extensions=((0xE2792ACA, b"raw"),)),
        run(8, 8, 4),
    ),
    "qcow2-external-data": Structure(
        handmade.qcow2(incompatible=4, extensions=((0x44415441, b"disk.raw"),)),
        (*run(72, 8), *run(104, 4, 4)),
    ),
    "qcow2-zstd": Structure(
        handmade.qcow2(incompatible=8, compression=1), (*run(72, 8), *run(100, 4, 1))
    ),
    "qcow2-extended": Structure(
        patched(
            handmade.qcow2(bits=14, l2=(5 << 14 | COPIED, 1, 6 << 14 | COPIED, 1 << 32)),
            72,
            be64(16),
        ),
        (*run(72, 8), *_qcow2_tables(14, 4)),
    ),
    "qcow2-snapshots": Structure(
        _qcow2_snapshots(),
        (*run(60, 4, 8), *run(8 * CLUSTER, 8, 4, 2, 2, 4, 4, 8, 4, 4, 8, 8, 1)),
        cuts=(8 * CLUSTER + 39, 8 * CLUSTER + 40, 8 * CLUSTER + 200),
    ),
    "qcow2-compressed": Structure(_qcow2_compressed(), run(4 * CLUSTER, 8, 8, 8)),
    "qcow2-bitmaps": Structure(
        _qcow2_bitmaps(),
        (*run(88, 8), *run(104, 4, 4, 4, 4, 8, 8), *run(8 * CLUSTER, 8, 4, 4, 1, 1, 2, 4)),
    ),
    "qcow2-large": Structure(
        handmade.qcow2(bits=16, size=1 << 40),
        (*run(16, 4, 4, 8), *run(36, 4, 8, 8, 4), *run(3 << 16, 8, 8)),
    ),
}

# -------------------------------------------------------------------------------------- vmdk

_VMDK_HEADER = run(0, 4, 4, 4, 8, 8, 8, 8, 4, 8, 8, 8, 1, 1, 1, 1, 1, 2)
_STREAM = handmade.vmdk_stream()
_STREAM_END = len(_STREAM) - 1024  # the header's copy, before the last marker


def _described(was: str, becomes: str) -> Structure:
    text = handmade.vmdk_descriptor().replace(was.encode(), becomes.encode())
    return Structure(handmade.vmdk(descriptor=text))


VMDK = {
    "vmdk": Structure(
        handmade.vmdk(),
        (*_VMDK_HEADER, *run(21 * 512, 4, 4), *run(22 * 512, 4, 4, 4, 4)),
        "little",
        cuts=(4, 79, 511, 512, 21 * 512, 22 * 512, 128 * 512, 384 * 512 - 1, 384 * 512 + 1),
    ),
    "vmdk-stream": Structure(
        _STREAM,
        (
            *_VMDK_HEADER,
            *run(_STREAM_END, 4, 4, 4, 8),
            *run(_STREAM_END + 44, 4, 8, 8, 8),
            *run(_STREAM_END + 512, 8, 4, 4),
            *run(_STREAM_END - 512, 8, 4, 4),
            *run(_STREAM_END - 1024, 4, 4),
            *run(128 * 512, 8, 4),
        ),
        "little",
        cuts=(len(_STREAM) - 512, len(_STREAM) - 1, len(_STREAM) + 1, len(_STREAM) + 512),
    ),
    **{
        f"vmdk-directory-at-{sector}": Structure(patched(handmade.vmdk(), 56, le64(sector)))
        for sector in ((1 << 54) - 1, 1 << 54, 1 << 55)
    },
    "vmdk-text": Structure(handmade.vmdk_descriptor(extent="FLAT", kind="monolithicFlat")),
    **{
        f"vmdk-text-{number}": _described(was, becomes)
        for number, (was, becomes) in enumerate(
            (
                ("ide", "lsilogic"),
                ("version=1", "version=4"),
                ("CID=12345678\n", "CID=ffffffff\n"),
                ("parentCID=ffffffff", 'parentCID=0badcafe\nparentFileNameHint="base.vmdk"'),
                ("monolithicSparse", "custom"),
                ("RW 2048 SPARSE", "RDONLY 2048 SPARSE"),
                ("RW 2048 SPARSE", "NOACCESS 2048 SPARSE"),
                ("RW 2048 SPARSE", "RW 2047 SPARSE"),
                ("RW 2048 SPARSE", "RW 2048 VMFSSPARSE"),
                ('"disk.vmdk"', '"../disk.vmdk"'),
                ("# Disk DescriptorFile", "# Disk Descriptor File"),
                ("createType=", "CREATETYPE = "),
                ("ddb.adapterType", 'encryption.keySafe = "x"\nddb.adapterType'),
                ("ddb.adapterType", 'changeTrackPath="a-ctk.vmdk"\nddb.adapterType'),
                ("ddb.adapterType", 'ddb.uuid = "60 00 C2 9f"\nddb.toolsVersion'),
                ("ddb.adapterType", f'ddb.uuid = "{"60 00 C2 9f-" * 4}"\n#'),
                ("ddb.adapterType", f'ddb.uuid = "{"60 00 C2 9f-" * 4}0"\n#'),
                ("RW 2048 SPARSE", "# RW 2048 SPARSE"),
                ("ddb.adapterType", 'RW 5 SPARSE "x.vmdk"\n#'),
            )
        )
    },
}

# ---------------------------------------------------------------------------------------- vdi

VDI = {
    "vdi": Structure(
        handmade.vdi(),
        (
            *run(0, 4),
            *run(64, 4, 4, 4, 4, 4),
            *run(340, *[4] * 7, 8, 4, 4, 4, 4),
            *run(392, 4, 12, 16, 16, 16),
            *run(512, 4, 4, 4, 4, 4),
        ),
        "little",
        cuts=(63, 67, 455, 456, 511, 512, 1023, 1024, MIB, 2 * MIB + 1023, 2 * MIB + 1025, 3 * MIB),
    ),
    "vdi-fixed": Structure(handmade.vdi(kind=2), run(76, 4), "little"),
}

# --------------------------------------------------------------------------------------- vhdx


def _crc(at: int, length: int) -> Callable[[Memory], Memory]:
    def mend(changed: Memory) -> Memory:
        zeroed = changed.also(at + 4, bytes(4))
        return zeroed.also(at + 4, le32(google_crc32c.value(zeroed.read(at, length))))

    return mend


def _all(*menders: Callable[[Memory], Memory]) -> Callable[[Memory], Memory]:
    def mend(changed: Memory) -> Memory:
        for each in menders:
            changed = each(changed)
        return changed

    return mend


_VHDX = handmade_vhdx.vhdx()
_HEADS = _all(_crc(64 << 10, 4096), _crc(128 << 10, 4096))
_REGIONS = _all(_crc(192 << 10, 65536), _crc(256 << 10, 65536))
_VHDX_ITEMS = 2 * MIB + 32

VHDX = {
    "vhdx": Structure(
        _VHDX,
        (*run(0, 8, 2, 2), *run(64 << 10, 4, 4, 8), *run(3 * MIB, 8, 8, 8, 8, 8)),
        "little",
        cuts=(
            8,
            65536,
            3 * 65536,
            MIB,
            2 * MIB,
            3 * MIB,
            4 * MIB,
            5 * MIB - 1,
            5 * MIB + 1,
            6 * MIB,
        ),
    ),
    "vhdx-head": Structure(
        _VHDX, run(128 << 10, 4, 4, 8, 16, 16, 16, 2, 2, 4, 8), "little", mend=_HEADS
    ),
    "vhdx-regions": Structure(
        _VHDX,
        run(192 << 10, 4, 4, 4, 4, 16, 8, 4, 4, 16, 8, 4, 4),
        "little",
        mend=_REGIONS,
    ),
    "vhdx-metadata": Structure(
        _VHDX,
        (
            *run(2 * MIB, 8, 2, 2),
            *(field for item in range(5) for field in run(_VHDX_ITEMS + 32 * item, 16, 4, 4, 4)),
            *run(2 * MIB + 65536, 4, 4, 8, 4, 4, 16),
        ),
        "little",
    ),
    "vhdx-log": Structure(
        handmade_vhdx.vhdx(log_id=b"\7" * 16, entry=True),
        (*run((128 << 10) + 48, 16, 2, 2, 4, 8), *run(MIB, 4), *run(MIB + 32, 16)),
        "little",
        mend=_HEADS,
    ),
    **{
        f"vhdx-blocks-of-{size}": Structure(patched(_VHDX, 2 * MIB + 65536, le32(size)))
        for size in (MIB // 2, 2 * MIB, 3 * MIB, 128 * MIB, 256 * MIB, 512 * MIB)
    },
    **{
        f"vhdx-disk-of-{size}": Structure(patched(_VHDX, 2 * MIB + 65544, le64(size)))
        for size in (MIB - 512, 64 << 40, (64 << 40) + MIB)
    },
    "vhdx-fixed": Structure(handmade_vhdx.vhdx(flags=1), run(3 * MIB, 8, 8), "little"),
    "vhdx-parent": Structure(handmade_vhdx.vhdx(flags=2), run(3 * MIB, 8), "little"),
}

# ---------------------------------------------------------------------------------------- vhd


def _vhd_sum(at: int, length: int, place: int) -> Callable[[Memory], Memory]:
    def mend(changed: Memory) -> Memory:
        zeroed = changed.also(at + place, bytes(4))
        total = ~sum(zeroed.read(at, length)) & 0xFFFFFFFF
        return zeroed.also(at + place, total.to_bytes(4, "big"))

    return mend


vhd_sums = _all(_vhd_sum(0, 512, 64), _vhd_sum(512, 1024, 36))
"""Of the footer's copy and of the header."""

_FOOTER = (8, 4, 4, 8, 4, 4, 4, 4, 8, 8, 2, 1, 1, 4, 4, 16, 1, 1)
_FIXED = bytes(64 << 10) + handmade.vhd_footer(64 << 10)
_DYNAMIC = handmade.vhd_dynamic(3 * MIB)
_DYNAMIC_END = len(_DYNAMIC) - 512
_BOTH_SUMS = _all(_vhd_sum(0, 512, 64), _vhd_sum(_DYNAMIC_END, 512, 64))


def _both_footers(changed: Memory) -> Memory:
    """What is changed in the copy is changed in the footer as well."""
    for at, new in changed.patches:
        changed = changed.also(_DYNAMIC_END + at, new)
    return _BOTH_SUMS(changed)


VHD = {
    "vhd-fixed": Structure(
        _FIXED,
        run(65536, *_FOOTER),
        mend=_vhd_sum(65536, 512, 64),
        cuts=(
            8,
            65536,
            66047,
            66046,
            65622,
            65621,
            66049,
            66048 + 512,
            66048 + MIB,
            66048 + 2 * MIB,
        ),
    ),
    "vhd-fixed-unsummed": Structure(_FIXED, run(65536, 8, 4, 4, 8, 4, 4)),
    "vhd-footers": Structure(_DYNAMIC, run(0, *_FOOTER), mend=_both_footers),
    "vhd-copy": Structure(_DYNAMIC, run(0, *_FOOTER), mend=_vhd_sum(0, 512, 64)),
    "vhd-header": Structure(
        _DYNAMIC,
        (*run(512, 8, 8, 8, 4, 4, 4), *run(552, 16, 4, 4, 2, 2), *run(1088, 4, 4, 4, 4, 8)),
        mend=_vhd_sum(512, 1024, 36),
    ),
    "vhd-table": Structure(
        _DYNAMIC,
        run(1536, 4, 4, 4),
        cuts=(512, 1535, 1536, 2048, 2560, _DYNAMIC_END, len(_DYNAMIC) - 1, len(_DYNAMIC) + 512),
    ),
    "vhd-differencing": Structure(
        handmade.vhd_dynamic(3 * MIB, kind=4), run(552, 16, 4), mend=_vhd_sum(512, 1024, 36)
    ),
}

# --------------------------------------------------------------------------- discs, archives, others

_VOLUME = (1, 5, 1, 1, 32, 32, 8, 4, 4, 32, 2, 2, 2, 2, 2, 2)
_DISC = handmade.iso(boot=True, area=handmade.mbr())


def _with_root(disc: bytes) -> bytes:
    return patched(disc, 32768 + 156, b"\x22".ljust(25, b"\0") + b"\2")


DISCS = {
    "iso": Structure(
        _DISC,
        (*run(32768, *_VOLUME), *run(34816, 1, 5, 1, 4), *run(36864, 1, 5, 1)),
        "little",
        cuts=(32768, 32769 + 5, 32768 + 131, 32768 + 132, 36864),
    ),
    "iso-by-its-root": Structure(
        patched(_with_root(handmade.iso()), 32768 + 6, b"\0"),
        (*run(32768 + 128, 2), *run(32768 + 156, 1), *run(32768 + 181, 1)),
        "little",
    ),
    "high-sierra": Structure(
        handmade.high_sierra(), run(32768, 4, 4, 1, 5, 1, 1, 32, 32), "little"
    ),
    "raw-disc": Structure(
        handmade.raw_sectors(handmade.iso()), run(16 * 2352, 12, 4, 1, 5, 1), "little"
    ),
    "udf": Structure(
        handmade.udf(),
        (
            *run(32768, 1, 5, 1),
            *run(34816, 1, 5, 1),
            *run(36864, 1, 5, 1),
            *run(524288, 2, 2, 1, 1, 2, 2, 2, 4, 4, 4),
            *run(532480, 2, 2, 1, 1, 2, 2, 2, 4),
            *run(532480 + 84, 1),
            *run(532480 + 211, 1),
        ),
        "little",
    ),
    "udf-without-recognition": Structure(
        handmade.udf(recognised=False), run(524288 + 16, 4, 4), "little"
    ),
}

_TAR = handmade.tar(("disk.ovf", b"<xml/>"), ("disk.vmdk", b"K" * 700))

ARCHIVES = {
    "ova": Structure(
        _TAR,
        (*run(0, 1), *run(124, 12), *run(148, 8), *run(156, 1), *run(257, 5)),
        mend=lambda changed: changed.also(
            148, b"%06o\0 " % (sum(changed.also(148, b" " * 8).read(0, 512)))
        ),
        cuts=(511, 512, 1023),
    ),
    "tar": Structure(handmade.tar(("readme", b"x")), run(148, 8)),
    "gzip": Structure(gzip.compress(b"x" * 4096, mtime=0), run(0, 1, 1, 1, 1), cuts=(2, 9, 10, 18)),
    "gzip-of-a-disc": Structure(gzip.compress(_DISC, mtime=0)),
    "xz": Structure(lzma.compress(b"x" * 4096), run(0, 6, 2, 4), cuts=(6, 11, 12)),
    "xz-of-a-disc": Structure(lzma.compress(_DISC)),
    "lzma": Structure(lzma.compress(b"x" * 4096, lzma.FORMAT_ALONE), run(0, 1, 4, 8, 1), "little"),
    "bzip2": Structure(b"BZh91AY&SY".ljust(64, b"x"), run(0, 3, 1, 6), cuts=(9, 10)),
    "zstd": Structure(b"\x28\xb5\x2f\xfd\x04".ljust(64, b"x"), run(0, 4, 1)),
    "zstd-skippable": Structure(b"\x50\x2a\x4d\x18".ljust(64, b"x"), run(0, 1, 3)),
    "zip-empty": Structure(b"PK\5\6".ljust(22, b"\0"), run(20, 2), "little", cuts=(21, 23)),
    "zip-split": Structure(
        b"PK\7\x08PK\3\4\x14\0\0\0\x08\0".ljust(64, b"x"), run(2, 2, 4, 2), "little"
    ),
    "zip-that-might": Structure(b"PK00PK\3\4\x14\0\0\0\x08\0".ljust(64, b"x"), run(2, 2), "little"),
    "zip": Structure(b"PK\3\4\x14\0\0\0\x08\0".ljust(64, b"x"), run(0, 4, 2, 2, 2), "little"),
}


def _foreign(row: Any) -> bytes:
    room = bytearray(b"\x5a" * 2048)
    at = row.offset if row.offset >= 0 else len(room) + row.offset
    room[at : at + len(row.magic)] = row.magic
    return bytes(room)


OTHERS = {
    "luks": Structure(
        (b"LUKS\xba\xbe\0\2".ljust(168, b"\0") + b"0a3407de-014b-458b-b5c1-848e92a327a3\0").ljust(
            4096, b"\0"
        ),
        run(0, 6, 2),
        cuts=(6, 7, 8, 168),
    ),
    "gpt": Structure(
        handmade.gpt_disk(), (*run(446, 1, 3, 1, 3, 4, 4), *run(510, 2), *run(512, 8)), "little"
    ),
    "nothing": Structure(bytes(4096), run(1080, 2), cuts=(0, 1, 511, 512, 4097)),
    "text": Structure(b"#!/bin/sh\necho hello\n" * 40),
    **{
        f"{row.name}-{n}": Structure(_foreign(row), run(max(row.offset, 0), 4))
        for n, row in enumerate(ROWS)
    },
}

STRUCTURES = QCOW2 | VMDK | VDI | VHDX | VHD | DISCS | ARCHIVES | OTHERS


def compare(name: str) -> None:
    """One structure with the table that is stored."""
    suffix = name.split("-")[0]
    lines = every_field.table(STRUCTURES[name], tell(f"disk.{suffix}"))
    every_field.check(HERE / "said", name, lines)


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said_of_every_field(name: str) -> None:
    compare(name)
