"""What is said of every field of every superblock and partition table at its edges, word for word.

The superblocks are written by hand, each field with a value of its own; what real programs write is in
the tests beside this one.  ``python tests/every_field.py`` writes the tables in ``said``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import handmade
import pytest
from handmade import MIB, Memory, le32, patched

from pipeline.content import cpio, disk, filesystems, fs_sizes, lvm, xfs_log
from tests import every_field
from tests.every_field import Structure, run

HERE = Path(__file__).parent
KIB = 1 << 10


def at(size: int, *parts: tuple[int, bytes]) -> bytes:
    """Zeros, with these bytes at their places."""
    image = bytearray(size)
    for offset, data in parts:
        image[offset : offset + len(data)] = data
    return bytes(image)


def tell_disk(reader: Memory) -> Mapping[str, Any]:
    """All facts about a disk, and what its first bytes are as a volume."""
    found = disk.inspect(reader, is_file=True)
    facts = found.facts()
    parts = {f"partition {part.pop('number')}": part for part in facts.pop("partitions")}
    problems = {f"{n} {p['rule']}": _place(p) for n, p in enumerate(facts.pop("problems"))}
    told = every_field.flat(facts)
    volume = filesystems.describe(reader, 0, reader.size)
    told |= {} if volume is None else every_field.flat({"volume": asdict(volume)})
    told |= {"stated": fs_sizes.stated(reader, volume.type if volume else None)}
    told |= {name: [*part.values()] for name, part in parts.items()} | problems
    return {key: value for key, value in told.items() if value not in (None, [])}


def _place(problem: Mapping[str, Any]) -> str:
    return f"{problem['detail']} at {problem['offset']}+{problem['length']}"


# --------------------------------------------------------------------------------- partition tables


def _entry(active: int, kind: int, start: int, sectors: int) -> bytes:
    return struct.pack("<B3sB3sII", active, b"abc", kind, b"def", start, sectors)


def _record(*entries: bytes) -> bytes:
    return at(512, (446, b"".join(entries)), (510, b"\x55\xaa"))


_MBR = at(
    64 * KIB,
    (0, _record(_entry(0x80, 0x83, 2, 6), _entry(0, 0x05, 16, 80), _entry(0, 0x82, 8, 4))),
    (0, b"\xeb\x63\x90GRUB"),
    (440, b"\x12\x34\x56\x78"),
    (16 * 512, _record(_entry(0, 0x83, 1, 15), _entry(0, 0x05, 16, 32))),
    (32 * 512, _record(_entry(0, 0x8E, 2, 10), _entry(0, 0x05, 48, 16))),
    (64 * 512, _record(_entry(0x80, 0x07, 1, 15))),
)
_ENTRIES = run(446, 1, 3, 1, 3, 4, 4, 1, 3, 1, 3, 4, 4, 1, 3, 1, 3, 4, 4, 1, 3, 1, 3, 4, 4)


def _links(sector: int) -> tuple[every_field.Field, ...]:
    first = sector * 512 + 446
    return (*run(first, 1), *run(first + 4, 1), *run(first + 8, 4, 4), *run(first + 16, 1),
            *run(first + 20, 1), *run(first + 24, 4, 4), *run(sector * 512 + 510, 2))  # fmt: skip


_LAST = 8191  # sector of a disk of 4 MiB
_GPT = handmade.gpt_disk(4 * MIB)
_HEADER = (8, 4, 4, 4, 4, 8, 8, 8, 8, 16, 8, 4, 4, 4)


def _header_sums(*sectors: int, size: int = 512) -> Callable[[Memory], Memory]:
    def mend(changed: Memory) -> Memory:
        for sector in sectors:
            place = sector * size
            (length,) = struct.unpack("<I", changed.read(place + 12, 4))
            head = changed.also(place + 16, bytes(4)).read(place, min(length, size))
            changed = changed.also(place + 16, le32(zlib.crc32(head)))
        return changed

    return mend


def _all_sums(changed: Memory) -> Memory:
    """The first entries and both headers, so that what was changed counts."""
    entries = changed.read(1024, 16384)
    total = le32(zlib.crc32(entries))
    changed = changed.also((_LAST - 32) * 512, entries)
    changed = changed.also(512 + 88, total).also(_LAST * 512 + 88, total)
    return _header_sums(1, _LAST)(changed)


def _of_4096() -> bytes:
    """The same with sectors of 4 KiB: one partition of 16 KiB at sector 8."""
    entry = struct.pack("<16s16sQQQ", bytes(range(16)), bytes(range(16, 32)), 8, 11, 4)
    entries = (entry + "a\0b".encode("utf-16-le")).ljust(128 * 128, b"\0")

    def header(own: int, other: int, table: int) -> bytes:
        head = struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x00010000, 92, 0, 0, own, other, 6, 26,
            bytes(range(32, 48)), table, 128, 128, zlib.crc32(entries),
        )  # fmt: skip
        return patched(head, 16, le32(zlib.crc32(head)))

    return at(
        32 * 4096,
        (0, _record(_entry(0, 0xEE, 1, 255))),
        (4096, header(1, 31, 2)),
        (2 * 4096, entries),
        (27 * 4096, entries),
        (31 * 4096, header(31, 1, 27)),
    )


TABLES = {
    "mbr": Structure(
        _MBR,
        (*run(0, 7), *run(440, 4), *_ENTRIES, *run(510, 2)),
        "little",
        cuts=(0, 511, 512, 8192, 16 * 1024, 63 * KIB),
    ),
    "mbr-chain": Structure(_MBR, (*_links(16), *_links(32), *_links(64)), "little"),
    "gpt": Structure(
        _GPT,
        (
            *_ENTRIES[:6],
            *run(462, 1),
            *run(466, 1),
            *run(470, 4, 4),
            *run(512, *_HEADER),
            *run(1024, 16),
        ),
        "little",
        cuts=(512, 1024, 34 * 512, 2 * MIB, 4 * MIB - 512, 4 * MIB - 1, 4 * MIB + 512),
    ),
    "gpt-header": Structure(_GPT, run(512, *_HEADER), "little", mend=_header_sums(1)),
    "gpt-backup": Structure(
        patched(_GPT, 512, bytes(8)),
        run(_LAST * 512, *_HEADER),
        "little",
        mend=_header_sums(_LAST),
    ),
    "gpt-entries": Structure(
        _GPT,
        (*run(1024, 16, 16, 8, 8, 8, 2, 2, 2), *run(1152, 16, 16, 8, 8)),
        "little",
        mend=_all_sums,
    ),
    "gpt-4096": Structure(
        _of_4096(), run(4096, *_HEADER), "little", mend=_header_sums(1, size=4096)
    ),
}

# -------------------------------------------------------------------------------------- superblocks

_EXT = at(
    128 * KIB,
    (1024, struct.pack("<IIIIIII", 32, 128, 6, 100, 20, 1, 0)),
    (1024 + 0x38, b"\x53\xef\1\0"),
    (1024 + 0x5C, struct.pack("<III", 0x4, 0x242, 0x1)),
    (1024 + 0x68, bytes(range(1, 17)) + b"label of it\0"),
)
_EXT_FIELDS = (*run(1024 + 4, 4), *run(1024 + 24, 4), *run(1024 + 0x38, 2, 2), *run(1024 + 0x5C, 4, 4, 4),
               *run(1024 + 0x68, 16, 4, 4, 4, 4), *run(1024 + 0x150, 4))  # fmt: skip


def _xfs(log: bytes = b"") -> bytes:
    """Blocks of 4 KiB, groups of 16 of them; the log is in the second group, at its block 2."""
    head = struct.pack(">4sIQ", b"XFSB", 4096, 32) + bytes(16) + bytes(range(1, 17))
    return at(
        128 * KIB,
        (0, head),
        (48, struct.pack(">Q", 1 << 5 | 2)),
        (84, struct.pack(">I", 16)),
        (96, struct.pack(">IH", 2, 0xB4B5)),
        (108, b"its label"),
        (124, b"\5"),
        ((16 + 2) * 4096, log),
    )


_ID = bytes(range(1, 17))


def _log_record(cycle: int, block: int, flags: int = 0x20, owner: bytes = _ID) -> bytes:
    """A record of one block of data, whose only operation is an unmount."""
    place = cycle << 32 | block
    head = struct.pack(">IIIIQQIII", 0xFEEDBABE, cycle, 2, 512, place, place, 0, 0, 1)
    head = head.ljust(300, b"\0") + struct.pack(">I16sI", 1, owner, 32768)
    operation = struct.pack(">IIBBH", cycle, 8, 0xAA, flags, 0)
    return head.ljust(512, b"\0") + operation.ljust(512, b"\0")


_RING = _log_record(3, 0) + struct.pack(">I", 2).ljust(512, b"\0") * 14

_FAT16 = at(
    64 * KIB,
    (0, b"\xeb\x3c\x90mkfs.fat" + struct.pack("<HBHBHHBH", 512, 1, 1, 2, 16, 0, 0xF8, 32)),
    (32, struct.pack("<I", 8192)),
    (36, b"\x80\0\x29\x78\x56\x34\x12" + b"A LABEL    FAT16   "),
    (510, b"\x55\xaa\xf8\xff\xff\xff"),
    (65 * 512, b"A LABEL    \x08".ljust(32, b"\0")),
)
_FAT32 = at(
    64 * KIB,
    (0, b"\xeb\x58\x90mkfs.fat" + struct.pack("<HBHBHHBH", 512, 1, 32, 2, 0, 0, 0xF8, 0)),
    (32, struct.pack("<II", 1 << 20, 8000)),
    (64, b"\x80\0\x29\x78\x56\x34\x12" + b"NO NAME    FAT32   "),
    (510, b"\x55\xaa"),
    (32 * 512, struct.pack("<II", 0x0FFFFFF8, 0x0FFFFFFF)),
)
_BOOT = run(0, 1, 2, 8, 2, 1, 2, 1, 2, 2, 1, 2)


def _ntfs() -> bytes:
    """Clusters of 512 bytes, records of 1 KiB, the MFT at cluster 8."""
    name = struct.pack("<IIBBHHHIH", 0x60, 40, 0, 0, 0, 0, 0, 12, 24) + b"\0\0"
    about = struct.pack("<IIBBHHHIH", 0x70, 40, 0, 0, 0, 0, 1, 12, 24) + b"\0\0"
    record = b"FILE".ljust(20, b"\0") + struct.pack("<H", 56)
    record = (
        record.ljust(56, b"\0") + name.ljust(24) + "Volume".encode("utf-16-le").ljust(16, b"\0")
    )
    record += about.ljust(24) + (bytes(8) + b"\3\1\0\0").ljust(16, b"\0") + b"\xff" * 4
    return at(
        64 * KIB,
        (0, b"\xeb\x52\x90NTFS    " + struct.pack("<HB", 512, 1)),
        (40, struct.pack("<QQQ", 128, 8, 64)),
        (64, struct.pack("<b", -10)),
        (72, bytes(range(1, 9))),
        (510, b"\x55\xaa"),
        (8 * 512 + 3 * 1024, record),
    )


_RECORD = 8 * 512 + 3 * 1024
_UUID = bytes(range(65, 81))

VOLUMES = {
    "ext4": Structure(
        _EXT, _EXT_FIELDS, "little", cuts=(1081, 1082, 1127, 1128, 1144, 1400, 64 * KIB)
    ),
    "ext2": Structure(patched(_EXT, 1024 + 0x5C, bytes(12)), run(1024 + 0x5C, 4, 4, 4), "little"),
    "xfs": Structure(
        _xfs(_RING),
        (
            *run(0, 4, 4, 8),
            *run(32, 16),
            *run(48, 8),
            *run(84, 4),
            *run(96, 4, 2),
            *run(108, 12),
            *run(124, 1),
        ),
        cuts=(511, 512, 18 * 4096, 18 * 4096 + 1024, 20 * 4096 - 1),
    ),
    "xfs-log": Structure(
        _xfs(_RING),
        (
            *run(18 * 4096, 4, 4, 4, 4, 4, 4),
            *run(18 * 4096 + 40, 4),
            *run(18 * 4096 + 320, 4),
            *run(18 * 4096 + 512, 4, 4, 1, 1),
            *run(18 * 4096 + 1024, 4),
            *run(20 * 4096 - 512, 4),
        ),
    ),
    "xfs-never-mounted": Structure(_xfs(), (*run(18 * 4096, 4, 4), *run(20 * 4096 - 512, 4))),
    "btrfs": Structure(
        at(
            128 * KIB,
            (65536 + 0x20, _UUID),
            (65600, b"_BHRfS_M"),
            (65536 + 0xC9 + 8, struct.pack("<Q", 96 * KIB)),
            (65536 + 0x12B, b"pool"),
        ),
        (
            *run(65536 + 0x20, 16),
            *run(65600, 8),
            *run(65536 + 0x60, 8),
            *run(65536 + 0xC9, 8, 8, 8),
            *run(65536 + 0x12B, 4),
        ),
        "little",
        cuts=(65600, 65607, 65608, 70 * KIB),
    ),
    "fat16": Structure(
        _FAT16, (*_BOOT, *run(32, 4, 1, 1, 1, 4, 11), *run(510, 2), *run(514, 2)), "little"
    ),
    "fat32": Structure(
        _FAT32,
        (*_BOOT, *run(32, 4), *run(64, 1, 1, 1, 4, 11), *run(32 * 512 + 4, 4)),
        "little",
        cuts=(511, 512, 16386),
    ),
    "fat12": Structure(
        at(64 * KIB, (0, _FAT16), (19, struct.pack("<H", 2048)), (32, bytes(4)), (514, b"\0\0")),
        (*run(19, 2), *run(32, 4)),
        "little",
    ),
    "ntfs": Structure(
        _ntfs(),
        (
            *run(3, 8),
            *run(11, 2, 1),
            *run(40, 8, 8),
            *run(64, 1),
            *run(72, 8),
            *run(_RECORD, 4),
            *run(_RECORD + 20, 2),
            *run(_RECORD + 56, 4, 4),
            *run(_RECORD + 72, 4, 2),
            *run(_RECORD + 80, 2),
            *run(_RECORD + 96, 4, 4),
            *run(_RECORD + 112, 4, 2),
            *run(_RECORD + 120, 8, 1, 1, 2),
        ),
        "little",
        cuts=(512, _RECORD, _RECORD + 63, _RECORD + 64, _RECORD + 119),
    ),
    "exfat": Structure(
        at(4096, (0, b"\xeb\x76\x90EXFAT   "), (100, b"\x78\x56\x34\x12"), (510, b"\x55\xaa")),
        (*run(3, 8), *run(100, 4, 2, 2)),
        "little",
    ),
    "luks1": Structure(
        at(4096, (0, b"LUKS\xba\xbe\0\1"), (24, b"label"), (168, b"0a3407de\0")), run(6, 2)
    ),
    "luks2": Structure(
        at(4096, (0, b"LUKS\xba\xbe\0\2"), (24, b"label"), (168, b"0a3407de-014b")),
        (*run(24, 5), *run(168, 8)),
    ),
    "swap": Structure(
        at(
            16 * KIB,
            (1024, struct.pack("<II", 1, 3)),
            (1036, _UUID + b"label"),
            (4086, b"SWAPSPACE2"),
        ),
        (*run(1024, 4, 4), *run(1036, 16, 5), *run(4086, 10)),
        "little",
        cuts=(4095, 4096, 12 * KIB),
    ),
    "swap-64": Structure(
        at(64 * KIB, (1024, struct.pack("<II", 1, 0)), (65526, b"SWAPSPACE2")),
        run(1024, 4, 4),
        "little",
    ),
    "swap-old": Structure(at(8192, (8182, b"SWAP-SPACE"))),
    "f2fs": Structure(
        at(4096, (1024, le32(0xF2F52010)), (1132, _UUID), (1148, "flash".encode("utf-16-le"))),
        (*run(1024, 4), *run(1132, 16, 2)),
        "little",
        cuts=(1148, 1152),
    ),
    **{
        f"magic-{n}-{name}": Structure(
            at(4096, (where, magic)), run(where, 1), cuts=(where + len(magic) - 1,)
        )
        for n, (where, magic, name) in enumerate(filesystems._MAGICS)
    },
    **{
        f"far-{n}-{name}": Structure(
            at(72 * KIB, (where, magic)), run(where, 1), cuts=(where + len(magic) - 1,)
        )
        for n, (where, magic, name) in enumerate(filesystems._FAR)
    },
    "raid-1.0": Structure(
        at(256 * KIB + 512, (256 * KIB - 8192, le32(0xA92B4EFC))),
        run(256 * KIB - 8192, 4),
        "little",
        cuts=(256 * KIB + 4095, 256 * KIB + 4096),
    ),
    "raid-0.90": Structure(
        at(192 * KIB, (128 * KIB, le32(0xA92B4EFC))),
        run(128 * KIB, 4),
        "little",
        cuts=(192 * KIB - 1, 256 * KIB - 1, 256 * KIB),
    ),
    "raid-1.2": Structure(at(128 * KIB, (4096, le32(0xA92B4EFC))), run(4096, 4), "little"),
    "raid-small": Structure(at(128 * KIB - 1, (64 * KIB, le32(0xA92B4EFC)))),
    "zfs": Structure(
        at(
            256 * KIB,
            *((128 * KIB + n * 1024, struct.pack("<Q", 0x00BAB10C)) for n in (0, 40, 80, 127)),
        ),
        (*run(128 * KIB, 8), *run(255 * KIB, 8)),
        "little",
        cuts=(255 * KIB + 7, 255 * KIB + 8),
    ),
    "jbd": Structure(patched(_EXT, 1024 + 0x60, le32(0x8))),
}

# --------------------------------------------------------------------------------------------- LVM

_PV = "AAAAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGGGG"
_TEXT = f"""group {{ id = "x"
extent_size = 8
physical_volumes {{ pv0 {{ id = "{_PV}" pe_start = 16 }} pv1 {{ id = "other" }} }}
logical_volumes {{
 root {{ status = ["READ", "VISIBLE"]
  segment2 {{ start_extent = 3 extent_count = 2 type = "striped" stripes = ["pv0", 9] }}
  segment1 {{ start_extent = 0 extent_count = 3 type = "striped" stripes = ["pv0", 1] }} }}
 data {{ status = ["VISIBLE"]
  segment1 {{ start_extent = 0 extent_count = 4 type = "striped" stripes = ["pv0", 4] }} }}
 away {{ status = ["VISIBLE"]
  segment1 {{ start_extent = 0 extent_count = 1 type = "striped" stripes = ["pv1", 0] }} }}
 hidden {{ status = []
  segment1 {{ start_extent = 0 extent_count = 1 type = "striped" stripes = ["pv0", 8] }} }}
}} # }}
}}
""".encode()
_AREA = 4096


def _lvm(text: bytes = _TEXT, begin: int = 512) -> bytes:
    """The metadata area is at 4 KiB, of 8 KiB; the text begins in it at ``begin``."""
    total = zlib.crc32(text, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    header = _PV.replace("-", "").encode() + struct.pack("<Q", 64 * KIB)
    header += struct.pack("<QQQQ", 20480, 0, 0, 0) + struct.pack("<QQQQ", _AREA, 8192, 0, 0)
    room = bytearray(8192)
    for index, byte in enumerate(text):
        place = begin + index
        room[place if place < 8192 else place - 8192 + 512] = byte
    room[4:20] = b" LVM2 x[5A%r0N*>"
    room[40:64] = struct.pack("<QQII", begin, len(text), total, 0)
    label = b"LABELONE" + struct.pack("<QII", 1, 0, 32) + b"LVM2 001"
    return at(64 * KIB, (512, label), (544, header), (_AREA, bytes(room)))


def tell_group(reader: Memory) -> Mapping[str, Any]:
    """The volume group, and what the label says."""
    found = lvm.parse(reader, 0)
    told: dict[str, Any] = {"own": lvm.identifier(reader, 0), "stated": lvm.device_size(reader, 0)}
    if found is not None:
        told |= {"name": found.name, "physical": found.physical_volumes, "plain": found.plain}
        told |= {"intact": found.intact}
        told |= {volume.name: [*asdict(volume).values()] for volume in found.logical_volumes}
    return told


_LVM_FIELDS = (*run(512, 8, 8, 4, 4, 8), *run(544, 4), *run(576, 8, 8, 8, 8, 8, 8, 8, 8, 8),
               *run(_AREA, 4, 16), *run(_AREA + 40, 8, 8, 4, 4))  # fmt: skip


def _written(was: str, becomes: str) -> Structure:
    return Structure(_lvm(_TEXT.replace(was.encode(), becomes.encode())))


GROUPS = {
    "lvm": Structure(
        _lvm(), _LVM_FIELDS, "little", cuts=(512, 600, 1024, _AREA + 511, _AREA + 600)
    ),
    "lvm-that-wraps": Structure(_lvm(begin=8000), run(_AREA + 40, 8, 8), "little"),
    **{
        f"lvm-text-{number}": _written(was, becomes)
        for number, (was, becomes) in enumerate(
            (
                ("extent_size = 8", "extent_size = 16"),
                ("extent_size = 8", "extent_size = -1"),
                ("pe_start = 16", "pe_start = 2048"),
                ("pe_start = 16", ""),
                ('"READ", "VISIBLE"', '"READ"'),
                ("start_extent = 3", "start_extent = 4"),
                ('type = "striped" stripes = ["pv0", 4]', 'type = "raid1" stripes = ["pv0", 4]'),
                ('stripes = ["pv0", 4]', 'stripes = ["pv0", 4, "pv1", 0]'),
                ('stripes = ["pv0", 4]', 'stripes = ["pv9", 4]'),
                ('stripes = ["pv0", 4]', "stripes = []"),
                ("group {", "gr/oup {"),
                ("group {", "1 = 2 group {"),
                ("root {", "ro/ot {"),
                ("# }", "}"),
                ('id = "x"', 'id = "x\\"}"'),
                ('id = "x"', "id"),
                ('id = "x"', "id = "),
                ('id = "x"', "id = 123456789012345678901"),
                ('id = "x"', "a " + "{ a " * 15 + "= 1" + " }" * 15),
                ('id = "x"', "a " + "{ a " * 16 + "= 1" + " }" * 16),
            )
        )
    },
}

# -------------------------------------------------------------------------------------------- cpio


def _file(name: bytes, data: bytes, magic: bytes = b"070701") -> bytes:
    fields = [1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    head = magic + b"".join(b"%08X" % field for field in fields) + name + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


_CPIO = _file(b"kernel/x86/a", b"12345") + _file(b"TRAILER!!!", b"") + bytes(300)
_CPIO += (
    _file(b"init", b"x" * 700, b"070702")
    + _file(b"TRAILER!!!", b"")
    + bytes(5000)
    + b"\x1f\x8bpacked"
)


def tell_names(reader: Memory) -> Mapping[str, Any]:
    """The names in an initramfs: of the plain part, and of all of it as a stream in two cuts."""
    told: dict[str, Any] = {"packing": cpio.packing(reader.read(0, 16))}
    try:
        told["names"], told["then"] = cpio.plain_part(reader)
    except cpio.NotReadableError as error:
        told["trouble"] = str(error)
    for size in (64, 1000):
        pieces = (reader.read(place, size) for place in range(0, reader.size, size))
        names: list[str] = []
        try:
            names.extend(cpio.names(pieces))
        except cpio.NotReadableError as error:
            told[f"trouble by {size}"] = str(error)
        told[f"names by {size}"] = names
    return told


CPIO = {
    "cpio": Structure(
        _CPIO,
        (*run(0, 6), *run(54, 8), *run(94, 8), *run(122, 1)),
        cuts=(5, 6, 109, 110, 123, 132, 200, len(_CPIO) - 8),
    ),
    **{
        f"cpio-{size}-{length}": Structure(
            patched(patched(_CPIO, 54, b"%08X" % size), 94, b"%08X" % length)
        )
        for size, length in (
            (0, 13),
            (4, 13),
            (8, 13),
            (5, 0),
            (5, 1),
            (5, 4096),
            (5, 4097),
            (999, 13),
        )
    },
}

STRUCTURES = TABLES | VOLUMES | GROUPS | CPIO


def compare(name: str) -> None:
    """One structure with the table that is stored."""
    tell = tell_group if name in GROUPS else tell_names if name in CPIO else tell_disk
    every_field.check(HERE / "said", name, every_field.table(STRUCTURES[name], tell))


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said_of_every_superblock(name: str) -> None:
    compare(name)


# -------------------------------------------------------------------------------------- the XFS log


@pytest.mark.parametrize("blocks", [2, 3, 16, 600, 1000])
@pytest.mark.parametrize(
    ("flags", "owner", "end"),
    [(0x20, _ID, "clean"), (0x01, _ID, "dirty"), (0x20, bytes(16), "foreign")],
)
def test_a_log_ends_where_its_round_ends(blocks: int, flags: int, owner: bytes, end: str) -> None:
    for head in sorted({2, 3, blocks // 2 + 1, blocks - 1, blocks} & set(range(2, blocks + 1))):
        old = struct.pack(">I", 4).ljust(512, b"\0")
        new = struct.pack(">I", 5).ljust(512, b"\0")
        ring = new * (head - 2) + _log_record(5, head - 2, flags, owner) + old * (blocks - head)

        found = xfs_log._Ring(lambda at, n, ring=ring: ring[at : at + n], 0, blocks, (_ID,))

        assert found._head() == head
        assert found.end() == end
        assert found.cycle(blocks) is None
