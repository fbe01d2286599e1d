"""Every part of an artifact at any place, against a few lines that say the same of one byte at a time.

Blocks, pages and windows are a few bytes here, so that every cut meets every edge.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vhd_files import MemoryDisk

from pipeline.formats.vhd_layout import Piece
from pipeline.source import Extent, Place
from pipeline.stage import Cancellation
from pipeline.targets import artifact, comparison, file_writer, sparse_tar, writing, zero_scan
from pipeline.targets.artifact import LaidOut
from pipeline.targets.comparison import DiskComparison
from pipeline.targets.file_writer import FileWriter
from pipeline.targets.linear import LinearLayout

AT, LENGTH = st.integers(0, 70), st.integers(0, 40)
RUNS = st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=8)
quick = settings(max_examples=150, deadline=None)


def pattern(size: int) -> bytes:
    """Bytes that say where they are, none of them zero."""
    return bytes(1 + n % 250 for n in range(size))


def laid(lengths: Sequence[tuple[int, bool]]) -> list[Extent]:
    """Extents one behind the other, data where the flag says so."""
    at, found = 0, []
    for length, data in lengths:
        found.append(Extent(at, length, "data" if data else "zero"))
        at += length
    return found


def holding(extents: Sequence[Extent]) -> MemoryDisk:
    """A disk of these extents."""
    size = extents[-1].offset + extents[-1].length if extents else 0
    data = {e.offset: pattern(size)[e.offset :][: e.length] for e in extents if e.kind == "data"}
    return MemoryDisk(size, data)


def contiguous(parts: Sequence[Any], offset: int, end: int) -> None:
    """That these cover a range one behind the other."""
    for part in parts:
        assert part.offset == offset
        assert part.length > 0
        offset += part.length
    assert offset == max(end, offset if not parts else end)


# --- layouts, and what is read of them


@quick
@given(st.integers(0, 30), st.integers(0, 20), st.integers(0, 12), AT, LENGTH)
def test_a_disk_as_it_is(source: int, more: int, tail: int, offset: int, length: int) -> None:
    layout = LinearLayout(source, source + more, b"t" * tail)
    whole = "s" * source + "z" * more + "t" * tail

    pieces = list(layout.pieces(offset, length))

    assert layout.size == len(whole)
    contiguous(pieces, offset, min(offset + length, len(whole)))
    assert (
        "".join(p.kind[0].replace("l", "t") * p.length for p in pieces)
        == (whole[offset : offset + length])
    )
    assert all(p.source_offset == (p.offset if p.kind == "source" else 0) for p in pieces)
    assert all(p.data == (b"t" * p.length if p.kind == "literal" else b"") for p in pieces)


class Mixed:
    """A layout of these pieces."""

    grid = (0, 4096)

    def __init__(self, parts: Sequence[tuple[str, int, int]]) -> None:
        at, self.all = 0, list[Piece]()
        for kind, length, place in parts:
            data = b"L" * length if kind == "literal" else b""
            found: Any = {"kind": kind, "source_offset": place if kind == "source" else 0}
            self.all.append(Piece(at, length, data=data, **found))
            at += length
        self.size = at

    def pieces(self, offset: int, length: int) -> Iterator[Piece]:
        for piece in self.all:
            low, high = max(offset, piece.offset), min(offset + length, piece.offset + piece.length)
            if low < high:
                skip = low - piece.offset
                place = piece.source_offset + skip if piece.kind == "source" else 0
                data = piece.data[skip : skip + high - low]
                yield Piece(low, high - low, piece.kind, place, data)


class Strict(MemoryDisk):
    """A disk that nobody asks for what lies behind its end."""

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        assert length is None or offset + length <= self.size
        return super().extents(offset, length)


class Anywhere(MemoryDisk):
    """A disk whose bytes lie in its file a thousand further on, but for one now and then."""

    every = 5

    def places(self, offset: int, length: int) -> Iterator[Place]:
        assert 0 <= offset <= offset + length <= self.size
        at, end = offset, offset + length
        while at < end:
            stop = at + 1 if at % self.every == 0 else min(end, at - at % self.every + self.every)
            yield Place(at, stop - at, None if at % self.every == 0 else at + 1000)
            at = stop


class Nearly(Anywhere):
    """Nearly all of it lies there."""

    every = 61


PARTS = st.lists(
    st.tuples(
        st.sampled_from(["literal", "source", "source", "zero"]),
        st.integers(1, 15),
        st.integers(0, 50),
    ),
    max_size=6,
)


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """A few bytes where it is mebibytes otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifact, "WINDOW", 16)
        patch.setattr(artifact, "WINDOWS", 2)
        patch.setattr(artifact, "_ZEROS", memoryview(bytes(4)))
        patch.setattr(comparison, "_STEP", 4)
        patch.setattr(sparse_tar, "BLOCK_SIZE", 8)
        patch.setattr(writing, "PAGE", 8)
        patch.setattr(writing, "SHORT_HOLE", 5)
        patch.setattr(file_writer, "PAGE", 8)
        patch.setattr(file_writer, "DIRECT_LEAST", 16)
        patch.setattr(zero_scan, "BLOCK_SIZE", 8)
        patch.setattr(zero_scan, "PROBE", 2)
        patch.setattr(zero_scan, "STEP", 3)
        patch.setattr(zero_scan, "BATCH", 2)
        yield


