"""VHDX files on both sides of every limit."""

from __future__ import annotations

import functools
import struct
import uuid
from collections.abc import Mapping

import handmade_vhdx
import vhd_files
from handmade import MIB, Memory, le32, le64, patched

from pipeline.source import Reader

KIB = 1 << 10
_HEADS, _REGIONS = (64 * KIB, 128 * KIB), (192 * KIB, 256 * KIB)
_METADATA, _TABLE = 2 * MIB, 3 * MIB
_ITEMS = _METADATA + 64 * KIB
_FLAGS, _SIZE, _SECTOR = _ITEMS + 4, _ITEMS + 8, _ITEMS + 16
_PARENT = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le


@functools.cache
def image(**made: object) -> bytes:
    return handmade_vhdx.vhdx(**made)  # type: ignore[arg-type]


def head(at: int, new: bytes, places: tuple[int, ...] = _HEADS, **made: object) -> Memory:
    """A change of headers, with right sums."""
    return _summed(Memory(image(**made)), places, 4 * KIB, at, new)


def region(at: int, new: bytes, places: tuple[int, ...] = _REGIONS) -> Memory:
    """A change of region tables, with right sums."""
    return _summed(Memory(image()), places, 64 * KIB, at, new)


def _summed(whole: Memory, places: tuple[int, ...], length: int, at: int, new: bytes) -> Memory:
    for place in places:
        part = patched(whole.read(place, length), at, new)
        whole = whole.also(place, handmade_vhdx.summed(part))
    return whole


def item(at: int, value: int, length: int = 8) -> Memory:
    """A change of the metadata."""
    return Memory(image()).also(at, value.to_bytes(length, "little"))


