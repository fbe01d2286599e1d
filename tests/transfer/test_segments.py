"""A segment's bytes: the artifact's, in small pieces, holes from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patterns import MIB, Pattern

from pipeline.errors import ConversionFailed
from pipeline.source import Extent
from pipeline.transfer.protocol import PIECE_SIZE
from pipeline.transfer.segments import KEEP_SIZE, SegmentPayload, ZeroMap

RUNS = st.lists(st.tuples(st.integers(1, 300_000), st.booleans()), min_size=1, max_size=12)


def extents(runs: list[tuple[int, bool]]) -> Iterator[Extent]:
    at = 0
    for length, zero in runs:
        yield Extent(at, length, "zero" if zero else "data")
        at += length


class Runs:
    """Zeros where the runs say so; it counts what is read."""

    def __init__(self, runs: list[tuple[int, bool]]) -> None:
        self.data = b"".join(bytes(n) if zero else b"\xa5" * n for n, zero in runs)
        self.size = len(self.data)
        self.asked = 0

    def read(self, offset: int, length: int) -> bytes:
        self.asked += length
        return self.data[offset : offset + length]


@given(RUNS, st.data())
def test_any_range_is_the_artifact_s(runs: list[tuple[int, bool]], data: st.DataObject):
    source = Runs(runs)
    offset = data.draw(st.integers(0, source.size - 1))
    size = data.draw(st.integers(1, source.size - offset))
    body = SegmentPayload(source, ZeroMap(extents(runs)), number=0, offset=offset, size=size)

    made = list(body.pieces())

    assert b"".join(made) == source.data[offset : offset + size]
    assert max(map(len, made)) <= PIECE_SIZE
    assert body.md5 == hashlib.md5(source.data[offset : offset + size]).hexdigest()


def test_a_hole_costs_no_read():
    runs = [(3 * MIB, False), (40 * MIB, True), (5, False)]
    source = Runs(runs)
    body = SegmentPayload(source, ZeroMap(extents(runs)), number=0, offset=0, size=source.size)

    assert sum(map(len, body.pieces())) == source.size
    assert source.asked == 3 * MIB + 5


def test_a_digest_before_sending_reads_once_what_fits_the_memory():
    pattern = Pattern(KEEP_SIZE, holes=False)
    body = SegmentPayload(pattern, ZeroMap([]), number=0, offset=0, size=pattern.size)

    md5 = body.digest()

    assert b"".join(body.pieces()) == pattern.all()
    assert md5 == body.md5 == hashlib.md5(pattern.all()).hexdigest()
    assert pattern.reads == pattern.size


def test_a_larger_one_keeps_no_more_than_that():
    pattern = Pattern(KEEP_SIZE + 5 * MIB, holes=False)
    body = SegmentPayload(pattern, ZeroMap([]), number=0, offset=0, size=pattern.size)

    body.digest()

    assert b"".join(body.pieces()) == pattern.all()
    assert pattern.reads == pattern.size + 5 * MIB


def test_an_artifact_that_ends_early_is_no_segment():
    body = SegmentPayload(Pattern(MIB), ZeroMap([]), number=0, offset=0, size=2 * MIB)

    with pytest.raises(ConversionFailed) as caught:
        list(body.pieces())

    assert caught.value.code == "artifact-short"
    assert body.md5 is None
