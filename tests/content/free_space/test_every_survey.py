"""Whole disks, and file systems on both sides of every limit: what is free, or why nothing is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import made_volumes as made
import pytest
from handmade import MIB, Memory
from made_volumes import KIB

from tests import every_field
from tests.content.free_space.test_every_witness import _data_at, tell
from tests.content.test_every_edge import _LINUX, _gpt, _mbr
from tests.content.test_every_superblock import _RING

HERE = Path(__file__).parent
Cases = Mapping[str, Memory]
_EXT, _SWAP = made.ext(), made.swap()


def put(disk: Memory, *parts: tuple[int, bytes]) -> Memory:
    """With these parts written at their places."""
    for at, data in parts:
        disk = disk.also(at, data)
    return disk


def disks() -> Cases:
    """Partition tables, and what lies between their partitions."""
    lvm = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
    two = [(_LINUX, 64, 64 + 337), (_LINUX, 1024, 1024 + 33)]
    whole = put(_gpt(two), (64 * 512, _EXT), (1024 * 512, _SWAP))
    gap = 2048

    def apart(first: int, last: int) -> Memory:
        """Two partitions of one sector with a gap from ``first`` up to ``last``."""
        return _gpt([(_LINUX, first - 1, first - 1), (_LINUX, last, last)])

    return {
        "two": whole,
        "more room": put(_gpt([(_LINUX, 64, 64 + 2600)]), (64 * 512, _EXT)),
        **{f"a gap of {n}": apart(1000, 1000 + n) for n in (gap - 1, gap, gap + 1)},
        **{f"the rest from {n}": _gpt([(_LINUX, 100, n - 1)]) for n in (4095, 4096, 4097, 6144)},
        "nothing": _gpt([]),
        "hybrid": _gpt(two, guards=((0, 0xEE, 1, 8191), (0, 0x83, 64, 8))),
        "unguarded": _gpt(two, guards=()),
        "odd": _gpt(two, guards=((0, 0xEE, 2, 8191),)),
        "a damaged table": whole.also(512 + 16, b"\0"),
        "also a file system": whole.also(1024, _EXT[1024:1400]),
        "MBR": put(_mbr((0, 0x83, 64, 338), size=4 * MIB), (64 * 512, _EXT)),
        **{
            f"MBR of type {kind:x}": _mbr((0, kind, 64, 338), size=4 * MIB)
            for kind in (0x42, 0x05, 0x0F, 0x85)
        },
        "a logical one": put(
            _mbr((0, 5, 64, 1000), size=4 * MIB),
            (64 * 512, _mbr((0, 0x83, 8, 338)).read(0, 512)),
            (72 * 512, _EXT),
        ),
        "no table": Memory(bytes(MIB)),
        "unknown": Memory(bytes(64 * KIB)).also(1024, b"H+"),
        **{
            f"asleep: {mark!r}": Memory(_SWAP).also(4086, mark.ljust(10, b"\0"))
            for mark in (
                b"S1SUSPEND",
                b"S2SUSPEND",
                b"ULSUSPEND",
                b"LINHIB0001",
                b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c",
                b"S3SUSPEND",
            )
        },
        **{
            f"swap of {page}": Memory(bytes(400 * KIB))
            .also(1024, struct.pack("<II", 1, 4))
            .also(page - 10, b"SWAPSPACE2")
            for page in (2048, 4096, 8192, 16384, 32768, 65536, 131072)
        },
        "swap twice": Memory(_SWAP).also(8182, b"SWAPSPACE2"),
        **{
            f"LVM, {name}": put(_gpt([(lvm, 64, 64 + 2047)]), (64 * 512, _volumes(text)))
            for name, text in _TEXTS.items()
        },
        "LVM alone": Memory(_volumes(_TEXTS["two"]).ljust(MIB, b"\0")),
    }


def _segments(*runs: tuple[int, int], kind: str = "striped", stripes: int = 1) -> str:
    """Segments of (first extent on the physical volume, count)."""
    at, found = 0, ""
    for number, (place, count) in enumerate(runs, 1):
        more = ', "pv0", 99' * (stripes - 1)
        found += (
            f"segment{number} {{ start_extent = {at} extent_count = {count} "
            f'type = "{kind}" stripes = ["pv0", {place}{more}] }}\n'
        )
        at += count
    return found


def _text(volumes: Mapping[str, str], *, name: str = "vg") -> str:
    body = "".join(f'{key} {{ status = ["VISIBLE"]\n{item} }}\n' for key, item in volumes.items())
    return (
        f'{name} {{ extent_size = 8\nphysical_volumes {{ pv0 {{ id = "{"A" * 32}" pe_start = 32 }} '
        f'pv1 {{ id = "other" pe_start = 32 }} }}\nlogical_volumes {{ {body} }} }}\n'
    )


_ROOT, _OTHER = _segments((0, 43)), _segments((60, 5))
_TEXTS = {
    "two": _text({"root": _ROOT, "swap": _OTHER}),
    "in pieces": _text({"root": _segments((0, 20), (100, 23))}),
    "over one another": _text({"root": _ROOT, "swap": _segments((42, 5))}),
    "next to one another": _text({"root": _ROOT, "swap": _segments((43, 5))}),
    "to the end": _text({"swap": _segments((247, 5))}),
    "behind the end": _text({"swap": _segments((248, 5))}),
    "striped": _text({"root": _segments((0, 43), stripes=2)}),
    "mirrored": _text({"root": _segments((0, 43), kind="raid1")}),
    "elsewhere": _text({"root": _ROOT.replace("pv0", "pv1"), "swap": _OTHER}),
    "damaged": "vg {",
    "unsummed": _text({"root": _ROOT}) + "# x",
}


def _volumes(text: str) -> bytes:
    """A physical volume of 1 MiB with an ext in its first extents and swap in others."""
    raw = text.encode()
    total = made.raw_crc32(raw)
    if raw.endswith(b"# x"):
        total ^= 1
    header = b"A" * 32 + struct.pack("<Q", MIB) + struct.pack("<QQQQ", 16 * KIB, 0, 0, 0)
    header += struct.pack("<QQQQ", 4096, 8192, 0, 0)
    area = b"\0\0\0\0 LVM2 x[5A%r0N*>".ljust(40, b"\0") + struct.pack(
        "<QQII", 512, len(raw), total, 0
    )
    image = bytearray(MIB)
    base, extent = 32 * 512, 4096
    parts = [
        (512, b"LABELONE" + struct.pack("<QII", 1, 0, 32) + b"LVM2 001" + header),
        (4096, area),
        (4608, raw),
        (base, _EXT),
        *((base + n * extent, _SWAP) for n in (60, 43, 247)),
    ]
    if "segment2" in text:
        parts.append((base + 100 * extent, _EXT[20 * extent :]))
    for at, data in parts:
        image[at : at + len(data)] = data[: MIB - at]
    return bytes(image)


def exts() -> Cases:
    """Ext's numbers, each just possible or just not; and features that move its metadata."""

    def field(at: int, value: int, form: str = "<I", features: int = made.PLAIN) -> Memory:
        changed = Memory(made.ext(features)).also(1024 + at, struct.pack(form, value))
        return made.ext_mend(features)(changed)

    return {
        "sound": Memory(_EXT),
        **{f"blocks of 1 KiB << {n}": field(0x18, n) for n in (1, 5, 6, 7)},
        **{f"{n} blocks a group": field(0x20, n) for n in (0, 8, 60, 63, 65, 72, 8192, 8200)},
        **{f"inodes of {n}": field(0x58, n, "<H") for n in (0, 64, 96, 127, 192, 256, 1024, 2048)},
        **{f"{n} inodes a group": field(0x28, n) for n in (0, 15, 17, 8192, 8193)},
        **{
            f"descriptors of {n}": field(0xFE, n, "<H", made.SUMMED)
            for n in (0, 16, 31, 32, 48, 63, 128, 1024, 2048)
        },
        **{f"compatible bit {n}": field(0x5C, 1 << n) for n in range(20)},
        **{f"incompatible bit {n}": field(0x60, 2 | 1 << n) for n in range(22)},
        **{f"read-only bit {n}": field(0x64, 1 | 1 << n) for n in range(1, 20)},
        "not sparse": field(0x64, 0),
        **{
            f"sparse_super2 of {n}": put(
                field(0x5C, 0x200), (1024 + 0x24C, struct.pack("<2I", n, 0))
            )
            for n in (0, 1, 2)
        },
        **{f"{n} reserved": field(0xCE, n, "<H") for n in (1, 2)},
        **{
            f"meta_bg from {n}": put(field(0x60, 2 | 0x10), (1024 + 0x104, struct.pack("<I", n)))
            for n in (0, 1)
        },
        **{
            f"flex_bg, {name}": put(field(0x60, 2 | 0x200), *parts)
            for name, parts in {
                "as it is": (),
                "in another group": _moved(),
                "on another's": ((2048 + 32, struct.pack("<I", 4)),),
            }.items()
        },
        **{f"state {n}": field(0x3A, n, "<H") for n in (0, 1, 2, 3, 4, 5)},
        "another seed": made.ext_mend(made.SUMMED)(
            put(
                Memory(made.ext(made.SUMMED)),
                (1024 + 0x60, struct.pack("<I", 2 | 0x80 | 0x2000)),
                (1024 + 0x270, b"seed"),
            )
        ),
        **{f"checksums of kind {n}": field(0x175, n, "<B", made.SUMMED) for n in (0, 1, 2)},
        "a bitmap in the last block": put(
            Memory(_EXT),
            (2048 + 64, struct.pack("<I", 168)),
            (168 * KIB, _EXT[129 * KIB : 130 * KIB]),
            (168 * KIB, bytes([_EXT[129 * KIB] & 0xFE])),
            (168 * KIB + 4, bytes([_EXT[129 * KIB + 4] | 0x80])),
        ),
        "an old revision": field(0x4C, 0),
    }


