"""qcow2 files on both sides of every limit: each just legal, or just not, or just not looked at."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Mapping

import handmade
import vhd_files
from handmade import MIB, Memory, be32, be64

from pipeline.source import Reader

CLUSTER = 4096
COPIED, COMPRESSED = 1 << 63, 1 << 62
_BITMAPS, _DATA_NAME = 0x23852875, 0x44415441
_REFCOUNTS, _BLOCK, _L1, _L2, _DATA = (number * CLUSTER for number in range(1, 6))


def field(offset: int, value: int, length: int = 4, **made: object) -> Memory:
    """An image with one field of its header changed."""
    image = Memory(handmade.qcow2(**made))  # type: ignore[arg-type]
    return image.also(offset, value.to_bytes(length, "big"))


def extension(kind: int, length: int) -> bytes:
    """The head of a header extension."""
    return be32(kind) + be32(length)


def backed(offset: int, length: int) -> Memory:
    """An image whose backing file's name is there."""
    return Memory(handmade.qcow2()).also(8, be64(offset) + be32(length))


def sparse(
    size: int, *pieces: tuple[int, bytes], bits: int = 12, disk: int = MIB, **made: object
) -> vhd_files.MemoryDisk:
    """The five clusters of a small image, with pieces written over them, in a file of any size."""
    image = handmade.qcow2(bits=bits, size=disk, clusters=0, **made)  # type: ignore[arg-type]
    whole, cluster = bytearray(image[:112]), 1 << bits
    parts = {n * cluster: image[n * cluster : n * cluster + 8] for n in (1, 3)}
    for offset, data in pieces:
        if offset + len(data) <= 112:
            whole[offset : offset + len(data)] = data
        else:
            parts[offset] = data
    return vhd_files.MemoryDisk(size, {0: bytes(whole), **parts})


def header() -> Mapping[str, Reader]:
    """The fields of the header."""
    data_name = extension(_DATA_NAME, 4) + b"data"
    bitmaps = [(0, 65535, 64), (1, 65536, 64), (2, 1, 64 << 20), (3, 1, (64 << 20) + 1)]
    return {
        **{f"cluster_bits {n}": field(20, n) for n in (8, 9, 21, 22, 32, 33)},
        **{f"size {n}": field(24, n, 8) for n in (511, 512, 513, 8 << 40, (8 << 40) + 1)},
        **{f"L1 {n}": field(36, n) for n in (4 << 20, (4 << 20) + 1)},
        **{f"refcount clusters {n}": field(56, n) for n in (2048, 2049)},
        **{f"snapshots {n}": field(60, n << 64 | 8 * CLUSTER, 12) for n in (1, 4096, 4097)},
        **{f"order {n}": field(96, n) for n in (6, 7)},
        **{f"header of {n}": field(100, n) for n in (103, 104, 105, 4096, 4097)},
        **{
            f"header of {n}, zstd": field(100, n, compression=1, incompatible=8) for n in (104, 105)
        },
        **{
            f"extended, {n}": field(24, n, 8, bits=14, incompatible=16)
            for n in (16 * MIB, 16 * MIB + 1)
        },
        **{f"extended, bits {n}": field(20, n, incompatible=16) for n in (13, 14)},
        **{f"an extension of {n}": field(104, 1 << 32 | n, 8) for n in (3984, 3985)},
        **{
            f"a last extension of {n}": field(104, 1 << 32 | 3976, 8).also(
                4088, extension(_BITMAPS, n)
            )
            for n in (0, 1)
        },
        **{
            f"an extension of {n} before a name": field(104, 1 << 32 | n, 8).also(
                112 + (n + 7) // 8 * 8, data_name
            )
            for n in (1, 7, 8, 9)
        },
        **{
            f"{n} extensions": Memory(handmade.qcow2(extensions=((1, b""),) * n))
            for n in (128, 129)
        },
        **{f"a name at {n}": backed(n, 8).also(104, data_name) for n in (104, 105)},
        **{
            f"an extension of {n} before a backing name": backed(120, 8).also(104, extension(1, n))
            for n in (8, 9)
        },
        **{f"a name of {n}": backed(200, n).also(200, b"n" * 1024) for n in (1023, 1024)},
        **{f"a name of {n} at the end": backed(4088, n).also(4088, b"base.img") for n in (8, 9)},
        **{
            f"a name of {n}, cluster_bits {bits}": backed((1 << 21) - 8, n).also(20, be32(bits))
            for n in (8, 9)
            for bits in (20, 21, 22)
        },
        **{
            f"bitmaps {n}": Memory(
                handmade.qcow2(
                    extensions=((_BITMAPS, struct.pack(">IIQQ", count, 0, length, 8 * CLUSTER)),)
                )
            )
            for n, count, length in bitmaps
        },
        "bitmaps, cut": Memory(handmade.qcow2(extensions=((_BITMAPS, be32(65536) + bytes(19)),))),
        "bits": field(72, 1 << 5 | 1 << 6 | 1 << 63, 8),
        "encryption 3": field(32, 3),
    }


