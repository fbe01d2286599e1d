"""What is a text or a program and no disk: character by character, and at the edges of what is looked at."""

from __future__ import annotations

import struct

import handmade
import pytest
from handmade import Memory, patched

from pipeline.formats.raw import Raw


def told(image: bytes) -> str | None:
    """What the file is called, if it is no disk."""
    return next((problem.detail for problem in Raw().inspect(Memory(image)).problems), None)


def is_text(image: bytes) -> bool:
    return told(image.ljust(512, image[-1:] if image[-1:].isalpha() else b"e")) == "a text file"


@pytest.mark.parametrize("byte", range(128))
def test_a_text_has_no_control_characters_but_those_of_lines(byte: int) -> None:
    plain = 32 <= byte < 127 or byte in b"\t\n\f\r\x1b"

    assert is_text(b"some words" + bytes([byte])) is plain
    utf16 = "some words".encode("utf-16-le") * 30 + bytes([byte, 0])
    assert (told(b"\xff\xfe" + utf16) == "a text file") is plain


@pytest.mark.parametrize("byte", range(128, 256))
def test_three_of_four_characters_of_an_8_bit_text_are_ascii(byte: int) -> None:
    text = bytes([byte]) * 128 + b"abc" * 128

    assert told(text) == "a text file"
    assert told(bytes([byte]) + text) is None  # nor is it UTF-8
    assert told(b"\xff\xfe" + ("é" * 128 + "abc" * 128).encode("utf-16-le")) == "a text file"
    assert told(b"\xff\xfe" + ("é" * 129 + "abc" * 128).encode("utf-16-le")) is None


@pytest.mark.parametrize(
    ("text", "cut"), [("é", 1), ("漢", 1), ("漢", 2), ("😀", 1), ("😀", 2), ("😀", 3)]
)
def test_the_last_character_of_utf_8_may_be_cut(text: str, cut: int) -> None:
    # given letters of which hardly one is ASCII's, and of the last one so many bytes
    whole = b"." + text.encode() * 300

    assert told(whole) == "a text file"
    assert told(whole + text.encode()[:cut]) == "a text file"
    assert told(whole + text.encode()[:1] + b"abc") is None
    assert told(b"\xff" + whole) is None


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 20])
def test_eight_characters_are_no_text(length: int) -> None:
    for image in (b"a" * length, b"\xfe\xff" + ("a" * length).encode("utf-16-be")):
        found = told(image)

        assert (found == "a text file") is (length > 8)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b" " * 242 + b"<!DOCTYPE html", "an HTML page"),
        (b" " * 243 + b"<!DOCTYPE html", None),
        (b"\n" * 251 + b"<?xml", "an XML document"),
        (b"\n" * 252 + b"<?xml", None),
        (b"\xef\xbb\xbf\t<HEAD", "an HTML page"),
        (b"x<html>", None),
        (b"#!", "a script"),
        (b"# ", None),
    ],
)
def test_pages_and_scripts_are_known_by_how_they_begin(image: bytes, words: str | None) -> None:
    assert told(image + bytes(600)) == words


@pytest.mark.parametrize("at", [64, 68, 124, 128, 132, 252, 300, 1000, 4092])
def test_a_program_s_header_says_where_its_signature_is(at: int) -> None:
    # given that the field is followed by other bytes
    whole = patched(b"MZ".ljust(8192, b"\0"), 60, struct.pack("<I", at) + b"\xff" * 4)
    if at == 64:
        whole = patched(whole, 64, bytes(4))

    assert told(patched(whole, at, b"PE\0\0")) == "a Windows or EFI program"
    assert told(patched(whole, at, b"PE\0\1")) is None
    assert told(patched(whole, at + 4, b"PE\0\0")) is None


@pytest.mark.parametrize("at", [4096, 4097, 1 << 16, 1 << 24, (1 << 32) - 1])
def test_a_signature_behind_what_is_read_is_believed(at: int) -> None:
    whole = patched(b"MZ".ljust(8192, b"\0"), 60, struct.pack("<I", at))

    assert (told(whole) == "a Windows or EFI program") is (at > 4096)
    assert told(patched(whole, 512, b"EFI PART")) is None


def test_a_file_system_or_a_table_makes_a_disk_of_it() -> None:
    pdf = b"%PDF-1.7\n".ljust(8192, b"\0")

    assert told(pdf) == "a PDF document"
    assert told(patched(pdf, 1080, b"\x53\xef")) is None
    assert told(patched(pdf, 1079, b"\x53\xef")) == "a PDF document"
    assert told(patched(pdf, 446, handmade.mbr()[446:])) is None


def test_raw_is_what_anything_may_be() -> None:
    assert Raw().matches(Memory(b""))
    assert Raw().matches(Memory(bytes(512)))