LAYOUTS = {
    "plain": made.Layout(),
    "not sparse": made.Layout(sparse=False),
    "sparse_super2": made.Layout(backups=(1, 39)),
    "sparse_super2 of one": made.Layout(backups=(7, 0)),
    "reserved": made.Layout(reserved=3),
    "meta_bg": made.Layout(meta_from=0),
    "meta_bg from the second": made.Layout(meta_from=1),
    "meta_bg, reserved": made.Layout(meta_from=1, reserved=2),
    "meta_bg, not sparse": made.Layout(meta_from=0, sparse=False),
    "wide": made.Layout(descriptor=64),
    "wide, meta_bg": made.Layout(descriptor=64, meta_from=0, groups=34),
    "blocks of 2 KiB": made.Layout(block=2 * KIB, groups=5),
    "blocks of 2 KiB, meta_bg": made.Layout(
        block=2 * KIB, groups=70, per_group=16, last=16, meta_from=0
    ),
    "blocks of 4 KiB": made.Layout(block=4 * KIB, groups=3, last=33),
    "clusters of two": made.Layout(ratio=2, groups=5, last=39),
    "clusters of four": made.Layout(ratio=4, groups=5, last=37),
    "clusters of four, blocks of 4 KiB": made.Layout(ratio=4, block=4 * KIB, groups=3, last=38),
    "one group": made.Layout(groups=1),
    "8 blocks": made.Layout(groups=4, per_group=8, last=8),
    "the last is all metadata": made.Layout(groups=3, last=3),
}


