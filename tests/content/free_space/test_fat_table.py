"""FAT: which clusters are free by its table, and what contradicts the table."""

from __future__ import annotations

import itertools
import random
import struct

import pytest
from handmade import Memory
from vhd_files import MemoryDisk

from pipeline.content.free_space import fat
from pipeline.content.free_space.base import NOT_COUNTED, Effort, KeptError, Span, clipped
from pipeline.content.free_space.fat import FatMap, Geometry
from tests.content.free_space.kept import reason


def table(bits: int, entries: list[int], size: int) -> bytes:
    """Entries of so many bits."""
    whole = 0
    for number, value in enumerate(entries):
        whole |= value << number * bits
    return whole.to_bytes(size, "little")


VALUES = {
    12: (0, 0, 0, 1, 0xF, 0x10, 0xF0, 0x100, 0xF00, 0xFFF),
    16: (0, 0, 0, 1, 0xFF, 0x100, 0xFF00, 0xFFFF),
    32: (
        0, 0, 0, *(n << 28 for n in range(16)), 1, 0x100, 0x10000, 0x1000000, 0x2000000,
        0x4000000, 0x8000000, 0x0FFFFFFF,
    ),
}  # fmt: skip
TABLE, DATA, CLUSTER = 1536, 11_000, 1024


