"""A stream's footer: what it must agree about with the header, and where it may stand."""

from __future__ import annotations

import pytest
from handmade import MIB, Memory
from test_vmdk_header import look
from vmdk_files import AT_END, FILE, MARKS, STREAM, TEXT, made, stream

from pipeline.formats.base import Problem


def test_a_sound_stream() -> None:
    found = look(stream())

    assert (found.problems, found.variant) == ((), "monolithicSparse")
    assert (found.details["version"], found.details["compressed"]) == (3, True)


def test_a_stream_s_directory_alone_makes_it_one() -> None:
    whole = made(**STREAM | {"flags": 1 << 16 | 1}, text=TEXT.replace(b"createType", b"x"))

    assert look(whole).variant == "streamOptimized"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("flags", MARKS & ~1),
        ("capacity", 78),
        ("capacity", 76),
        ("grain", 16),
        ("entries", 4),
        ("entries", 6),
        ("compression", 0),
        ("descriptor_offset", 2),
        ("descriptor_offset", 4),
        ("descriptor_size", 4),
        ("descriptor_size", 6),
    ],
)
def test_a_footer_that_says_otherwise(field: str, value: int) -> None:
    name = {"entries": "table_entries"}.get(field, field)
    detail = f"header and footer disagree about {name}"

    assert look(stream({field: value})).problems == (Problem("corrupt-header", detail, FILE, 512),)


def test_a_footer_may_say_where_the_descriptor_is() -> None:
    same = {"descriptor_offset": 3, "descriptor_size": 5}

    assert look(stream(same)).problems == ()
    detail = "header and footer disagree about version, grain, descriptor_size"
    changed = same | {"version": 2, "grain": 16, "descriptor_size": 6}
    assert look(stream(changed)).problems[0].detail == detail


@pytest.mark.parametrize("behind", [1, 512, 1000, MIB])
def test_a_footer_with_something_behind_it(behind: int) -> None:
    words = "1 byte" if behind == 1 else f"{behind} bytes"
    detail = f"its footer, looked for at the end, has {words} behind it"

    assert look(stream(behind=behind)).problems == (Problem("corrupt-header", detail, FILE, 512),)


@pytest.mark.parametrize(
    "footer", [{"capacity": 76}, {"capacity": 78}, {"directory": AT_END}], ids=str
)
def test_another_disk_s_header_near_the_end_is_no_footer(footer: dict[str, int]) -> None:
    size = FILE + 1024 + 512
    detail = "the footer with the directory's place is missing at the end"

    assert look(stream(footer, behind=512)).problems == (Problem("truncated", detail, size, 0),)


@pytest.mark.parametrize("lost", [1, 511, 512, 513, 1023, 1024])
def test_a_footer_that_is_cut(lost: int) -> None:
    whole = stream()
    cut = Memory(whole.read(0, whole.size - lost))

    (problem,) = look(cut).problems

    assert (problem.rule, problem.offset, problem.length) == ("truncated", whole.size - lost, 0)
