"""raw: the disk's bytes and nothing else, so whatever has no signature of an image format.

A raw disk may hold anything, also nothing: blank disks, bare file systems and odd sizes are legal.
What begins like a text, a program or a document and has no trace of a disk is none.

Signatures: the `file` program's magic database, https://github.com/file/file/tree/master/magic.
"""

from __future__ import annotations

from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.labels import disk_labels
from pipeline.source import Reader

_SECTOR = 512
_TEXT = 4096  # bytes that are all text in a text file
_EXT = (1080, b"\x53\xef")  # of a superblock at 1024

_DOCUMENTS = (
    (0, b"\x7fELF", "an ELF program"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"\xca\xfe\xba\xbe", "a Java class or macOS program"),
    (0, b"\xcf\xfa\xed\xfe", "a macOS program"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"RIFF", "a RIFF recording or picture"),
    (0, b"OggS", "an Ogg recording"),
    (0, b"fLaC", "a FLAC recording"),
    (0, b"ID3", "an MP3 recording"),
    (4, b"ftyp", "an MP4 recording"),
    (0, b"\x1aE\xdf\xa3", "a Matroska recording"),
    (0, b"wOFF", "a font"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Microsoft Office document"),
    (0, b"\xd4\xc3\xb2\xa1", "a network capture"),
    (0, b"\xa1\xb2\xc3\xd4", "a network capture"),
    (0, b"\x0a\x0d\x0d\x0a", "a network capture"),
    (0x202, b"HdrS", "a Linux kernel"),
)
_NOT_ASCII = bytes(range(128, 256))
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_HTML = (b"<!doctype html", b"<html", b"<head", b"<?xml")
_CONTROL = frozenset({*range(32), 127}) - frozenset(b"\t\n\f\r\x1b")


class Raw(Format):
    """The fallback: always matches, so it comes last."""

    name = "raw"
    checks = ("empty-image", "truncated", "not-a-disk-image")

    def matches(self, reader: Reader) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def inspect(self, reader: Reader) -> Container:
        """The size; and whether the file is another thing altogether."""
        if not reader.size:
            problem = Problem("empty-image", "the file has zero bytes", 0, 0)
            return Container(self.name, 0, problems=(problem,))
        words = _document(reader)
        if words is not None:
            problem = Problem("not-a-disk-image", words, 0, min(reader.size, _SECTOR))
            return Container("unknown", None, problems=(problem,))
        problems: tuple[Problem, ...] = ()
        if reader.size < _SECTOR:
            detail = f"a sector has {_SECTOR} bytes, the file has {reader.size}"
            problems = (Problem("truncated", detail, reader.size, _SECTOR - reader.size),)
        return Container(self.name, reader.size, problems=problems)


def _document(reader: Reader) -> str | None:
    """What else the file is, unless something on it says disk."""
    head = reader.read(0, _TEXT)
    for offset, magic, words in _DOCUMENTS:
        if head[offset : offset + len(magic)] == magic and not _is_disk(reader, words):
            return words
    start = head[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_HTML) and not disk_labels(reader):
        return "an XML document" if start.startswith(b"<?xml") else "an HTML page"
    if head[:2] == b"#!" and not disk_labels(reader):
        return "a script"
    if head[:2] == b"MZ" and _is_program(head) and "gpt" not in disk_labels(reader):
        return "a Windows or EFI program"
    if _is_text(head) and not disk_labels(reader):
        return "a text file"
    return None


def _is_disk(reader: Reader, words: str) -> bool:
    if words == "a Linux kernel":  # whose own boot sector ends like an MBR
        return "gpt" in disk_labels(reader) or reader.read(0, 2) not in (b"MZ", b"\xea\x05")
    superblock = reader.read(_EXT[0], 2) == _EXT[1]
    return superblock or bool(disk_labels(reader))


def _is_program(head: bytes) -> bool:
    at = int.from_bytes(head[60:64], "little")
    return head[at : at + 4] == b"PE\0\0" or at > len(head)


def _is_text(head: bytes) -> bool:
    """No control characters but those of lines; a blank file is no text."""
    order = _UTF16.get(head[:2])
    text = head[2:].decode(order, "replace").encode("latin-1", "replace") if order else head
    if len(text) <= 8 or not _CONTROL.isdisjoint(text):
        return False
    return (not order and _is_utf8(text)) or _mostly_ascii(text)


def _is_utf8(head: bytes) -> bool:
    """Whether it is UTF-8 but for a cut last character."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True


def _mostly_ascii(text: bytes) -> bool:
    """Whether it reads as an old 8-bit text would: three of four characters are ASCII's."""
    return 4 * len(text.translate(None, _NOT_ASCII)) >= 3 * len(text)