@quick
@given(PARTS, RUNS, AT, LENGTH)
def test_what_is_laid_out(
    parts: list[tuple[str, int, int]], runs: list[tuple[int, bool]], offset: int, length: int
) -> None:
    disk, layout = holding(laid(runs)), Mixed(parts)
    inside = disk.read(0, disk.size).ljust(200, b"\0")
    whole = b"".join(
        p.data or (inside[p.source_offset :] if p.kind == "source" else bytes(99))[: p.length]
        for p in layout.all
    )
    wanted, end = whole[offset : offset + length], min(offset + length, len(whole))
    opened = LaidOut(layout, Anywhere(disk.size, disk.data))  # type: ignore[arg-type]

    assert opened.read(offset, length) == wanted
    buffer = bytearray(b"\xee" * length)
    assert opened.read_into(offset, memoryview(buffer)) == len(wanted)
    assert bytes(buffer) == wanted + b"\xee" * (length - len(wanted))
    extents = list(opened.extents(offset, length))
    contiguous(extents, offset, end)
    kinds = "".join(e.kind[0] * e.length for e in extents)
    assert kinds == "".join("d" if byte else "z" for byte in wanted)
    assert all(one.kind != other.kind for one, other in itertools.pairwise(extents))
    assert list(opened.extents(offset)) == list(opened.extents(offset, 10**9))
    places = list(opened.places(offset, length))
    contiguous(places, offset, end)
    assert _spots(places) == [_spot(layout, disk.size, at) for at in range(offset, end)]


def _spots(places: Sequence[Place]) -> list[int | None]:
    return [None if p.at is None else p.at + n for p in places for n in range(p.length)]


def _spot(layout: Mixed, size: int, at: int) -> int | None:
    (piece,) = layout.pieces(at, 1)
    on_disk = piece.source_offset
    if piece.kind != "source" or on_disk >= size or on_disk % 5 == 0:
        return None
    return on_disk + 1000


def test_a_disk_that_does_not_tell_its_places_has_none() -> None:
    opened = LaidOut(Mixed([("source", 9, 0), ("zero", 2, 0)]), MemoryDisk(5, {}))  # type: ignore[arg-type]

    assert list(opened.places(3, 20)) == [Place(3, 6, None), Place(9, 2, None)]


# --- what is stored, against the source


