"""Runs of clear bits, counted by looking at every bit."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.content.free_space.base import KeptError, Occupied, clipped, merged
from pipeline.content.free_space.bitmaps import all_set, clear_runs, count_clear

BITMAPS = st.lists(st.sampled_from([b"\0", b"\xff", b"\x0f", b"\x81", b"\x5a"]), max_size=12).map(
    b"".join
)


def by_hand(bitmap: bytes, first: int, last: int) -> list[tuple[int, int]]:
    found = []
    for bit in range(first, last):
        if not bitmap[bit // 8] >> bit % 8 & 1:
            if found and found[-1][1] == bit:
                found[-1] = (found[-1][0], bit + 1)
            else:
                found.append((bit, bit + 1))
    return found


@given(bitmap=BITMAPS, data=st.data())
def test_runs_are_what_every_bit_says(bitmap, data):
    first = data.draw(st.integers(0, 8 * len(bitmap)))
    last = data.draw(st.integers(first, 8 * len(bitmap)))

    runs = by_hand(bitmap, first, last)

    assert list(clear_runs(bitmap, first, last)) == runs
    assert count_clear(bitmap, first, last) == (sum(b - a for a, b in runs), len(runs))
    assert all_set(bitmap, first, last) == (not runs)


class Watched(bytes):
    """A bitmap that knows which of its bytes were looked at."""

    def __getitem__(self, key):
        self.seen = [*getattr(self, "seen", []), key]
        return super().__getitem__(key)


@pytest.mark.parametrize(
    ("first", "last", "low", "high"),
    [
        (0, 1, 0, 1),
        (7, 8, 0, 1),
        (7, 9, 0, 2),
        (8, 16, 1, 2),
        (2500, 2600, 312, 325),
        (2407, 2409, 300, 302),
    ],
)
def test_of_a_large_bitmap_only_the_range_is_looked_at(first, last, low, high):
    bitmap = Watched(bytes(400))

    assert list(clear_runs(bitmap, first, last)) == [(first, last)]
    assert count_clear(bitmap, first, last) == (last - first, 1)
    assert not all_set(bitmap, first, last)
    assert bitmap.seen == [slice(low, high)] * 3


def test_runs_far_behind_and_none_in_no_range():
    bitmap = b"\xff" * 5000 + b"\xf0\x00\x00\x0e" + b"\xff" * 9

    assert list(clear_runs(bitmap, 0, 8 * len(bitmap))) == [
        (40_000, 40_004),
        (40_008, 40_025),
        (40_028, 40_032),
    ]
    assert list(clear_runs(bitmap, 40_010, 40_010)) == []
    assert count_clear(bitmap, 40_010, 40_010) == count_clear(bitmap, 40_010, 40_000) == (0, 0)
    assert all_set(bitmap, 40_004, 40_008)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=9))
def test_merged_and_clipped_spans_hold_the_same_bytes(pieces):
    at, spans = 0, []
    for gap, length in pieces:
        spans.append((at + gap, at + gap + length))
        at += gap + length

    together = list(merged(clipped(spans, 5, 90)))

    wanted = {byte for low, high in spans for byte in range(low, high) if 5 <= byte < 90}
    assert {byte for low, high in together for byte in range(low, high)} == wanted
    assert all(left[1] < right[0] for left, right in itertools.pairwise(together))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 4)), max_size=20))
def test_an_overlap_of_metadata_is_seen_wherever_it_is(places):
    occupied = Occupied()
    for first, count in places:
        occupied.add(first, count)
    blocks = [block for first, count in places for block in range(first, first + count)]

    try:
        found = occupied.places()
    except KeptError:
        assert len(set(blocks)) < len(blocks)
        return

    assert len(set(blocks)) == len(blocks)
    assert sum(end - first for first, end in found) == len(blocks)