def mapped(bits: int, count: int, medium: int = 0xF8, *, info: int = 0) -> tuple[FatMap, list[int]]:
    """A volume with entries of all kinds, and the entries of its clusters."""
    chance = random.Random(bits)
    entries = [chance.choice(VALUES[bits]) for _ in range(count)]
    head = [{12: 0xF00, 16: 0xFF00, 32: 0x0FFFFF00}[bits] | medium, (1 << min(bits, 28)) - 1]
    size = -(-(count + 2) * bits // 8 // 512) * 512
    raw = table(bits, [*head, *entries], size)
    geometry = Geometry(bits, TABLE, size, DATA, CLUSTER, count, medium, info, in_use=False)
    data = bytearray(DATA + count * CLUSTER + 700)
    data[TABLE : TABLE + size] = raw
    data[TABLE + size : TABLE + 2 * size] = raw
    return FatMap(Memory(bytes(data)), geometry), entries


def free_of(bits: int, entries: list[int]) -> set[int]:
    """The free clusters, counted from 0."""
    return {n for n, value in enumerate(entries) if value & ((1 << min(bits, 28)) - 1) == 0}


@pytest.mark.parametrize("bits", VALUES)
@pytest.mark.parametrize("chunk", [64, 1 << 20])
def test_the_free_clusters_of_any_range(
    bits: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fat, "_CHUNK", chunk)
    found, entries = mapped(bits, 300)
    free = free_of(bits, entries)
    edges = [0, 1, DATA - 1, DATA, DATA + 1, DATA + 299 * CLUSTER, found.end, found.end + 600]
    edges += [
        DATA + n * CLUSTER + by for n in (1, 7, 16, 17, 33, 128, 255, 257) for by in (-1, 0, 9)
    ]

    truth: list[Span] = []
    for number in sorted(free):
        low = DATA + number * CLUSTER
        first = truth.pop()[0] if truth and truth[-1][1] == low else low
        truth.append((first, low + CLUSTER))
    for low, high in itertools.product(sorted(edges), repeat=2):
        assert list(found.between(low, high)) == list(clipped(truth, low, high)), (low, high)


@pytest.mark.parametrize("bits", VALUES)
def test_any_entries_of_a_table(bits: int) -> None:
    found, entries = mapped(bits, 300)
    width = 2 if bits < 32 else 4

    for first, count in ((2, 300), (2, 1), (3, 1), (3, 2), (150, 151), (300, 2), (301, 1)):
        raw = b"".join(n.to_bytes(width, "little") for n in entries[first - 2 : first - 2 + count])
        assert found._entries(first, count) == raw, (first, count)


@pytest.mark.parametrize(("bits", "place", "length"), [(16, 2, 2), (32, 4, 4)])
def test_a_range_is_looked_up_where_it_stands(bits: int, place: int, length: int) -> None:
    found, _ = mapped(bits, 300)
    assert isinstance(found._volume, Memory)
    volume = Asked(found.end, {TABLE: found._volume.read(TABLE, 2000)})
    asked = FatMap(volume, found.geometry)

    for cluster, count in ((0, 1), (1, 1), (200, 3), (299, 1)):
        volume.reads.clear()
        low = DATA + cluster * CLUSTER
        list(asked.between(low, low + (count - 1) * CLUSTER + 1))
        assert volume.reads == [(TABLE + (cluster + 2) * place, count * length)]
    volume.reads.clear()
    list(asked.between(0, DATA))
    list(asked.between(found.end, 2 * found.end))
    assert volume.reads == []


@pytest.mark.parametrize("count", [299, 300])
def test_of_a_table_of_12_bits_no_more_is_read_than_its_entries(count: int) -> None:
    found, entries = mapped(12, count)
    assert isinstance(found._volume, Memory)
    length = -(-(count + 2) * 12 // 8)
    cut = FatMap(Memory(found._volume.data[: TABLE + length]), found.geometry)

    assert cut._entries(2, count) == struct.pack(f"<{count}H", *entries)


@pytest.mark.parametrize("bits", [16, 32])
def test_the_copies_are_compared_to_the_last_byte(
    bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fat, "_CHUNK", 1000)
    found, _ = mapped(bits, 700)
    found._prove_copies()
    size, memory = found.geometry.table_size, found._volume
    assert isinstance(memory, Memory)

    for at in (0, 1, 999, 1000, 1001, size - 1):
        for place in (TABLE + at, TABLE + size + at):
            own = memory.read(place, 1)[0]
            damaged = FatMap(memory.also(place, bytes([own ^ 0x80])), found.geometry)
            with pytest.raises(KeptError, match="the two copies of its table differ"):
                damaged._prove_copies()
    for place in (TABLE - 1, TABLE + 2 * size):
        FatMap(memory.also(place, b"\x77"), found.geometry)._prove_copies()


_USED, _WRONG = "it was not unmounted", "errors were seen in it"
_BEGIN = "its table does not begin as one does"
STATES: list[tuple[int, int, int, str | None]] = [  # bits, the first two entries
    (12, 0xFF8, 0, None),
    (12, 0xFF9, 0xFFF, _BEGIN),
    (12, 0xEF8, 0xFFF, _BEGIN),
    (12, 0x7F8, 0xFFF, _BEGIN),
    (16, 0xFFF8, 0xFFFF, None),
    (16, 0xFFF8, 0xC000, None),
    (16, 0xFFF8, 0x7FFF, _USED),
    (16, 0xFFF8, 0x3FFF, _USED),
    (16, 0xFFF8, 0xBFFF, _WRONG),
    (16, 0xFFF0, 0xFFFF, _BEGIN),
    (16, 0xFEF8, 0xFFFF, _BEGIN),
    (16, 0x7FF8, 0xFFFF, _BEGIN),
    (32, 0x0FFFFFF8, 0x0FFFFFFF, None),
    (32, 0xFFFFFFF8, 0xFFFFFFFF, None),
    (32, 0x5FFFFFF8, 0x0C000000, None),
    (32, 0x0FFFFFF8, 0xF7FFFFFF, _USED),
    (32, 0x0FFFFFF8, 0xFBFFFFFF, _WRONG),
    (32, 0x0FFFFFF8, 0xF3FFFFFF, _USED),
    (32, 0x0FFFFEF8, 0x0FFFFFFF, _BEGIN),
    (32, 0x07FFFFF8, 0x0FFFFFFF, _BEGIN),
    (32, 0x0FFFFF00, 0x0FFFFFFF, _BEGIN),
]


@pytest.mark.parametrize(("bits", "first", "second", "wanted"), STATES)
def test_what_the_first_two_entries_tell(
    bits: int, first: int, second: int, wanted: str | None
) -> None:
    geometry = Geometry(bits, 100, 16, 200, 512, 1, 0xF8, 0, in_use=False)
    volume = Memory(bytes(100) + table(bits, [first, second], 16) + bytes(400))

    assert reason(FatMap(volume, geometry)._prove_state) == wanted


# ---------------------------------------------------------------------------------------- its counts


def counted(told: int, *, at: int = 1024) -> FatMap:
    """A FAT32 of 300 clusters whose FSInfo says so."""
    found, _ = mapped(32, 300, info=at)
    memory = found._volume
    assert isinstance(memory, Memory)
    noise = b"\xb6" * 480
    info = b"RRaA" + noise + b"rrAa" + struct.pack("<I", told) + b"\xb6" * 20
    return FatMap(memory.also(at, info), found.geometry)


def test_how_many_clusters_are_free() -> None:
    free = len(free_of(32, mapped(32, 300)[1]))
    found = counted(free)

    found.prove(Effort())

    assert (found.free, found.end) == (free * CLUSTER, DATA + 300 * CLUSTER)
    assert found.runs == len(list(found.between(0, found.end)))
    assert reason(counted(0xFFFFFFFF).prove, Effort()) is None
    for told in (free - 1, free + 1, 0, 0xFFFFFFFE):
        words = f"its table has {free} free clusters, FSInfo says {told}"
        assert reason(counted(told).prove, Effort()) == words


def test_fsinfo_has_two_marks() -> None:
    found = counted(1)
    memory = found._volume
    assert isinstance(memory, Memory)

    for at in (0, 3, 484, 487):
        damaged = FatMap(memory.also(1024 + at, b"\0"), found.geometry)
        assert reason(damaged._told) == "its FSInfo is damaged"
    for at in (4, 483, 492, 511):
        assert FatMap(memory.also(1024 + at, b"\0"), found.geometry)._told() == 1
    assert counted(300)._told() == 300
    assert counted(0x01020304)._told() == 0x01020304
    assert mapped(32, 300)[0]._told() is None


def test_where_a_table_is_too_large_its_count_is_told_instead() -> None:
    # given a table of a MiB: 16 of an effort for each KiB, of which maps may take four times as much
    size, clusters = 1 << 20, (1 << 18) - 2
    data = bytearray(3 << 20)
    for at in (4096, 4096 + size):
        data[at : at + 8] = struct.pack("<II", 0x0FFFFFF8, 0x0FFFFFFF)
    data[4096 + size - 1] = 0x01  # differs
    geometry = Geometry(32, 4096, size, 4096 + 2 * size, 512, clusters, 0xF8, 512, in_use=False)

    def told(count: int, most: int) -> FatMap:
        info = b"RRaA".ljust(484, b"\0") + b"rrAa" + struct.pack("<I", count)
        return FatMap(Memory(bytes(data)).also(512, info), geometry)

    for count in (0, 77, clusters):
        found = told(count, 4096)
        found.prove(Effort(4096))
        assert (found.free, found.runs) == (count * 512, None)
    assert reason(told(clusters + 1, 4096).prove, Effort(4096)) == NOT_COUNTED
    assert reason(told(0xFFFFFFFF, 4096).prove, Effort(4096)) == NOT_COUNTED
    assert reason(told(77, 4097).prove, Effort(4097)) == "the two copies of its table differ"


def test_only_whole_kib_of_a_table_cost_something() -> None:
    found, entries = mapped(32, 382)
    assert found.geometry.table_size == 1536

    found.prove(Effort(5))

    assert found.free == len(free_of(32, entries)) * CLUSTER
    assert reason(found.prove, Effort(4)) == NOT_COUNTED


def test_no_more_than_a_mib_is_read_at_once() -> None:
    size, clusters = (1 << 20) + 512 * 300, (1 << 18) + 128 * 300 - 2
    head = struct.pack("<II", 0x0FFFFFF8, 0x0FFFFFFF)
    volume = Asked(4096 + 2 * size + 512 * clusters, {4096: head, 4096 + size: head})
    found = FatMap(
        volume, Geometry(32, 4096, size, 4096 + 2 * size, 512, clusters, 0xF8, 0, in_use=False)
    )

    found.prove(Effort())

    assert (found.free, found.runs) == (512 * clusters, 1)
    rest = 512 * 300
    copies = [1 << 20, 1 << 20, rest, rest]
    assert [length for _, length in volume.reads] == [*copies, 8, 1 << 20, rest - 8]


class Asked(MemoryDisk):
    """A disk that knows what was read of it."""

    def __init__(self, size: int, data: dict[int, bytes]) -> None:
        super().__init__(size, data)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return super().read(offset, length)
