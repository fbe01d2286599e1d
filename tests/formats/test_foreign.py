"""Formats that are known by name: where their marks stand, and their sizes."""

from __future__ import annotations

from typing import Literal

import pytest
from handmade import Memory, patched

from pipeline import formats
from pipeline.formats.foreign import ROWS, ForeignFormat

PATTERN = bytes(range(1, 251)) * 20  # of 5000 bytes


@pytest.mark.parametrize(
    ("name", "at", "magic", "field", "order", "unit"),
    [
        ("qcow", 0, b"QFI\xfb\0\0\0\1", 24, "big", 1),
        ("qed", 0, b"QED\0", 48, "little", 1),
        ("parallels", 0, b"WithoutFreeSpace", 36, "little", 512),
        ("parallels", 0, b"WithouFreSpacExt", 36, "little", 512),
        ("dmg", 4488, b"koly\0\0\0\4", 4488 + 492, "big", 512),
        ("bochs", 0, b"Bochs Virtual HD Image", None, "little", 1),
        ("wim", 0, b"MSWIM\0\0\0", None, "little", 1),
        ("nrg", 4988, b"NER5", None, "little", 1),
    ],
)
def test_a_size_is_read_where_its_field_is(
    name: str,
    at: int,
    magic: bytes,
    field: int | None,
    order: Literal["big", "little"],
    unit: int,
) -> None:
    image = patched(PATTERN, at, magic)
    expected = field and int.from_bytes(image[field : field + 8], order) * unit

    found = formats.identify(Memory(image)).container

    assert (found.format, found.virtual_size) == (name, expected)
    assert [(item.rule, item.offset, item.length) for item in found.problems] == [
        ("unsupported-format", at, len(magic))
    ]
    zero = patched(image, field, bytes(8)) if field else image
    assert formats.identify(Memory(zero)).container.virtual_size is None


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_a_mark_stands_at_its_place_and_nowhere_else(number: int) -> None:
    row = ROWS[number]
    at = row.offset if row.offset >= 0 else len(PATTERN) + row.offset

    for by, name in ((0, row.name), (1, None)):
        if at + by + len(row.magic) <= len(PATTERN):
            image = patched(PATTERN, at + by, row.magic)
            assert ForeignFormat().signature(Memory(image)) == name
    changed = patched(patched(PATTERN, at, row.magic), at + len(row.magic) - 1, b"\x99")
    assert ForeignFormat().signature(Memory(changed)) is None


@pytest.mark.parametrize("behind", [0, 1, 77, 512, 3000])
def test_apple_s_trailer_is_found_before_what_was_appended(behind: int) -> None:
    trailer = b"koly\0\0\0\4".ljust(512, b"\1")
    image = PATTERN + trailer + bytes(behind)

    problem = ForeignFormat().lost_end(Memory(image))

    assert problem is not None
    assert (problem.rule, problem.offset, problem.length) == ("unsupported-format", 5000, 512)
    assert ForeignFormat().lost_end(Memory(PATTERN)) is None


def test_what_is_encrypted_is_told_twice() -> None:
    found = formats.identify(Memory(patched(PATTERN, 0, b"encrcdsa"))).container

    assert found.encrypted
    assert [(item.rule, item.offset, item.length) for item in found.problems] == [
        ("unsupported-format", 0, 8),
        ("encrypted-container", 0, 8),
    ]


@pytest.mark.parametrize("length", [0, 1, 36, 39, 40])
def test_a_luks_volume_is_named_by_a_field_of_40_bytes(length: int) -> None:
    field = (b"u" * length).ljust(40, b"\0")
    image = (b"LUKS\xba\xbe\1\2".ljust(168, b"\0") + field + b"x" * 40).ljust(4096, b"\0")

    found = formats.identify(Memory(image)).container

    assert found.uuid == ("u" * length or None)
    assert found.variant == "v258"
    assert [(item.rule, item.offset, item.length) for item in found.problems] == [
        ("encrypted-container", 0, 8)
    ]