@quick
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), max_size=6),
    st.permutations(range(6)),
    RUNS,
    st.integers(0, 6),
    st.integers(1, 30),
    st.data(),
)
def test_what_is_stored_is_compared_in_any_cuts(
    sizes: list[tuple[int, int]],
    order: list[int],
    runs: list[tuple[int, bool]],
    less: int,
    step: int,
    data: Any,
) -> None:
    """Places of some lengths with gaps between them, in the object in another order than on the disk."""
    spots, at = [], 0
    for length, gap in sizes:
        spots.append((at + gap, length))
        at += gap + length
    size = at + 3
    disk = holding([e for e in laid(runs) if e.offset + e.length <= max(size - less, 0)])
    whole = disk.read(0, disk.size).ljust(size, b"\0")
    places, stored = [], b"head"
    for index in (n for n in order if n < len(spots)):
        on_disk, length = spots[index]
        places.append((len(stored), on_disk, length))
        stored += whole[on_disk : on_disk + length] + b"-"
    seen = DiskComparison(places, size, Strict(disk.size, disk.data))

    assert all(seen.see(n, stored[n : n + step]) is None for n in range(0, len(stored), step))
    covered = {n for on_disk, length in spots for n in range(on_disk, on_disk + length)}
    left = [n for n in range(size) if whole[n] and n not in covered]
    told = seen.missing()
    assert (told is None) is (not left)
    if told:
        at = int(told.split()[4])
        assert told == f"the source's data at {at} of the disk is not in it"
        assert at in left
        assert left[0] <= at + 3
    if places:
        start, on_disk, length = data.draw(st.sampled_from(places))
        within = data.draw(st.integers(0, length - 1))
        changed = bytearray(stored)
        changed[start + within] ^= 0x80
        first = (start + within) // step * step
        low, high = max(start, first), min(start + length, first + step)
        assert seen.see(first, bytes(changed[first : first + step])) == (
            f"between {on_disk + low - start} and {on_disk + high - start} "
            "of the disk it differs from the source"
        )


def test_what_a_large_gap_holds_is_told_to_a_few_bytes() -> None:
    disk = MemoryDisk(40, {21: b"x"}, allocated=True)

    told = DiskComparison([(0, 0, 9)], 40, disk).missing()

    assert told == "the source's data at 21 of the disk is not in it"
    assert (9, 4) not in disk.asked


# --- how it is cut, written and scanned


@quick
@given(st.integers(0, 60), st.integers(0, 20), st.integers(1, 20))
def test_ranges(size: int, first: int, step: int) -> None:
    found = list(writing.ranges(size, first, step))

    assert [n for at, length in found for n in range(at, at + length)] == list(range(size))
    starts = [0, *range(first, size, step)] if first <= step else None
    if starts:
        assert [at for at, _ in found] == sorted({n for n in starts if n < size})


@quick
@given(RUNS)
def test_short_holes_are_written_with_what_is_around_them(runs: list[tuple[int, bool]]) -> None:
    extents = laid(runs)
    bits = "".join(("#" if data else ".") * length for length, data in runs).strip(".")
    first = next((e.offset for e in extents if e.kind == "data"), 0)
    wanted, at = [], first
    for part in _split(bits, 5):
        if part.startswith("#"):
            wanted.append((at, len(part)))
        at += len(part)

    assert list(writing.data_runs(extents)) == wanted


def _split(bits: str, least: int) -> Iterator[str]:
    """Runs of data with the holes shorter than ``least`` in them, and the other holes."""
    yield from re.findall(rf"#(?:#|\.{{1,{least - 1}}}(?=#))*|\.+", bits)


@quick
@given(st.integers(0, 5), st.integers(0, 40), st.integers(1, 40))
def test_whole_pages(page: int, start: int, count: int) -> None:
    offset, length = page * 8, start + count + 3
    run = (offset + start, count)

    ((at, size),) = writing.whole_pages([run], offset, length)

    assert at == run[0] // 8 * 8
    assert at + size == min(offset + length, -(-(run[0] + count) // 8) * 8)


@quick
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=8))
def test_places_that_lie_nowhere_are_joined(parts: list[tuple[int, bool]]) -> None:
    at, places = 0, []
    for length, somewhere in parts:
        places.append(Place(at, length, at + 100 if somewhere else None))
        at += length

    found = list(writing.joined(places))

    assert _spots(found) == _spots(places)
    assert [p for p in found if p.at is not None] == [p for p in places if p.at is not None]
    assert all(a.at is not None or b.at is not None for a, b in itertools.pairwise(found))