def layouts() -> Cases:
    """Ext file systems that keep their metadata in other places."""
    return {name: Memory(made.ext_empty(layout)) for name, layout in LAYOUTS.items()}


def _moved() -> tuple[tuple[int, bytes], ...]:
    """The bitmap of group 1 lies at block 40, in group 0; where it was is free, and counted."""
    block = _EXT[67 * KIB : 68 * KIB]
    own = bytearray(block)
    own[0] &= ~0x04
    first = bytearray(_EXT[3 * KIB : 4 * KIB])
    first[39 // 8] |= 1 << 39 % 8
    free = [struct.unpack_from("<H", _EXT, 2048 + 32 * n + 12)[0] for n in (0, 1)]
    return (
        (2048 + 32, struct.pack("<I", 40)),
        (40 * KIB, bytes(own)),
        (3 * KIB, bytes(first)),
        (2048 + 12, struct.pack("<H", free[0] - 1)),
        (2048 + 44, struct.pack("<H", free[1] + 1)),
    )


def fats() -> Cases:
    """FAT's numbers."""
    small, wide = Memory(made.fat(12)), Memory(made.fat(32))

    def both(at: int, data: bytes) -> Memory:
        return wide.also(at, data).also(6 * 512 + at, data)

    return {
        "sound": small,
        **{
            f"sectors of {n}": small.also(11, struct.pack("<H", n))
            for n in (256, 1024, 2048, 4096, 8192)
        },
        **{f"clusters of {n}": small.also(13, bytes([n])) for n in (0, 2, 3, 128)},
        **{f"{n} copies": small.also(16, bytes([n])) for n in (0, 1, 3)},
        **{
            f"{n} sectors": small.also(19, struct.pack("<H", n))
            for n in (3, 4, 5, 6, 7, 30, 63, 64, 65)
        },
        **{f"named {text!r}": small.also(54, text) for text in (b"FAT16   ", b"FAT     ")},
        **{
            f"wide, {n} sectors": both(32, struct.pack("<I", n))
            for n in (14, 15, 18, 313, 314, 315)
        },
        **{f"wide, tables of {n}": both(36, struct.pack("<I", n)) for n in (0, 1, 2, 4)},
        **{f"wide, FSInfo at {n}": both(48, struct.pack("<H", n)) for n in (0, 2, 7, 8, 0xFFFF)},
        **{
            f"wide, copied to {n}": wide.also(50, struct.pack("<H", n))
            .also(6 * 512 + 50, struct.pack("<H", n))
            .also(7 * 512, wide.read(0, 512))
            .also(7 * 512 + 50, struct.pack("<H", n))
            for n in (0, 5, 7, 8)
        },
        **{
            f"wide, FSInfo {n:x}": wide.also(512 + 488, struct.pack("<I", n))
            for n in (0, 287, 292, 293, 0xFFFFFFFE, 0xFFFFFFFF)
        },
        **{
            f"wide, an entry {n:x}": _in_both_tables(wide, n)
            for n in (0, 1, 0x10000000, 0xF0000000, 0x01000000, 0x08000000)
        },
    }


def _in_both_tables(disk: Memory, value: int) -> Memory:
    for table in (8, 11):
        disk = disk.also(table * 512 + 4 * 100, struct.pack("<I", value))
    return disk


def ntfses() -> Cases:
    """NTFS' numbers, and logs of every kind."""
    whole = Memory(made.ntfs())
    log = made.NTFS_LOG * 512

    def page(clients: int, flags: int, *, size: int = 1024, area: int = 48) -> bytes:
        head = struct.pack("<4sHHQIIH", b"RSTR", 30, 9, 0, size, size, area).ljust(area, b"\0")
        return (head + struct.pack("<QHHHH", 0, 1, 0xFFFF, clients, flags)).ljust(size, b"\0")

    state = whole.data.index(b"\3\1\0\0", made.NTFS_MFT * 512)

    def both(at: int, data: bytes) -> Memory:
        changed = whole.also(at, data)
        return changed.also(made.NTFS_MIRROR * 512, changed.read(made.NTFS_MFT * 512, 4096))

    def from_second(number: int) -> Memory:
        """The data of a system file begins with its second cluster."""
        at = made.NTFS_MFT * 512 + 1024 * number + _data_at(number)
        (last,) = struct.unpack("<Q", whole.read(at + 24, 8))
        return both(at + 16, struct.pack("<QQ", 1, last + 1))

    return {
        "sound": whole,
        **{f"file {n} from its second cluster": from_second(n) for n in (0, 2, 6)},
        **{
            f"an MFT of {n} bytes": both(
                made.NTFS_MFT * 512 + _data_at(0) + 48, struct.pack("<Q", n)
            )
            for n in (0, 7167, 7168, 9216, 9217, 16 << 30, (16 << 30) + 1)
        },
        "told by other records": Memory(made.ntfs(apart=True)),
        **{
            f"{name} not told by record {n}": Memory(made.ntfs(apart=True)).also(
                made.NTFS_MFT * 512 + 1024 * n + 32, b"\x77"
            )
            for n, name in ((4, "MFT"), (5, "bitmap"))
        },
        **{
            f"sectors of {n}": whole.also(11, struct.pack("<H", n))
            for n in (128, 256, 1024, 4096, 8192)
        },
        **{
            f"clusters of {n}": whole.also(13, bytes([n])) for n in (0, 2, 3, 128, 0xFF, 0xF4, 0xE0)
        },
        **{
            f"records of {n}": whole.also(64, struct.pack("<b", n))
            for n in (-9, -11, -12, -13, 1, 2, 4, 8, 16, 0)
        },
        **{f"{n} clusters": whole.also(40, struct.pack("<Q", n)) for n in (40, 41, 199, 201)},
        **{f"MFT at {n}": whole.also(48, struct.pack("<Q", n)) for n in (0, 40, 199, 200)},
        **{f"mirror at {n}": whole.also(56, struct.pack("<Q", n)) for n in (0, 8, 199, 200)},
        **{
            f"version {a}.{b}": both(state, bytes([a, b]))
            for a, b in ((1, 1), (1, 2), (2, 0), (3, 0), (3, 1), (3, 2))
        },
        **{f"flags {n:x}": both(state + 2, struct.pack("<H", n)) for n in (1, 2, 0x4000, 0x8000)},
        **{
            f"a log of {a}/{f}, {b}/{g}": whole.also(log, page(a, f) + page(b, g))
            for a, f, b, g in (
                (0xFFFF, 0, 0xFFFF, 0),
                (0, 0, 0xFFFF, 0),
                (0xFFFF, 0, 0, 0),
                (0, 2, 0, 2),
                (0, 1, 0, 1),
                (0, 3, 0xFFFE, 2),
            )
        },
        **{
            f"a log's pages of {n}": whole.also(log, page(0xFFFF, 0, size=n) * 2)
            for n in (512, 1000, 2048)
        },
        **{
            f"a log's area at {n}": whole.also(log, page(0xFFFF, 0, area=n) * 2) for n in (494, 495)
        },
        "a log's second page": whole.also(log, page(0xFFFF, 0) + bytes(1024)),
        "an empty log but for a byte": whole.also(log + 4095, b"\0"),
        **{
            f"a sleeper's {head!r}": whole.also(100 * 512, head)
            for head in (b"wake", b"WAKE", b"hibr", b"HIBR", b"\0\0\0\1")
        },
    }


def xfses() -> Cases:
    """XFS' numbers."""
    second = made.XFS_GROUP * 4096

    def field(at: int, data: bytes, version: int = 5) -> Memory:
        return made.xfs_mend(version)(Memory(made.xfs(version, _RING)).also(at, data))

    def fields(*parts: tuple[int, bytes]) -> Memory:
        return made.xfs_mend(5)(put(Memory(made.xfs(5, _RING)), *parts))

    one = {n: struct.pack(">I", n) for n in (*range(12), 20, 40, 255, 256)}
    return {
        "sound": field(0, b"X"),
        **{f"version bit {n}": field(100, struct.pack(">H", 0xB4A5 ^ 1 << n)) for n in range(16)},
        **{f"feature {n}": field(200, struct.pack(">I", 0x8A ^ 1 << n)) for n in range(12)},
        **{f"compatible {n}": field(208, one[n]) for n in (1, 2)},
        **{f"read-only {n}": field(212, struct.pack(">I", 1 << n)) for n in range(6)},
        **{f"incompatible {n}": field(216, struct.pack(">I", 1 << n)) for n in range(10)},
        **{
            f"sectors of {n}": field(102, struct.pack(">H", n))
            for n in (256, 768, 1024, 4096, 32768, 65535)
        },
        **{f"blocks of {n}": field(4, struct.pack(">I", n)) for n in (256, 2048, 65536, 131072)},
        **{f"groups of {n}": field(84, struct.pack(">I", n)) for n in (127, 128, 129, 255, 257)},
        **{f"{n} groups": field(88, one[n]) for n in (1, 3)},
        **{
            f"log at {n}": field(48, struct.pack(">Q", n)) for n in (0, 10, 255, 256 + 20, 512 + 20)
        },
        **{f"log of {n}": field(96, struct.pack(">I", n)) for n in (0, 1, 3, 235, 236, 237)},
        **{
            f"levels {a}/{b}": field(512 + 28, one[a] + one[b])
            for a, b in ((0, 2), (2, 0), (9, 2), (10, 2), (2, 9), (2, 10), (1, 2), (2, 1), (3, 2))
        },
        **{
            f"roots {a}/{b}": field(512 + 16, one[a] + one[b])
            for a, b in ((0, 2), (255, 2), (256, 2), (1, 0), (1, 255), (1, 256), (2, 1))
        },
        **{f"a free block at {n}": field(1536 + 36 + 20, one[n]) for n in (0, 7, 8, 9, 20, 40)},
        **{
            f"a list from {a} to {b}": field(512 + 40, one[a] + one[b])
            for a, b in ((5, 6), (4, 6), (255, 6), (5, 255))
        },
        **{f"a list of {n}": field(512 + 48, one[n]) for n in (0, 1, 3, 255)},
        **{
            f"blocks of 1 << {n}": fields((4, struct.pack(">I", 1 << n)), (120, bytes([n])))
            for n in (8, 9, 16, 17)
        },
        "reference counts, and where a reverse map would be": fields(
            (212, one[4]), (512 + 24, one[9])
        ),
        "inode counts, and where reference counts would be": fields(
            (212, one[8]), (512 + 88, one[9])
        ),
        **{
            f"a list from {a} to {b} that wraps": fields(
                (512 + 40, struct.pack(">II", a, b)),
                (1536 + 36 + 4 * 118, struct.pack(">I", 10)),
                (1536 + 36, struct.pack(">I", 11)),
            )
            for a, b in ((118, 0), (119, 0), (118, 119))
        },
        **{f"a list of {n} words": field(512 + 48, struct.pack(">I", n)) for n in (119, 120)},
        "reverse map": fields((212, one[2]), (512 + 24, one[9])),
        "reference counts": fields((212, one[4]), (512 + 88, one[9])),
        **{
            f"a tree's block at {n}": field(4096 + 56 + 8 * ((4096 - 56) // 12), one[n])
            for n in (0, 1, 5, 255, 256)
        },
        **{
            f"the second's first extent from {n}": field(second + 4096 + 56, one[n])
            for n in (0, 1, 2, 9, 10, 20)
        },
        **{
            f"version 4, {name}": field(at, data, 4)
            for name, at, data in (
                ("a bit", 100, b"\xf4\xa4"),
                ("making", 126, b"\1"),
                ("levels", 512 + 28, one[1] + one[1]),
            )
        },
    }


GROUPS: dict[str, Callable[[], Cases]] = {
    "edge-disks": disks,
    "edge-ext": exts,
    "edge-layouts": layouts,
    "edge-fat": fats,
    "edge-ntfs": ntfses,
    "edge-xfs": xfses,
}
STRUCTURES = tuple(GROUPS)


def compare(name: str) -> None:
    """One group with the table that is stored."""
    every_field.check(HERE / "said", name, every_field.cases(GROUPS[name](), tell))


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_free_on_both_sides_of_every_limit(name: str) -> None:
    compare(name)
