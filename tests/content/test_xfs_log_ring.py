"""The log of an XFS, block by block: where it lies, where it ends, and what its last record is."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pipeline.content import xfs_log
from pipeline.content.xfs_log import State

BLOCK, MAGIC, UNMOUNT = 512, 0xFEEDBABE, 0x20
OURS, METADATA, FOREIGN = b"uuid of the disk", b"uuid of metadata", b"another system's"
BASE = 0x3600  # bytes before the log: has bits in common with the offsets of its blocks


def record(
    cycle: int,
    block: int,
    *,
    length: int = BLOCK,
    version: int = 2,
    buffers: int = 0,
    headers: int = 1,
    operations: int = 1,
    flags: int = UNMOUNT,
    uuid: bytes = OURS,
    stands: int | None = None,
) -> bytes:
    """A record with its headers; the bytes around each field are not zero.

    ``stands``: the number that it gives for its own place, cycle and block.
    """
    place = cycle << 32 | block if stands is None else stands
    head = struct.pack(">IIIIQ", MAGIC, cycle, version, length, place)
    head = head.ljust(40, b"\x77") + struct.pack(">I", operations)
    head = head.ljust(304, b"\x77") + uuid + struct.pack(">II", buffers, 0x77777777)
    data = bytearray(b"\x77" * (-(-length // BLOCK) * BLOCK))
    for at in range(0, len(data), BLOCK):
        data[at : at + 4] = struct.pack(">I", cycle)
    data[9:10] = bytes([flags]) if data else b""
    more = struct.pack(">I", cycle).ljust(BLOCK, b"\x57") * (headers - 1)
    return head.ljust(BLOCK, b"\x77") + more + bytes(data)


def ring(
    count: int, cycle: int, head: int, last: bytes = b"", *, older: int | None = None
) -> bytes:
    """A log in its round ``cycle`` whose last record ends before block ``head``."""
    before = cycle - 1 if older is None else older
    body = bytearray()
    for number in range(count):
        told = cycle if number < head else before
        body += struct.pack(">I", told).ljust(BLOCK, b"\x55")
    for index in range(len(last) // BLOCK):
        number = (head - len(last) // BLOCK + index) % count
        part = last[index * BLOCK : (index + 1) * BLOCK]
        told = struct.pack(">I", cycle if number < head else before) if index else part[:4]
        body[number * BLOCK : (number + 1) * BLOCK] = told + part[4:]
    return bytes(body)


def reader(log: bytes, base: int = BASE) -> Callable[[int, int], bytes]:
    """Reads a log that begins at byte ``base``."""

    def read(offset: int, length: int) -> bytes:
        assert offset >= base, "before the log"
        assert length >= 0
        return log[offset - base : offset - base + length]

    return read


def end(log: bytes) -> State:
    """How the newest round of a log ends."""
    return xfs_log._Ring(reader(log), BASE, len(log) // BLOCK, (OURS, METADATA)).end()


@pytest.mark.parametrize("cycle", [1, 2, 300, 1 << 31, MAGIC + 9])
@pytest.mark.parametrize("head", [2, 3, 7, 19, 36, 37])
def test_the_last_record_ends_where_the_newest_round_does(head: int, cycle: int) -> None:
    assert end(ring(37, cycle, head, record(cycle, head - 2))) == "clean"
    assert end(ring(37, cycle, head, record(cycle, head - 2, flags=0))) == "dirty"
    assert end(ring(37, cycle, head)) == "dirty"


@pytest.mark.parametrize("head", [1, 2, 3])
def test_a_record_may_begin_before_the_ring_s_end(head: int) -> None:
    """It tells the round in which it was begun."""
    start = 37 + head - 4
    assert end(ring(37, 9, head, record(8, start, length=3 * BLOCK))) == "clean"
    assert end(ring(37, 9, head, record(9, start, length=3 * BLOCK, stands=start))) == "dirty"


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "clean"),
        ({"version": 1}, "clean"),
        ({"version": 0}, "dirty"),
        ({"version": 3}, "dirty"),
        ({"version": 4}, "dirty"),
        ({"operations": 0}, "dirty"),
        ({"operations": 2}, "dirty"),
        ({"operations": 0x101}, "dirty"),
        ({"operations": 1 << 24 | 1}, "dirty"),
        ({"flags": 0}, "dirty"),
        ({"flags": 0x1F}, "dirty"),
        ({"flags": 0xDF}, "dirty"),
        ({"flags": 0xFF}, "clean"),
        ({"uuid": METADATA}, "clean"),
        ({"uuid": FOREIGN}, "foreign"),
        ({"uuid": OURS[:15] + b"?"}, "foreign"),
        ({"stands": 5 << 32 | 10}, "dirty"),
        ({"stands": 5 << 32 | 12}, "dirty"),
        ({"stands": 4 << 32 | 11}, "dirty"),
        ({"stands": 6 << 32 | 11}, "dirty"),
        ({"length": 513}, "clean"),
        ({"length": 1024}, "clean"),
        ({"length": 1}, "clean"),
        ({"length": 0}, "dirty"),
    ],
)
def test_a_clean_log_ends_with_the_record_of_an_unmount(
    changed: dict[str, int | bytes], state: State
) -> None:
    blocks = -(-int(changed.get("length", BLOCK)) // BLOCK)
    last = record(5, 11, **changed)  # type: ignore[arg-type]
    assert len(last) == (1 + blocks) * BLOCK
    assert end(ring(37, 5, 12 + blocks, last)) == state


@pytest.mark.parametrize("length", [BLOCK, 2 * BLOCK + 1, 4 * BLOCK, 1 << 24 | BLOCK])
def test_a_record_is_as_long_as_it_says(length: int) -> None:
    last = record(5, 11, length=2 * BLOCK)
    last = last[:12] + struct.pack(">I", length) + last[16:]
    assert end(ring(37, 5, 14, last)) == "dirty"


@pytest.mark.parametrize(
    ("buffers", "headers", "version", "state"),
    [
        (0, 1, 2, "clean"),
        (1, 1, 2, "clean"),
        (32 << 10, 1, 2, "clean"),
        ((32 << 10) + 1, 2, 2, "clean"),
        (64 << 10, 2, 2, "clean"),
        ((64 << 10) + 1, 3, 2, "clean"),
        (256 << 10, 8, 2, "clean"),
        (256 << 10, 9, 2, "dirty"),
        (256 << 10, 7, 2, "dirty"),
        (32 << 10, 2, 2, "dirty"),
        (1 << 24, 1, 2, "dirty"),
        (256 << 10, 1, 1, "clean"),  # the first version has one header
        (256 << 10, 8, 1, "dirty"),
    ],
)
def test_a_large_buffer_has_more_headers(
    buffers: int, headers: int, version: int, state: State
) -> None:
    last = record(5, 3, buffers=buffers, headers=headers, version=version)
    assert end(ring(37, 5, 4 + headers, last)) == state


def test_the_first_operation_stands_behind_all_headers() -> None:
    last = record(5, 3, buffers=64 << 10, headers=2, flags=0)
    assert end(ring(37, 5, 6, last)) == "dirty"
    assert end(ring(37, 5, 6, record(5, 3, buffers=64 << 10, headers=2))) == "clean"


def test_whatever_is_of_another_round_lies_behind_the_newest() -> None:
    for older in (3, 4, 6, 7):
        assert end(ring(37, 5, 9, record(5, 7), older=older)) == "clean"


def test_a_ring_that_ends_in_the_round_of_its_begin_is_full() -> None:
    for cycle in (5, 300):
        log = bytearray(ring(37, cycle, 9, record(cycle, 7)))
        log[36 * BLOCK : 36 * BLOCK + 4] = struct.pack(">I", cycle)
        assert end(bytes(log)) == "dirty"


def test_what_looks_like_a_header_within_a_block_begins_no_record() -> None:
    last = bytearray(record(5, 4, length=2 * BLOCK))
    for at in (BLOCK + 12, 2 * BLOCK + 16, 3 * BLOCK - 4):
        last[at : at + 4] = struct.pack(">I", MAGIC)
    assert end(ring(37, 5, 7, bytes(last))) == "clean"


def test_the_last_of_several_records_counts() -> None:
    log = bytearray(ring(37, 5, 20, record(5, 18)))
    log[4 * BLOCK : 6 * BLOCK] = record(5, 4, flags=0)
    assert end(bytes(log)) == "clean"
    log[17 * BLOCK : 19 * BLOCK] = record(5, 17)
    log[19 * BLOCK : 20 * BLOCK] = struct.pack(">I", 5).ljust(BLOCK, b"\x55")
    assert end(bytes(log)) == "dirty"


@pytest.mark.parametrize(("more", "state"), [(0, "clean"), (1, "dirty")])
@pytest.mark.parametrize("head", [540, 519, 300])
def test_a_record_has_256_kib_at_most_and_eight_headers(head: int, more: int, state: State) -> None:
    """It is looked for as far back as the longest one reaches, and around the ring's end."""
    length = (256 << 10) + more * BLOCK
    start = head - 520 - more
    whole = record(6 if start >= 0 else 5, start % 600, length=length, buffers=256 << 10, headers=8)
    assert len(whole) == (520 + more) * BLOCK
    assert end(ring(600, 6, head, whole)) == state