def _entry(name: bytes, *, extra: int = 16, l1: int = 1, at: int = _L1, fill: int = 0) -> bytes:
    """An entry of the snapshot table; ``fill``: more bytes of its name."""
    head = struct.pack(">QIHHIIQII", at, l1, 1, len(name) + fill, 0, 0, 0, 0, extra)
    whole = head + bytes(extra) + b"1" + name + b"." * fill
    return whole + bytes(-len(whole) % 8)


def _listed(*entries: bytes) -> Memory:
    table = b"".join(entries)
    image = handmade.qcow2() + table.ljust(CLUSTER, b"\0")
    return Memory(image).also(60, be32(len(entries)) + be64(8 * CLUSTER))


def snapshots() -> Mapping[str, Reader]:
    """The snapshot table."""
    return {
        **{f"extra {n}": _listed(_entry(b"a", extra=n), _entry(b"b")) for n in (1024, 1025)},
        **{f"L1 {n}": _listed(_entry(b"a", l1=n), _entry(b"b")) for n in (4 << 20, (4 << 20) + 1)},
        "L1 misplaced": _listed(_entry(b"a"), _entry(b"b", at=_L1 + 512)),
        **{f"{n} of them": _listed(*[_entry(b"%d" % i) for i in range(n)]) for n in (8, 9)},
        **{f"a name of {n}": _listed(_entry(b"n" * n)) for n in (80, 81)},
        **{
            f"the next at {n + 58}": _listed(_entry(b"a", fill=n), _entry(b"b"), _entry(b"c"))
            for n in (65478, 65479)
        },
        "many": field(60, 1 << 64 | 0, 12),
    }


def _counted(*patches: tuple[int, bytes], bits: int = 12, size: int = 0, **made: object) -> Reader:
    """An image with a snapshot, of which is told where its last used cluster ends."""
    at = 6 << bits
    listed = (60, be32(1) + be64(at)), (at, _entry(b"a", at=3 << bits))
    return sparse(size or 7 << bits, *patches, *listed, bits=bits, **made)


def refcounts() -> Mapping[str, Reader]:
    """The refcount table and its last block."""
    table = 8 * CLUSTER, 512 << 10
    moved = (48, be64(table[0]) + be32(128))
    places = (0, 65528, 65536, 262136, 262144, 327680, 393208, 458752, 524280)
    big = 1 << 21
    words = (0, 131070, 131072, big - 131074, big - 131072, big - 2)
    return {
        **{
            f"named at {p}": _counted(
                moved, (table[0] + p, be64(_BLOCK)), (_BLOCK, b"\0\1"), size=sum(table)
            )
            for p in places
        },
        **{f"counted at {p}": _counted((2 * big + p, b"\0\1"), bits=21) for p in words},
        **{
            f"order {order}": _counted((96, be32(order)), (_BLOCK + 77, b"\x80"))
            for order in range(7)
        },
        **{
            f"block {n}": sparse(
                6 * CLUSTER, (_REFCOUNTS, bytes(8 * n) + be64(_BLOCK)), (_BLOCK + 1022, b"\0\1")
            )
            for n in (8, 9)
        },
        **{
            f"block at {n}": sparse(8 * CLUSTER - 1, (_REFCOUNTS, be64(n * CLUSTER)))
            for n in (6, 7, 8, 9)
        },
        "dirty": _counted((72, be64(1)), (_BLOCK + 4000, b"\0\1")),
        "none": _counted((_REFCOUNTS, bytes(8))),
    }


