"""What all formats check alike: places, overlaps, samples; exact values."""

from __future__ import annotations

import pytest

from pipeline.formats import tables
from pipeline.formats.base import Problem
from pipeline.formats.tables import Region

MIB = 1 << 20


def test_integers_of_either_order() -> None:
    assert list(tables.integers(b"\0\0\0\1\0\0\2\0\xff", "I", "big")) == [1, 512]
    assert list(tables.integers(b"\1\0\0\0\0\2\0\0", "I", "little")) == [1, 512]
    assert list(tables.integers(bytes(7) + b"\3" + bytes(7), "Q", "big")) == [3]


@pytest.mark.parametrize("last", [1, 0x78, 0x80, 0xFF])
@pytest.mark.parametrize("length", [0, 1, 2, 31, 64, 4095, 4096, 4097, 70_000])
def test_the_length_without_the_zeros_at_the_end(length: int, last: int) -> None:
    for held in (bytes([last]) * length, bytes(length - 1) + bytes([last]) if length else b""):
        for zeros in (0, 1, 63, 4096):
            assert tables.used_length(held + bytes(zeros)) == length


def test_how_far_an_image_may_reach() -> None:
    assert tables.plausible(64 * MIB + 20, 10)
    assert not tables.plausible(64 * MIB + 21, 10)


def test_a_region_outside_of_the_file() -> None:
    region = Region("the table", 90, 20, (7, 8))

    assert list(tables.outside(region, 110, 0)) == []
    (cut,) = tables.outside(region, 109, 0)
    assert (cut.rule, cut.offset, cut.length) == ("truncated", 109, 1)
    assert cut.detail == "the file has 109 bytes; its tables need 110 bytes (1 byte missing)"
    (wild,) = tables.outside(Region("it", 1 << 40, 5, (7, 8)), 109, 0, wild="odd")
    assert wild == Problem(
        "odd", "it is at 1099511627776 to 1099511627781, the file has 109 bytes", 7, 8
    )
    (untold,) = tables.outside(Region("it", 1 << 40, 5), 109, 0)
    assert (untold.rule, untold.offset, untold.length) == ("corrupt-header", 1 << 40, 5)


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ([(0, 10), (10, 5), (15, 1)], []),
        ([(0, 10), (9, 5)], [("b", "a", 9, 1)]),
        ([(9, 5), (0, 10)], [("a", "b", 9, 1)]),
        ([(0, 10), (3, 2), (9, 5)], [("b", "a", 3, 2), ("c", "a", 9, 1)]),
        ([(0, 10), (5, 0), (5, 20), (20, 9)], [("c", "a", 5, 5), ("d", "c", 20, 5)]),
        ([(0, 4), (0, 9)], [("b", "a", 0, 4)]),
        ([(0, 10), (3, 7), (9, 5)], [("b", "a", 3, 7), ("c", "a", 9, 1)]),
    ],
)
def test_regions_over_one_another(
    places: list[tuple[int, int]], told: list[tuple[str, str, int, int]]
) -> None:
    regions = [Region(name, *place) for name, place in zip("abcd", places, strict=False)]

    assert list(tables.overlaps(regions, rule="r")) == [
        Problem("r", f"{inner} at {at} lies inside {outer}", at, length)
        for inner, outer, at, length in told
    ]


def test_a_value_that_occurs_twice() -> None:
    assert tables.repeated([]) is None
    assert tables.repeated([3, 1, 2]) is None
    assert tables.repeated([3, 1, 2, 1, 3]) == 1


def test_a_sample_is_the_ends() -> None:
    assert tables.sample(4, 4) == (0, 1, 2, 3)
    assert tables.sample(5, 4) == (0, 1, 3, 4)
    assert tables.sample(10, 3) == (0, 8, 9)
    assert tables.sample(0, 3) == ()


@pytest.mark.parametrize(
    ("starts", "offset", "length", "held"),
    [
        ([0], 0, 10, True),
        ([0], 0, 11, False),
        ([0], 9, 1, True),
        ([0], 10, 1, False),
        ([5], 4, 2, False),
        ([5], 5, 1, True),
        ([20, 10], 12, 18, True),
        ([20, 10], 12, 19, False),
        ([21, 10], 12, 18, False),
        ([10, 10, 20], 12, 18, True),
        ([30, 10], 15, 5, True),
        ([7, 13], 8, 15, True),
        ([7, 13], 8, 16, False),
        ([0, 3, 20], 12, 1, True),
        ([0, 3, 20], 13, 7, False),
        ([0, 3, 20], 13, 8, False),
        ([], 0, 1, False),
    ],
)
def test_pieces_that_hold_a_range(starts: list[int], offset: int, length: int, held: bool) -> None:
    assert tables.covered(starts, 10, offset, length) is held