def test_no_more_is_read_than_a_record_is_long() -> None:
    log, asked = ring(600, 6, 550, record(6, 548)), []
    plain = reader(log)

    def read(offset: int, length: int) -> bytes:
        asked.append((offset - BASE, length))
        return plain(offset, length)

    assert xfs_log._Ring(read, BASE, 600, (OURS,)).end() == "clean"
    assert max(asked, key=lambda item: item[1]) == (30 * BLOCK, 520 * BLOCK)
    assert all(length == 8 for _, length in asked[:-1])
    assert len(asked) < 16


@pytest.mark.parametrize(
    ("block", "cycle"),
    [
        (struct.pack(">II", 7, 9), 7),
        (struct.pack(">II", 0x01000007, 9), 0x01000007),
        (struct.pack(">II", MAGIC, 9), 9),
        (struct.pack(">II", MAGIC, 0x01000009), 0x01000009),
        (struct.pack(">II", MAGIC - 1, 9), MAGIC - 1),
        (struct.pack(">II", MAGIC + 1, 9), MAGIC + 1),
        (bytes(8), 0),
        (bytes(7), None),
        (b"", None),
    ],
)
def test_a_block_tells_its_round(block: bytes, cycle: int | None) -> None:
    log = b"\xee" * 3 * BLOCK + block
    assert xfs_log._Ring(reader(log), BASE, 9, (OURS,)).cycle(3) == cycle