class Moving:
    """A mover that notes what it is asked for, and brings at most so many bytes at once."""

    reads_nothing = False

    def __init__(self, most: int) -> None:
        self.most, self.asked = most, list[tuple[int, int, int]]()

    def move(self, at: int, offset: int, length: int) -> int:
        assert not (at | offset | length) % 8
        self.asked.append((at, offset, length))
        return min(length, self.most)

    def close(self) -> None: ...


@quick
@given(st.integers(0, 40), st.integers(1, 60), st.integers(0, 40), st.sampled_from([0, 8, 16, 80]))
def test_what_can_be_moved(offset: int, length: int, at: int, most: int) -> None:
    mover, end = Moving(most), offset + length
    writer = FileWriter.__new__(FileWriter)
    writer._movers, writer._refused = [mover], set()
    low, high = -(-offset // 8) * 8, end // 8 * 8

    done = writer.move(Place(offset, length, at), read_already=False)

    if (at - offset) % 8 or high - low < 16 or most == 0:
        assert done == (end, end)
        return
    assert done == (low, high)
    assert mover.asked[0] == (low + at - offset, low, high - low)
    assert sum(min(n, most) for _, _, n in mover.asked) == high - low
    assert writer.move(Place(offset, length, at), read_already=True) == (end, end)


@quick
@given(
    st.integers(0, 40),
    st.integers(0, 60),
    st.sampled_from([None, 8, 100]),
    st.sampled_from([99, 3, 8, 13, 30]),
)
def test_what_goes_past_the_page_cache(
    offset: int, length: int, run: int | None, most: int
) -> None:
    """``most``: bytes that a system call takes."""
    asked: list[tuple[int, int, int]] = []
    data, out = pattern(length), bytearray(offset + length)

    def pwrite(handle: int, part: Any, at: int) -> int:
        asked.append((handle, at, len(part)))
        count = min(most, len(part))
        out[at : at + count] = part[:count]
        return count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        writer = FileWriter.__new__(FileWriter)
        writer._handle, writer._direct = 1, 2

        writer.write(memoryview(data), offset, run=run)

    assert bytes(out) == bytes(offset) + data
    low, pages = -(-offset // 8) * 8, (offset + length) // 8 - -(-offset // 8)
    past = [(at, count) for handle, at, count in asked if handle == 2]
    if pages < 1 or (run or pages * 8) < 16:
        assert past == []
        return
    assert past[0] == (low, pages * 8)
    assert all(not at % 8 and not count % 8 for at, count in past)
    assert writer._direct == 2


class Copying:
    """A mover between two pieces of memory; the file begins a thousand before the disk."""

    reads_nothing = False

    def __init__(self, disk: MemoryDisk, out: bytearray, at: list[int]) -> None:
        self.disk, self.out, self.at = disk, out, at

    def move(self, at: int, offset: int, length: int) -> int:
        count = min(length, 24)
        self.out[offset : offset + count] = self.disk.read(at - 1000, count)
        self.at.extend(range(offset, offset + count))
        return count

    def close(self) -> None: ...


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["literal", "source", "source", "zero"]),
            st.integers(1, 70),
            st.integers(0, 9).map(lambda n: 8 * n),
        ),
        max_size=5,
    ),
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=6),
    st.sampled_from([0, 8, 24]),
    st.sampled_from([8, 40, 64]),
    st.booleans(),
)
def test_everything_is_written(
    parts: list[tuple[str, int, int]],
    runs: list[tuple[int, bool]],
    first: int,
    step: int,
    checksum: bool,
) -> None:
    disk = holding(laid(runs))
    opened = LaidOut(Mixed(parts), Nearly(disk.size, disk.data))  # type: ignore[arg-type]
    opened.grid = (first, step)
    whole, out, told = opened.read(0, opened.size), bytearray(opened.size), list[Any]()
    brought: list[int] = []

    def pwrite(_handle: int, data: Any, at: int) -> int:
        out[at : at + len(data)] = data
        brought.extend(range(at, at + len(data)))
        return len(data)

    writer = FileWriter.__new__(FileWriter)
    writer._handle, writer._direct = 1, 2
    writer._movers, writer._refused = [Copying(disk, out, brought)], set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        patch.setattr(writing, "SHORT_HOLE", 16)  # no two runs in one page, as it is otherwise
        work = writing._Work(opened, writer, hashlib.sha256() if checksum else None)
        work.run(2, Cancellation(), lambda *at: told.append(at))

    assert bytes(out) == whole
    assert len(brought) == len(set(brought))  # none of them twice
    assert work.digest == (hashlib.sha256(whole).hexdigest() if checksum else None)
    assert told[-1] == (len(whole), len(whole))