def _many(bits: int, count: int, faulty: int) -> Reader:
    """``count`` L2 tables, one of which maps to a place far away."""
    cluster = 1 << bits
    l1 = b"".join(be64((8 + n) * cluster | COPIED) for n in range(count))
    fault = ((8 + faulty) * cluster, be64(COPIED | 1 << 40))
    disk = count * cluster * cluster // 8
    return sparse((8 + count) * cluster, (3 * cluster, l1), fault, bits=bits, disk=disk)


def _stored(*entries: int, **made: object) -> Memory:
    return Memory(handmade.qcow2(l2=entries, **made))  # type: ignore[arg-type]


def entries() -> Mapping[str, Reader]:
    """L1 and L2 entries."""
    wide = [_DATA | 1 << n for n in (0, 1, 8, 9, 55, 56, 61, 63)]
    far = be64(COPIED | 1 << 40)
    moved = (36, be32(8193) + be64(16 * CLUSTER))
    return {
        **{f"L1 entry {n:x}": field(_L1, n, 8) for n in [_L2 | w & ~_DATA for w in wide]},
        **{f"L2 entry {n:x}": _stored(n) for n in wide},
        **{f"extended {n:x}": _stored(n, bits=14, incompatible=16) for n in (5 << 14, 5 << 14 | 1)},
        **{
            f"{bits}: table {n}": _many(bits, 70, n)
            for bits, n in ((9, 31), (9, 32), (9, 37), (9, 38))
        },
        **{
            f"{bits}: table {n}": _many(bits, 40, n)
            for bits, n in ((12, 15), (12, 16), (12, 23), (12, 24))
        },
        **{
            f"{bits}: table {n}": _many(bits, 8, n)
            for bits, n in ((16, 1), (16, 2), (16, 5), (16, 6))
        },
        **{
            f"17: entry at {p}": sparse(
                8 << 17, (3 << 17, be64(4 << 17)), ((4 << 17) + p, far), bits=17
            )
            for p in (32760, 32768)
        },
        **{
            f"a table of {n}": sparse(
                (4 << 16) + n, (3 << 16, be64(4 << 16)), (4 << 16, far), bits=16
            )
            for n in (32767, 32768)
        },
        **{
            f"L1 entry {n}": sparse(40 * CLUSTER, moved, (16 * CLUSTER + 8 * n, far), disk=1 << 34)
            for n in (8191, 8192)
        },
        "two tables": sparse(
            12 * CLUSTER,
            (_L1, be64(_L2) + be64(8 * CLUSTER)),
            (_L2, far),
            (8 * CLUSTER, far),
            disk=4 * MIB,
        ),
        **{f"to {n}": _stored(n * CLUSTER) for n in (7, 8)},
        **{f"L1 to {n}": field(_L1, n * CLUSTER, 8) for n in (7, 8)},
        **{
            f"packed on {n}": _stored(COMPRESSED | n)
            for n in (_L2 - 1, _L2, _DATA - 1, 8 * CLUSTER)
        },
        **{
            f"{n} of one": Memory(
                handmade.qcow2(bits=14, size=32 * MIB, l2=(COMPRESSED | 5 << 14,) * n)
            ).also(5 << 14, _packed(b"A" * (1 << 14)))
            for n in (1001, 1002)
        },
        **{f"garbage {n}": _packs(n) for n in range(5)},
        "garbage of 128 KiB": _stored(COMPRESSED | 256 << 53 | 5 << 17, bits=17),
        "garbage of 256 KiB in front of the tables": _in_front(),
        "packed nothing": _stored(COMPRESSED | _DATA).also(_DATA, b"\3\0"),
        **{
            f"zstd {magic.hex()}": _stored(COMPRESSED | _DATA, compression=1, incompatible=8).also(
                _DATA, magic
            )
            for magic in (b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfe")
        },
    }


def _in_front() -> Reader:
    """Compressed data in the second cluster, of 128 KiB; the tables begin in the seventh."""
    refs, block, l1, l2 = (number << 17 for number in (6, 7, 8, 9))
    head = bytearray(handmade.qcow2(bits=17, clusters=0)[:112])
    struct.pack_into(">QQ", head, 40, l1, refs)
    parts = {0: bytes(head), refs: be64(block), block: b"\0\1" * 10, l1: be64(l2)}
    return vhd_files.MemoryDisk(10 << 17, parts | {l2: be64(COMPRESSED | 511 << 53 | 1 << 17)})


def _packed(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    return packer.compress(data) + packer.flush()


def _packs(bad: int) -> Memory:
    """Five compressed clusters, one of them not a stream."""
    image = _stored(*(COMPRESSED | _DATA + 64 * n for n in range(5)))
    for number in range(5):
        image = image.also(_DATA + 64 * number, _packed(bytes([number]) * CLUSTER))
    return image.also(_DATA + 64 * bad, b"\xff" * 64)


def _crashed(*patches: tuple[int, bytes], size: int = 6 * CLUSTER, **made: object) -> Reader:
    """An image whose refcounts know nine clusters, whatever its file holds."""
    return sparse(size, (_BLOCK, b"\0\1" * 9), *patches, **made)


def ends() -> Mapping[str, Reader]:
    """Files that end too early, or only seem to."""
    table = (_L1, be64(_L2))
    packed = _packed(random.Random(7).randbytes(2000).ljust(CLUSTER, b"\0"))
    stream = COMPRESSED | len(packed) // 512 << 58 | _DATA
    unused = {
        **{
            f"entry {n}": _crashed(table, (_L2, be64(n)))
            for n in (
                5 * CLUSTER,
                6 * CLUSTER,
                COMPRESSED | 6 * CLUSTER,
                COMPRESSED | 6 * CLUSTER - 1,
            )
        },
        **{
            f"a table at {n}": _crashed((_L1, be64(n * CLUSTER)), size=6 * CLUSTER - cut)
            for n in (5, 6)
            for cut in (0, 1)
        },
        "a snapshot": _crashed((60, be32(1) + be64(_DATA)), (_DATA, _entry(b"a"))),
        **{
            f"L1 of {n}": _crashed(
                (36, be32(n) + be64(10 * CLUSTER)), (_BLOCK, b"\0\1" * 40), size=30 * CLUSTER
            )
            for n in (8192, 8193)
        },
        **{
            f"{n} tables": sparse(
                (5 + n) << 20,
                (3 << 20, b"".join(be64((5 + at) << 20) for at in range(n))),
                (2 << 20, b"\0\1" * 90),
                bits=20,
                disk=n << 37,
            )
            for n in (1, 2)
        },
    }
    last = {
        f"a disk of {size}, cut to {length}": Memory(
            handmade.qcow2(size=2 * CLUSTER + size)[: 7 * CLUSTER + length]
        )
        for size in (1, 511, 512, 513)
        for length in (1, 511, 512, 513, 1024, 4095)
    }
    other = {
        f"{name}, cut to {length}": Memory(handmade.qcow2(**made)[: 7 * CLUSTER + length])  # type: ignore[arg-type]
        for name, made in {
            "not copied": {"l2": (5 * CLUSTER, 6 * CLUSTER, 7 * CLUSTER)},
            "another entry": {"size": 2 * CLUSTER + 1, "l2": (7 * CLUSTER | COPIED, 6 * CLUSTER)},
            "no entry": {"l2": (5 * CLUSTER, 6 * CLUSTER)},
        }.items()
        for length in (511, 512, 4095)
    }
    streams = {
        "zlib": Memory(handmade.qcow2(l2=(stream,), clusters=1)).also(_DATA, packed),
        "zstd": _stored(stream, clusters=1, compression=1, incompatible=8).also(
            _DATA, b"\x28\xb5\x2f\xfd"
        ),
    }
    cut = {
        f"{name} {n:+}": Memory(image.read(0, _DATA + len(packed) + n))
        for name, image in streams.items()
        for n in (-1500, -600, -513, -30, -3, -1, 0, 1, 30, 512, 1000)
    }
    few = COMPRESSED | 1 << 58 | _DATA
    short = Memory(handmade.qcow2(l2=(few,), clusters=1)[: _DATA + 1024]).also(_DATA, packed[:1024])
    extended = handmade.qcow2(bits=14, incompatible=16, l2=(5 << 14 | COPIED, 1, 6 << 14, 1))
    return {
        **unused,
        **last,
        **other,
        **cut,
        "too few sectors": short,
        "extended": Memory(extended[:-1]),
        "twice too long": Memory(handmade.qcow2() + bytes(CLUSTER)),
    }


GROUPS = {
    "edge-qcow2-header": header,
    "edge-qcow2-snapshots": snapshots,
    "edge-qcow2-refcounts": refcounts,
    "edge-qcow2-entries": entries,
    "edge-qcow2-ends": ends,
}