def headers() -> Mapping[str, Reader]:
    """Headers and log."""
    logged = b"\7" * 16
    entry = b"loge".ljust(32, b"\0") + logged

    def log(length: int, offset: int, *places: int) -> Reader:
        found = head(48, logged + b"\0\0\1\0" + le32(length) + le64(offset))
        for place in places:
            found = found.also(offset + place, entry)
        return found

    return {
        "sound": Memory(image()),
        "creator of 600 bytes": Memory(image()).also(8, "é".encode("utf-16-le") * 300),
        **{f"header {n} lost": Memory(image()).also(_HEADS[n], b"x") for n in (0, 1)},
        "both lost": Memory(image()).also(_HEADS[0], b"x").also(_HEADS[1], b"x"),
        **{
            f"sum {by:+}": Memory(image())
            .also(_HEADS[1] + 4, le32(_sum(_HEADS[1]) + by))
            .also(_HEADS[0], b"x")
            for by in (-1, 1)
        },
        **{
            f"header {n} newer": head(8, le64(9), (_HEADS[n],)).also(0, b"vhdxfile") for n in (0, 1)
        },
        **{
            f"version {n}, of header {at}": head(66, struct.pack("<H", n), (_HEADS[at],))
            for n in (0, 2)
            for at in (0, 1)
        },
        **{f"log version {n}": head(64, struct.pack("<H", n)) for n in (1, 2)},
        **{f"log of {n}": log(n, MIB) for n in (MIB, MIB + 1, 4 * MIB, 4 * MIB + 1)},
        **{f"log at {n}": log(MIB, n) for n in (0, MIB // 2, MIB + 512, 4 * MIB, 5 * MIB)},
        **{
            f"entries at {places}": log(MIB, MIB, *places)
            for places in ((0,), (4096,), (4096, 8192), (512,), (MIB - 4096,))
        },
        "an entry of another id": head(48, b"\6" * 16).also(MIB, entry),
        "an entry, nothing to replay": Memory(image()).also(MIB, entry),
        "log on a block": log(MIB, 4 * MIB),
    }


def _sum(place: int) -> int:
    return int.from_bytes(image()[place + 4 : place + 8], "little")


def regions() -> Mapping[str, Reader]:
    """The region tables."""
    other = struct.pack("<16sQII", b"\1" * 16, 4 * MIB, MIB, 0)
    return {
        "sound": Memory(image()),
        "both lost": Memory(image()).also(_REGIONS[0], b"x").also(_REGIONS[1], b"x"),
        **{f"table {n} lost": Memory(image()).also(_REGIONS[n], b"x") for n in (0, 1)},
        **{f"{n} regions": region(8, le32(n)) for n in (0, 1, 2047, 2048)},
        "one twice": region(8, le32(3)).also(0, b"vhdxfile"),
        "the table twice": region(48, handmade_vhdx.VHDX_BAT),
        **{f"unknown, needed {n}": region(48, other[:-4] + le32(n)) for n in (0, 1, 2, 3)},
        **{
            f"a third, needed {n}": region(
                8,
                le32(3)
                + bytes(4)
                + image()[_REGIONS[0] + 16 : _REGIONS[0] + 80]
                + other[:-4]
                + le32(n),
            )
            for n in (0, 1)
        },
        **{
            f"metadata at {n}": region(64, le64(n))
            for n in (0, MIB // 2, MIB, MIB + 512, 4 * MIB, 5 * MIB)
        },
        **{
            f"metadata of {n}": region(72, le32(n))
            for n in (0, 64 * KIB, MIB, MIB + 1, 2 * MIB, 3 * MIB + 1)
        },
        **{f"table of {n}": region(40, le32(n)) for n in (0, 31, 32, 64 * MIB, (64 * MIB) + 1)},
        "one over the other": region(32, le64(2 * MIB)),
    }


def _items(*changes: tuple[int, bytes], count: int = 5) -> Memory:
    whole = Memory(image()).also(_METADATA + 10, struct.pack("<H", count))
    for at, new in changes:
        whole = whole.also(at, new)
    return whole


def metadata() -> Mapping[str, Reader]:
    """Metadata items, and what they say of the disk."""
    first = _METADATA + 32
    return {
        "sound": Memory(image()),
        **{f"{n} items": _items(count=n) for n in (0, 1, 2, 3, 4, 2047, 2048)},
        **{
            f"unknown, flags {n}": _items(
                (first + 4 * 32, b"\1" * 16), (first + 4 * 32 + 24, le32(n))
            )
            for n in (2, 3, 4, 7)
        },
        **{
            f"at {n}": _items((first + 16, le32(n)))
            for n in (64 * KIB - 1, 64 * KIB, MIB - 8, MIB - 7)
        },
        **{f"id of {n}": _items((first + 4 * 32 + 20, le32(n))) for n in (15, 16, 17)},
        **{f"flags {n}": item(_FLAGS, n, 4) for n in (1, 2, 3, 4)},
        **{
            f"blocks of {n}": item(_ITEMS, n, 4)
            for n in (MIB // 2, MIB, MIB + 1, 256 * MIB, 512 * MIB)
        },
        **{
            f"disk of {n}": item(_SIZE, n)
            for n in (0, 1, 511, 512, 4096, 64 << 40, (64 << 40) + 512, (64 << 40) + 513)
        },
        **{f"sectors of {n}": item(_SECTOR, n, 4) for n in (0, 511, 513, 4095, 4096, 4097)},
        "sectors of 4096, odd disk": item(_SECTOR, 4096, 4).also(_SIZE, le64(MIB + 512)),
        "no id": item(_ITEMS + 24, 0, 16),
        **{f"parent, {name}": _parent(*pairs) for name, pairs in _PAIRS.items()},
        "parent, 40": _parent(*[(f"{n}_path", str(n)) for n in range(40)]),
        "parent, unnamed": item(_FLAGS, 2, 4),
    }


_PAIRS = {
    "relative": (("parent_linkage", "{x}"), ("relative_path", ".\\a.vhdx")),
    "absolute": (("absolute_win32_path", "c:\\a.vhdx"), ("volume_path", "\\\\?\\x\x1b")),
    "none": (("other", "x"),),
}


def _parent(*pairs: tuple[str, str], cut: int = 0) -> Memory:
    """A differencing disk with a parent locator behind the other items."""
    at = 20 + 12 * len(pairs)
    table, text = b"", b""
    for key, value in pairs:
        one, other = key.encode("utf-16-le"), value.encode("utf-16-le")
        where = at + len(text)
        table += struct.pack("<IIHH", where, where + len(one), len(one), len(other))
        text += one + other
    locator = bytes(18) + struct.pack("<H", len(pairs)) + table + text
    row = struct.pack("<16sIIII", _PARENT, 128 * KIB, len(locator) - cut, 4, 0)
    return _items(
        (_METADATA + 32 + 5 * 32, row), (_METADATA + 128 * KIB, locator), (_FLAGS, le32(2)), count=6
    )


def blocks() -> Mapping[str, Reader]:
    """The block allocation table."""

    def entries(*values: int, size: int = 4 * MIB, flags: int = 0) -> Memory:
        whole = Memory(image(flags=flags)).also(_TABLE, b"".join(le64(n) for n in values))
        return whole.also(_SIZE, le64(size))

    ratio = 4096  # of blocks of 1 MiB: 2**23 * 512 / 2**20
    far = le64(1 << 50 | 6)
    long = {n: (n * 8).to_bytes(4, "little") for n in (1, 2, 4, 5)}
    return {
        "sound": Memory(image()),
        **{f"state {n}": entries(4 * MIB | n) for n in range(8)},
        **{f"state {n}, with a parent": entries(4 * MIB | n, flags=2) for n in (6, 7)},
        **{
            f"a block at {n} KiB": entries(n * KIB | 6)
            for n in (0, 1, 1024, 1536, 2048, 3072, 4096, 5120, 1 << 40)
        },
        "reserved bits": entries(4 * MIB | 6 | 1 << 3 | 1 << 19),
        "two the same": entries(4 * MIB | 6, 4 * MIB | 6),
        "one beyond, one below": entries(4 * MIB | 6, 5 * MIB | 6),
        **{
            f"an entry for a bitmap, {n}": _wide({_TABLE + 8 * n: far})
            for n in (ratio - 1, ratio, ratio + 1, 2 * ratio, 2 * ratio + 1)
        },
        **{f"an entry at {n}": _wide({_TABLE + 8 * n: far}, size=1 << 36) for n in (16383, 16384)},
        **{f"{n} entries for 4 blocks": region(40, long[n]) for n in long},
        **{
            f"{n} entries for {size} blocks": _tabled(n, size)
            for n, size in (
                (4096, 4096),
                (4097, 4097),
                (4098, 4097),
                (8193, 8192),
                (8194, 8193),
                (8195, 8193),
            )
        },
        "log on a block": entries(MIB | 6),
    }


def _wide(pieces: Mapping[int, bytes], size: int = 12 << 30) -> Reader:
    """A large disk, in a file with room for its table."""
    whole = image()
    start = {0: whole[: 3 * MIB], _TABLE: le64(4 * MIB | 6), **pieces}
    start[_SIZE] = le64(size)
    return vhd_files.MemoryDisk(5 * MIB, start)


def _tabled(entries: int, count: int) -> Reader:
    return region(40, le32(8 * entries)).also(_SIZE, le64(count * MIB))


GROUPS = {
    "edge-vhdx-headers": headers,
    "edge-vhdx-regions": regions,
    "edge-vhdx-metadata": metadata,
    "edge-vhdx-blocks": blocks,
}
