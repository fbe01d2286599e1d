"""VHDs on both sides of every limit, small ones: blocks of 4 KiB, of which the third is stored first."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import handmade
import test_vhd
import vhd_files as files
from handmade import MIB, Memory
from vhd_files import MemoryDisk

from pipeline.formats import vhd_bytes
from pipeline.source import Reader

BLOCK = 4096
STRIDE = 512 + BLOCK
BLOCKS = 6
DISK = BLOCKS * BLOCK
_TABLE, _BATMAP = 1536, 2048
_MAP = _BATMAP + 512
FIRST = _MAP + 512  # where the first stored block's bitmap stands


def small(
    *,
    entries: tuple[int, ...] = (-1, 1, 0, -1, 2, -1),
    footer: Mapping[str, Any] | None = None,
    header: Mapping[str, Any] | None = None,
    batmap: Mapping[str, Any] | None = None,
    bits: bytes = b"",
    tail: int = 3 * STRIDE,
) -> bytes:
    """``entries``: which of the stored blocks, -1: none; ``tail``: bytes between headers and footer."""
    stored = [number for number, place in enumerate(entries) if place >= 0]
    table = b"".join(
        struct.pack(">I", 0xFFFFFFFF if place < 0 else (FIRST + place * STRIDE) // 512)
        for place in entries
    )
    full = bytearray(512)
    for number in stored:
        full[number // 8] |= 0x80 >> number % 8
    shown = bits or bytes(full)
    mapped = {
        "cookie": b"tdbatmap",
        "offset": _MAP,
        "sectors": len(shown) // 512,
        "version": 0x00010002,
        "checksum": vhd_bytes.checksum(shown),
        "marker": 0,
        "reserved": bytes(483),
    }
    ends = handmade.vhd_footer(DISK, kind=3, data_offset=512)
    ends = _changed(vhd_bytes.Footer.unpack(ends), {"creator": b"tap\0"} | dict(footer or {}))
    head = vhd_bytes.Header.unpack(handmade.vhd_dynamic(2 * MIB)[512:1536])
    sized = {"entries": len(entries), "block_size": BLOCK, "table_offset": _TABLE}
    parts = (
        ends,
        _changed(head, sized | dict(header or {})),
        table.ljust(512, b"\xff"),
        vhd_bytes.BatmapHeader(**mapped | dict(batmap or {})).pack() + shown,
        (b"\xff" * 512 + b"D" * BLOCK) * 3,
    )
    return b"".join(parts)[: FIRST + tail].ljust(FIRST + tail, b"\0") + ends


def _changed(record: Any, changes: Mapping[str, Any]) -> bytes:
    values: dict[str, Any] = {**record.__dict__, **changes}
    packed: bytes = type(record)(**values).pack()
    return packed


def footers() -> Mapping[str, Reader | bytes]:
    """The fields of the footer."""
    by_creator = {"cylinders": 2, "heads": 4, "sectors": 17}
    most = vhd_bytes.MAX_CHS_SECTORS * 512
    return {
        "sound": small(),
        **{
            f"creator {creator.hex()}": small(footer={"creator": creator, **by_creator})
            for creator in (
                b"win ",
                b"qem2",
                b"d2v ",
                b"CTXS",
                b"tap\0",
                b"vpc ",
                b"vs  ",
                b"qemu",
                b"vbox",
            )
        },
        **{
            f"{name} of the largest geometry": small(
                footer={"creator": b"vpc ", "cylinders": cylinders, "heads": 16, "sectors": 255}
            )
            for name, cylinders in (("a disk", 65535), ("nearly", 65534))
        },
        "the geometry's size": small(
            footer={"creator": b"vpc ", "cylinders": 3, "heads": 4, "sectors": 4}
        ),
        **{f"size {n}": small(footer={"current_size": n}) for n in (0, 511, 512, most)},
        **{f"features {n}": small(footer={"features": n}) for n in (0, 1, 2, 3, 4, 6)},
        **{
            f"{n} zeros, then one": small(footer={"reserved": bytes(n) + b"\1" + bytes(425 - n)})
            for n in (0, 425)
        },
        **{f"time {n}": small(footer={"timestamp": n}) for n in (0, 1, 2**32 - 1)},
        **{f"kind {n}": small(footer={"disk_type": n}) for n in (0, 1, 3, 5)},
        **{
            f"header at {n}": small(footer={"data_offset": n})
            for n in (0, FIRST + 3 * STRIDE - 1024, FIRST + 3 * STRIDE - 1023, 1 << 63)
        },
        "journal": small(footer={"cookie": b"v_poison"}),
        "journal in the copy": Memory(small()).also(0, b"v_poison"),
        **{
            f"differ at {n}": Memory(small()).also(n, b"\x5a")
            for n in (8, 28, 68, 83, 86, 90, 110, 511)
        },
        "copy alone": small()[:-512],
        "neither": Memory(small()[:-512]).also(64, b"\0\0"),
        "cookie alone": b"conectix" + bytes(600),
        **{f"{n} more": small() + bytes(n) for n in (1, 2, 511, 512, MIB, MIB + 1)},
        **{f"{n} fewer": small()[:-n] for n in (1, 2, 425, 426, 427, 511)},
    }


def _fixed(size: int, *, before: int = 0, **changes: Any) -> bytes:
    footer = vhd_bytes.Footer.unpack(handmade.vhd_footer(size))
    return bytes(size + before) + _changed(footer, changes)


def fixed() -> Mapping[str, Reader | bytes]:
    """Disks with a footer behind them, with and without padding; some by name."""
    whole = _fixed(8192)
    return {
        **{f"{n} too many": _fixed(8192, before=n) for n in (1, 2, 512)},
        **{f"{-n} too few": _fixed(8192, before=n) for n in (-1, -512)},
        "offset 0": _fixed(8192, data_offset=0),
        **{
            f"{n} behind, disk.{suffix}": Memory(whole + bytes(n))
            for n in (1, 3583, 3584, 3585, MIB, MIB + 512, MIB + 1024, MIB + 1536)
            for suffix in ("vhd", "img")
        },
        **{
            f"another size, {n} behind, disk.{suffix}": _fixed(8192, before=512) + bytes(n)
            for n in (8192,)
            for suffix in ("vhd", "img")
        },
        **{f"no footer, {n}, disk.vhd": bytes(n) for n in (100, 511, 512, 513, MIB, 2 * MIB)},
    }


def headers() -> Mapping[str, Reader | bytes]:
    """The dynamic header, and what it says about a parent."""
    name = "base.vhd".encode("utf-16-be")

    def located(code: bytes, offset: int, length: int) -> dict[str, Any]:
        one = struct.pack(">4sIIIQ", code, 1, length, 0, offset)
        return {"locators": bytes(24) + one + bytes(144)}

    text = Memory(small(header=located(b"W2ru", FIRST + 512, 16)))
    return {
        "sound": small(),
        **{
            f"blocks of {n}": small(header={"block_size": n})
            for n in (2048, 4096, 4097, 6144, 64 * MIB, 128 * MIB)
        },
        "cookie": small(header={"cookie": b"cxspars\x1b"}),
        "version": small(header={"version": 0x00030007}),
        "data offset": small(header={"data_offset": 0x77}),
        **{
            f"reserved {n}": small(header={n: value})
            for n, value in (("reserved1", b"\0\0\0\1"), ("reserved2", bytes(255) + b"\1"))
        },
        **{
            f"parent's {n}": small(header={n: value})
            for n, value in (
                ("parent_uuid", bytes(15) + b"\1"),
                ("parent_timestamp", 5),
                ("parent_name", name.ljust(512, b"\0")),
            )
        },
        "differencing": small(
            footer={"disk_type": 4},
            header={"parent_name": name.ljust(512, b"\0"), "parent_uuid": bytes(15) + b"\1"},
        ),
        "located": text.also(FIRST + 512, "c:\\b.vhd".encode("utf-16-le")),
        "located elsewhere": Memory(small(header=located(b"MacX", FIRST + 512, 8))).also(
            FIRST + 512, b"/b.vhd\0\0"
        ),
        **{
            f"a long path of {n}": Memory(small(header=located(b"MacX", FIRST + 512, n))).also(
                FIRST + 512, b"/p" * 600
            )
            for n in (100, 101, 2000)
        },
        "located nowhere": small(header=located(b"W\x1bru", 1 << 40, 8)),
        **{
            f"table at {n}": small(header={"table_offset": n})
            for n in (
                0,
                512,
                1024,
                1535,
                1536,
                1537,
                FIRST + 3 * STRIDE - 24,
                FIRST + 3 * STRIDE - 512,
                FIRST + 3 * STRIDE,
            )
        },
        **{
            f"{n} entries": small(header={"entries": n})
            for n in (0, 5, 6, 7, 1 << 20, (1 << 20) + 1)
        },
        **{f"{n} entries in front of the header": _in_front(n) for n in (255, 256, 257)},
    }


def _in_front(entries: int) -> Memory:
    """The table begins where the header should, and the header stands behind it."""
    whole = small(footer={"data_offset": 1536}, header={"table_offset": 512, "entries": entries})
    return Memory(whole).also(1536, whole[512:1536]).also(512, b"\xff" * 1024)


def tables() -> Mapping[str, Reader | bytes]:
    """The block table and its batmap."""
    end = FIRST + 3 * STRIDE

    def entry(number: int, sector: int) -> Memory:
        return Memory(small()).also(_TABLE + 4 * number, struct.pack(">I", sector))

    at = (end - STRIDE) // 512
    many = b"".join(struct.pack(">I", 1 << 30 | n * 9) for n in range(12))
    longer = {"entries": (-1,) * 12, "footer": {"current_size": 12 * BLOCK}}
    spread = small(
        entries=(0, 2) + (-1,) * 4, bits=b"\xc0".ljust(1024, b"\0"), header={"table_offset": _TABLE}
    )
    signed = b"\xff\x80\x7f".ljust(512, b"\0")
    total = ~(-1 - 128 + 127) & 0xFFFFFFFF
    return {
        "sound": small(),
        **{
            f"a block at {n}": entry(0, n)
            for n in (0, 1, 2, 3, 4, 5, at - 9, at - 8, at, at + 1, 0xFFFFFFFE)
        },
        **{f"a block by {n}": entry(4, FIRST // 512 + n) for n in (0, 8, 9, 10, 17, 18, 19)},
        "two the same": entry(1, FIRST // 512),
        "ten behind": Memory(small(**longer)).also(_TABLE, many),
        "ten behind, cut": Memory(small(**longer)[:-512]).also(_TABLE, many),
        "no block": small(entries=(-1,) * 6),
        **{
            f"batmap {name} {n}": small(batmap={name: n})
            for name, n in (
                ("version", 0x00010000),
                ("version", 0x00010003),
                ("sectors", 0),
                ("sectors", 2),
                ("sectors", 1024),
                ("sectors", 1025),
                ("offset", _MAP - 512),
                ("offset", _MAP + 1),
                ("offset", _MAP + 512),
                ("offset", end - 512),
                ("offset", end),
                ("checksum", 7),
            )
        },
        "batmap of another cookie": small(batmap={"cookie": b"tdbatmaq"}),
        "batmap, signed": small(
            entries=(0, 1, 2) + (-1,) * 3,
            batmap={"version": 0x00010001, "checksum": total},
            bits=signed,
        ),
        "batmap, unsigned": small(batmap={"version": 0x00010001}),
        **{
            f"shown as full: {n}": small(
                bits=bytes(n // 8) + bytes([0x80 >> n % 8]) + bytes(511 - n // 8)
            )
            for n in (0, 1, 5, 6, 4095)
        },
        "batmap of two sectors": spread,
        **{f"batmap of {n} entries": _long(n) for n in (4096, 4097)},
        **{
            f"two sectors, {size} bytes": small(
                footer={"current_size": size}, bits=b"\x68".ljust(600, b"\0") + b"\1" * 424
            )
            for size in (DISK, 512 << 24, (513 << 24) - 1, 513 << 24)
        },
        "cut in the batmap": small()[: _BATMAP + 100],
        "cut in the map": small()[: _MAP + 100],
        "nothing full": small(bits=bytes(512)),
        **{f"{n} entries with a budget": _huge(n) for n in (131072, 131073)},
        "bitmaps behind the end": small(tail=3 * STRIDE - 512),
    }


def _long(count: int) -> Memory:
    """A batmap of one sector for that many blocks."""
    at = _TABLE + -(-4 * count // 512) * 512
    disk = {"current_size": count * BLOCK}
    whole = small(entries=(-1,) * 6, footer=disk, header={"entries": count}, tail=64 * 512)
    moved = vhd_bytes.BatmapHeader(b"tdbatmap", at + 512, 1, 0x00010002, 0xFFFFFFFF, 0, bytes(483))
    table = Memory(whole).also(_TABLE, b"\xff" * (at - _TABLE))
    return table.also(at, moved.pack() + bytes(512))


def _huge(count: int) -> Reader:
    """A table that is as long as a reader with a budget is asked for, or longer."""
    disk = {"current_size": count * BLOCK}
    whole = small(footer=disk, header={"entries": count})
    size = 4 * count + 4096
    return MemoryDisk(size + 512, {0: whole[:_TABLE], size: whole[-512:]})


def sizes() -> Mapping[str, Reader | bytes]:
    """Geometries of disks of every size, as the facts of a fixed disk say them."""
    edges = (17 * 4 * 1024, 17 * 16 * 1024, 31 * 16 * 1024, 63 * 16 * 1024, 65535 * 16 * 63)
    counts = sorted(
        {1, 16, 17, 68, *(n + by for n in (*edges, 65535 * 16 * 255) for by in (-1, 0, 1))}
    )
    more = {f"{n} sectors, one too many": _told(n * 512, 1) for n in (17, 69632, 1 << 21)}
    return {f"{n} sectors": _told(n * 512) for n in counts} | more


def _told(size: int, more: int = 0) -> Reader:
    cylinders, heads, sectors = vhd_bytes.geometry(size)
    footer = vhd_bytes.Footer.unpack(handmade.vhd_footer(size))
    shape = {"cylinders": cylinders, "heads": heads, "sectors": sectors + more, "creator": b"tap\0"}
    return MemoryDisk(size + 512, {size: _changed(footer, shape)})


def others() -> Mapping[str, Reader | bytes]:
    """A whole VHD of ours, and what it begins like."""
    whole = bytes(test_vhd.good())
    return {"ours": whole, "a gigabyte of ours": bytes(files.ours(1 << 30, [3]))}


GROUPS = {
    "edge-vhd-footers": footers,
    "edge-vhd-fixed": fixed,
    "edge-vhd-headers": headers,
    "edge-vhd-tables": tables,
    "edge-vhd-sizes": sizes,
    "edge-vhd-ours": others,
}