@quick
@given(RUNS)
def test_the_blocks_that_data_touches(runs: list[tuple[int, bool]]) -> None:
    extents = laid(runs)
    held = {n for e in extents if e.kind == "data" for n in range(e.offset, e.offset + e.length)}

    blocks = list(zero_scan.blocks_with_data(extents))

    assert [b.number for b in blocks] == sorted({n // 8 for n in held})
    for block in blocks:
        bytes_ = [n for at, length in block.data for n in range(at, at + length)]
        assert bytes_ == sorted(n for n in held if n // 8 == block.number)


@quick
@given(RUNS, st.sets(st.integers(0, 72)), st.integers(1, 3))
def test_the_blocks_that_are_not_zeros(
    runs: list[tuple[int, bool]], ones: set[int], threads: int
) -> None:
    extents = laid(runs)
    size = sum(length for length, _ in runs)
    disk = MemoryDisk(size, {n: b"x" for n in ones if n < size})
    held = {n for e in extents if e.kind == "data" for n in range(e.offset, e.offset + e.length)}
    told: list[tuple[int, int]] = []

    found = zero_scan.nonzero_blocks(
        disk,
        zero_scan.blocks_with_data(extents),
        threads,
        Cancellation(),
        lambda *at: told.append(at),
    )

    assert list(found) == sorted({n // 8 for n in held & ones})
    assert {at for at, _ in disk.asked} <= held
    if held:
        assert told[-1] == (max(held) // 8 * 8 + 8, size)


# --- the tar

INSIDE = st.integers(500, 600) | st.integers(0, 1200)


@quick
@given(st.sets(st.integers(0, 8)), st.integers(1, 72), INSIDE, st.integers(0, 900))
def test_a_tar_of_any_blocks(blocks: set[int], size: int, offset: int, length: int) -> None:
    inside = sorted(n for n in blocks if n * 8 < size)
    member = MemoryDisk(size, {n * 8: pattern(99)[n * 8 :][: min(8, size - n * 8)] for n in inside})

    runs = list(sparse_tar.runs(inside, size))
    tar = sparse_tar.SparseTar(member, runs)  # type: ignore[arg-type]

    assert [n for at, count in runs for n in range(at, at + count)] == [
        n for n in range(size) if n // 8 in blocks
    ]
    assert all(a + n < b for (a, n), (b, _) in itertools.pairwise(runs))
    whole = tar.read(0, tar.size)
    assert len(whole) == tar.size == tarfile.RECORDSIZE
    assert tar.read(offset, length) == whole[offset : offset + length]
    assert tar.read(tar.size - offset, length) == whole[tar.size - offset :][:length]
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        (only,) = archive.getmembers()
        file = archive.extractfile(only)
        assert file is not None
        assert file.read() == member.read(0, size)
