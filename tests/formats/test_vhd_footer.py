"""The footer of a VHD whose disk ends inside a sector: which one counts, and where each field is told."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import handmade
import pytest
from edges_vhd import small
from handmade import MIB, Memory

from pipeline.formats import vhd_bytes
from pipeline.formats.base import Problem
from pipeline.formats.vhd import Vhd
from pipeline.formats.vhd_bytes import Footer
from pipeline.text import counted

SIZE = 1023  # of a disk: the ten lowest bits of the footer's place are set


def footer(size: int = SIZE, **changes: Any) -> bytes:
    made = Footer.unpack(handmade.vhd_footer(size))
    return dataclasses.replace(made, **{"creator": b"tap\0"} | changes).pack()


def fixed(size: int = SIZE, **changes: Any) -> bytes:
    return bytes(size) + footer(size, **changes)


def problems(data: bytes) -> list[Problem]:
    return [*Vhd().inspect(Memory(data)).problems]


def by_rule(data: bytes, rule: str) -> list[Problem]:
    return [item for item in problems(data) if item.rule == rule]


def test_a_sound_one() -> None:
    found = Vhd().inspect(
        Memory(fixed(creator_version=0x00050107, creator_os=0x5769326B, features=3, saved_state=1,
                     hidden=2, original_size=4096, timestamp=86400, uuid=bytes(15) + b"\x09"))
    )  # fmt: skip

    assert found.problems == ()
    assert (found.variant, found.virtual_size, found.creator) == ("fixed", SIZE, "tap")
    assert found.uuid == str(uuid.UUID(int=9))
    assert found.details == {
        "disk_type": 2,
        "current_size": SIZE,
        "original_size": 4096,
        "size_by_chs": 60 * 4 * 17 * 512,
        "geometry": [60, 4, 17],
        "geometry_fits": False,
        "creator_code": "74617000",
        "creator_version": "5.263",
        "creator_os": "Wi2k",
        "timestamp": "2000-01-02T00:00:00Z",
        "timestamp_unix": 946684800 + 86400,
        "features": 3,
        "saved_state": 1,
        "hidden": 2,
        "footer_size": 512,
        "footer_copy": False,
    }


@pytest.mark.parametrize(
    ("changes", "rule", "detail", "at", "length"),
    [
        ({"version": 0x00030107}, "vhd-version", "file format version 3.263", 12, 4),
        ({"features": 6}, "vhd-reserved-fields", "features are 0x00000006", 8, 4),
        ({"features": 0}, "vhd-reserved-fields", "features are 0x00000000", 8, 4),
        ({"data_offset": 0x1FF}, "vhd-reserved-fields",
         "the data offset of a fixed disk is 0x1ff", 16, 8),
        ({"reserved": bytes(425) + b"\1"}, "vhd-reserved-fields",
         "reserved bytes are not zero", 86, 426),
        ({"creator": b"vpc "}, "container-disagreement",
         ("the disk's size: imgprep reads 1023 bytes, qemu-img reads 2088960, which is the geometry "
         "60/4/17, because the VHD's creator is 'vpc'"), 48, 12),
        ({"creator": b"vbox"}, "vhd-size-ambiguous",
         "1023 bytes, and the geometry 60/4/17, which makes 2088960 bytes", 48, 12),
    ],
)  # fmt: skip
def test_where_a_field_is_told(
    changes: dict[str, Any], rule: str, detail: str, at: int, length: int
) -> None:
    assert problems(fixed(**changes)) == [Problem(rule, detail, SIZE + at, length)]


def test_a_disk_below_one_sector_is_none() -> None:
    assert problems(fixed(511)) == [Problem("empty-image", "the disk's size is 511", 511 + 48, 8)]
    assert problems(fixed(512)) == []


def test_a_checksum_is_told_with_the_right_one() -> None:
    right = int.from_bytes(footer()[64:68], "big")
    data = bytes(SIZE) + handmade.patched(footer(), 64, handmade.be32(right ^ 0x10))

    assert problems(data) == [
        Problem(
            "vhd-footer",
            f"the checksum is 0x{right ^ 0x10:08x}, the bytes give 0x{right:08x}",
            SIZE,
            512,
        )
    ]


@pytest.mark.parametrize("size", [1023, 1024, 1025, 1535])
def test_a_footer_of_511_bytes_is_one_wherever_it_begins(size: int) -> None:
    assert problems(fixed(size)[:-1]) == [
        Problem("vhd-short-footer", f"the file has {size + 511} bytes", size, 511)
    ]


@pytest.mark.parametrize("held", [86, 87, 255, 510])
def test_a_footer_that_is_cut_counts_as_far_as_its_fields_are_there(held: int) -> None:
    data = fixed(1024)[: 1024 + held]

    assert by_rule(data, "vhd-truncated") == [
        Problem(
            "vhd-truncated",
            f"the file ends after {held} of its footer's 512 bytes",
            1024 + held,
            512 - held,
        )
    ]
    assert Vhd().inspect(Memory(data)).details["footer_size"] == held


def test_a_footer_that_is_cut_inside_its_fields_is_none() -> None:
    data = b"\0" * 1024 + footer(1024)[:85]

    assert problems(data) == [Problem("vhd-footer", "there is no footer", 1024 + 85 - 512)]


@pytest.mark.parametrize("size", [0, 100, 511, 512, 513])
def test_a_short_file_has_no_footer(size: int) -> None:
    assert problems(bytes(size)) == [
        Problem("vhd-footer", "there is no footer", max(0, size - 512))
    ]


@pytest.mark.parametrize("behind", [512, 1024, 4096, MIB])
def test_bytes_behind_the_footer_are_counted(behind: int) -> None:
    data = fixed(1536) + bytes(behind)

    assert problems(data) == [
        Problem(
            "vhd-trailing-bytes",
            "the last 512 bytes are no footer; one was found "
            f"{counted(behind, 'byte')} before the end, at 1536",
            2048,
            behind,
        )
    ]


@pytest.mark.parametrize(
    ("room", "problem"),
    [
        (1022, Problem("vhd-truncated", "a fixed disk of 1023 bytes, and 1022 are there", 0, 1022)),
        (1023, None),
        (1024, Problem("vhd-trailing-bytes",
                       "1 byte lies between the disk's 1023 and the footer", 1023, 1)),
        (1031, Problem("vhd-trailing-bytes",
                       "8 bytes lie between the disk's 1023 and the footer", 1023, 8)),
    ],
)  # fmt: skip
def test_a_fixed_disk_fills_the_file(room: int, problem: Problem | None) -> None:
    assert problems(bytes(room) + footer()) == ([] if problem is None else [problem])


def test_a_fixed_disk_without_its_footer_goes_by_the_file() -> None:
    # given a copy in front, as no fixed disk has one, and nothing behind
    data = footer(4096) + bytes(3000)

    assert problems(data) == [
        Problem("vhd-footer", "there is no footer", 3000),
        Problem("vhd-truncated", "a fixed disk of 4096 bytes, and 3512 are there", 0, 3512),
    ]


# --- which one counts ------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [512, 3584, 3585, 8192, MIB, MIB + 1024, MIB + 1536])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("size", [4096, 4608])
def test_a_lost_end(padding: int, named: bool, size: int) -> None:
    # given a footer that says where its disk ends, or something else
    data = bytes(4096) + footer(size) + bytes(padding)

    near = padding <= MIB + 512
    assert Vhd().lost_end(Memory(data), named=named) is (near and (named or size == 4096))
    assert Vhd().matches(Memory(data)) is (padding + 512 <= 4096)


def test_a_dynamic_disk_s_footer_is_no_end_of_a_file_without_its_start() -> None:
    data = bytes(8192) + footer(8192, disk_type=3) + bytes(512)

    assert not Vhd().lost_end(Memory(data), named=False)
    assert Vhd().lost_end(Memory(data), named=True)


def test_a_footer_that_does_not_sum_up_is_not_looked_for() -> None:
    data = bytes(4096) + handmade.patched(footer(4096), 70, b"!") + bytes(1024)

    assert not Vhd().matches(Memory(data))
    assert Vhd().matches(Memory(data[:-1024]))


def test_a_footer_at_the_file_s_start_is_a_copy_and_no_end() -> None:
    data = footer(4096, disk_type=3, data_offset=512) + bytes(1024)

    assert not Vhd().inspect(Memory(data)).details["footer_size"]


def test_a_file_that_is_a_footer_alone_has_no_copy() -> None:
    found = Vhd().inspect(Memory(footer(0)))

    assert (found.details["footer_size"], found.details["footer_copy"]) == (512, False)


@pytest.mark.parametrize("broken", [(), (0,), (-512,), (0, -512)])
def test_the_sound_one_of_two_counts_and_else_the_last(broken: tuple[int, ...]) -> None:
    # given two footers that disagree, with sums that hold or do not
    whole = bytearray(small())
    both = {
        at: bytearray(footer(6 * 4096, disk_type=3, data_offset=512, original_size=size))
        for at, size in ((0, 0x1111), (-512, 0x2222))
    }
    for at, made in both.items():
        made[67] ^= at in broken
        whole[at : at + 512 or None] = made

    found = Vhd().inspect(Memory(bytes(whole)))

    assert found.details["original_size"] == (0x1111 if broken == (-512,) else 0x2222)
    rules = [item.rule for item in found.problems]
    assert ("vhd-footer-copy" in rules, "vhd-footer" in rules) == (0 in broken, -512 in broken)
    assert rules.count("vhd-footers-differ") == 1


def test_two_footers_that_differ_are_told_by_their_first_field() -> None:
    whole = small()
    changed = vhd_bytes.Footer.unpack(whole[:512])
    other = dataclasses.replace(changed, timestamp=7, creator_os=8).pack()

    (problem,) = problems(other + whole[512:])

    assert problem == Problem(
        "vhd-footers-differ", "timestamp is 7 in the copy and 700000000 in the footer", 0, 512
    )


@pytest.mark.parametrize(
    ("field", "length", "at", "words"),
    [
        ("creator", 4, 3, "creator is 00000007 in the copy and 74617000 in the footer"),
        ("uuid", 16, 14, f"uuid is {'0' * 28}0700 in the copy and {'0' * 31}5 in the footer"),
        ("reserved", 426, 300, ("reserved from its byte 300 on is "
         f"07{'00' * 15} in the copy and {'00' * 16} in the footer")),
        ("reserved", 426, 425, "reserved from its byte 425 on is 07 in the copy and 00 in the footer"),
    ],
)  # fmt: skip
def test_a_field_is_shown_where_it_differs(field: str, length: int, at: int, words: str) -> None:
    whole, value = small(), bytes(at) + b"\7" + bytes(length - at - 1)
    other = dataclasses.replace(vhd_bytes.Footer.unpack(whole[:512]), **{field: value}).pack()

    told = by_rule(other + whole[512:], "vhd-footers-differ")

    assert told == [Problem("vhd-footers-differ", words, 0, 512)]


def test_checksums_that_differ_alone_are_told() -> None:
    told = by_rule(handmade.patched(small(), 64, bytes(4)), "vhd-footers-differ")

    assert told[0].detail.startswith("checksum is 0 in the copy and 4294")


@pytest.mark.parametrize(
    ("cylinders", "heads", "sectors", "fits"),
    [
        (60, 4, 17, True),
        (60, 4, 18, False),
        (60, 5, 17, False),
        (60, 5, 0, False),
        (61, 4, 17, False),
        (61, 0, 0, False),
        (59, 16, 255, True),
        (60, 3, 255, True),
    ],
)
def test_a_geometry_fits_when_it_comes_before_the_size_s_own(
    cylinders: int, heads: int, sectors: int, fits: bool
) -> None:
    shape = {"cylinders": cylinders, "heads": heads, "sectors": sectors}
    found = Vhd().inspect(Memory(fixed(60 * 4 * 17 * 512, **shape)))

    assert found.details["geometry_fits"] is fits


def test_the_geometry_of_the_largest_disk_says_nothing() -> None:
    shape = {"cylinders": 65535, "heads": 16, "sectors": 255, "creator": b"vbox"}

    assert problems(fixed(**shape)) == []
    for other in ({"cylinders": 65534}, {"heads": 17}):
        assert by_rule(fixed(**shape | other), "vhd-size-ambiguous")