SIZE, BITS, GROUP, LOG, LOG_BLOCKS = 1024, 11, 1500, 3 << 11 | 700, 10
FIRST = (3 * GROUP + 700) * SIZE


def superblock(**changed: int) -> bytes:
    """Its first sector; what is around the fields of the log is not zero."""
    told = {"size": SIZE, "log": LOG, "group": GROUP, "count": LOG_BLOCKS, "bits": BITS} | changed
    raw = bytearray(b"\x33" * BLOCK)
    for at, form, key in (
        (4, ">I", "size"),
        (48, ">Q", "log"),
        (84, ">I", "group"),
        (96, ">I", "count"),
        (124, ">B", "bits"),
    ):
        struct.pack_into(form, raw, at, told[key])
    raw[32:48], raw[248:264] = OURS, METADATA
    return bytes(raw)


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({}, (FIRST, 20)),
        ({"log": 700}, (700 * SIZE, 20)),
        ({"log": 0x0123456789ABCDEF, "bits": 32}, ((0x01234567 * GROUP + 0x89ABCDEF) << 10, 20)),
        ({"log": 5, "bits": 0}, (5 * GROUP * SIZE, 20)),
        ({"log": 1}, (SIZE, 20)),
        ({"log": 0}, None),
        ({"bits": 33}, None),
        ({"count": 0}, None),
        ({"count": 1}, (FIRST, 2)),
        ({"count": 0x01020304}, (FIRST, 0x02040608)),
        ({"group": 0x01020304}, ((3 * 0x01020304 + 700) * SIZE, 20)),
        ({"size": 511}, None),
        ({"size": 512}, (FIRST // 2, 10)),
        ({"size": 513}, (FIRST // 1024 * 513, 10)),
        ({"size": 65536}, (FIRST * 64, 1280)),
        ({"size": 65537}, None),
        ({"size": 0x01000400}, None),
    ],
)
def test_the_superblock_tells_where_the_log_is(
    changed: dict[str, int], place: tuple[int, int] | None
) -> None:
    assert xfs_log._place(lambda at, length: superblock(**changed)[at : at + length]) == place


def test_a_short_superblock_tells_nothing() -> None:
    assert xfs_log._place(lambda at, length: superblock()[at : at + min(length, 511)]) is None


def volume(log: bytes) -> Callable[[int, int], bytes]:
    """Reads a file system with a log in the place that its superblock tells."""

    def read(offset: int, length: int) -> bytes:
        assert (offset, length) == (0, BLOCK) or offset >= FIRST
        return superblock() if offset == 0 else log[offset - FIRST : offset - FIRST + length]

    return read


@pytest.mark.parametrize(
    ("cycle", "older", "said"),
    [
        (5, 4, "clean"),
        (5, 0, "clean"),
        (1, 0, "clean"),
        (5, 5, "clean"),
        (5, 3, "dirty"),
        (5, 6, "dirty"),
        (500, 499, "clean"),
        (500, 498, "dirty"),
    ],
)
def test_behind_the_newest_round_is_the_one_before_or_nothing(
    cycle: int, older: int, said: State
) -> None:
    head = 20 if cycle == older else 9
    last = record(cycle, head - 2)
    assert xfs_log.state(volume(ring(20, cycle, head, last, older=older))) == said


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (bytes(20 * BLOCK), "unwritten"),
        (ring(20, 5, 9, record(5, 7, uuid=METADATA)), "clean"),
        (ring(20, 5, 9, record(5, 7, uuid=FOREIGN)), "foreign"),
        (ring(20, 5, 9, record(5, 7, flags=1)), "dirty"),
        (ring(20, 1, 1), "dirty"),
        (ring(20, 5, 9, record(5, 7))[: 19 * BLOCK], "unknown"),
        (ring(20, 5, 9, record(5, 7))[: 19 * BLOCK + 7], "unknown"),
        (b"", "unknown"),
    ],
    ids=("zeros", "metadata's", "foreign", "dirty", "one block", "a block short", "cut", "none"),
)
def test_what_a_log_is(log: bytes, said: State) -> None:
    told = {"clean": True, "unwritten": True, "dirty": False}.get(said)
    assert xfs_log.state(volume(log)) == said
    assert xfs_log.clean(volume(log)) is told


def test_a_log_elsewhere_is_unknown() -> None:
    assert xfs_log.state(lambda at, length: superblock(log=0)) == "unknown"
