"""Lists of attributes in an MFT, which libfsntfs does not check: it takes all that other records hold.

A file whose attributes do not fit its record has a list of them, and other records that hold them.  Where
an entry of the list names what is not there, ntfs-3g reads nothing of the file; so it is not believed here.

    record       0  4  "FILE"                           attribute   0  4  type      8  1  not resident
                 4  2  where the update sequence is                 4  4  length   14  2  its number
                 6  2  its length in words, one more               resident:       16  4  content's length
                       than the record has sectors                                 20  2  where that begins
                16  2  how often it was used                       not resident:   32  2  where its runs begin
                20  2  first attribute                                             48  8  size of the content
                22  2  flags: 1 in use
                32  8  its base record, or 0            entry of    0  4  type     16  8  record
    the last two bytes of each sector stand in          the list    4  2  length   24  2  number
    the update sequence, and its first word there
    a reference to a record: number (6), how often it was used (2)
    a run: one byte, of which the low half is the length of the clusters' count and the high half that of
    their distance from the run before (signed; 0: a hole); then both, little-endian

https://flatcap.github.io/linux-ntfs/ntfs/concepts/file_record.html, …/attributes/attribute_list.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.tools.reader.answers import UnableError
from pipeline.tools.reader.volume import Pages

_SECTOR = 512
_LIST = 0x20
_END = 0xFFFFFFFF
_LARGEST_LIST = 256 << 10  # bytes; the kernel's limit
_NUMBER = (1 << 48) - 1
_SMALLEST_ATTRIBUTE, _SMALLEST_ENTRY = 16, 26


class Records:
    """The records of one MFT."""

    def __init__(self, pages: Pages, volume: Any) -> None:
        head = pages.bytes_at(0, _SECTOR)
        self._pages = pages
        self._volume = volume
        self._mft: Any = None
        self._cluster = int(volume.cluster_block_size)
        per_record = int.from_bytes(head[64:65], "little", signed=True)
        self._size = per_record * self._cluster if per_record > 0 else 1 << -per_record
        self._sound: set[int] = set()

    def require_sound(self, reference: int) -> None:
        """Raise ``UnableError`` when a file's list of attributes names what is not there."""
        number = reference & _NUMBER
        if number in self._sound:
            return
        record = self._record(number)
        held = {kind: attribute for kind, _, attribute in _attributes(record)}
        if _LIST in held:
            self._require_list(number, record, self._content(held[_LIST]))
        self._sound.add(number)

    def _require_list(self, number: int, record: bytes, content: bytes) -> None:
        others: dict[int, set[tuple[int, int]]] = {number: _keys(record)}
        for kind, where, key in _entries(content):
            other = where & _NUMBER
            if other not in others:
                found = self._record(other)
                others[other] = _keys(found)
                base = int.from_bytes(found[32:38], "little")
                used = int.from_bytes(found[16:18], "little")
                if base != number or used != where >> 48 or (_LIST in dict(others[other])):
                    raise UnableError(f"record {other} is not one of record {number}")
            if (kind, key) not in others[other]:
                raise UnableError(f"the attribute list of record {number} is wrong")

    def _record(self, number: int) -> bytes:
        """One record, with the ends of its sectors in their places."""
        if self._mft is None:
            self._mft = self._volume.get_file_entry(0)
        raw = bytearray(self._mft.read_buffer_at_offset(self._size, number * self._size))
        if len(raw) < self._size or raw[:4] != b"FILE" or not raw[22] & 1:
            raise UnableError(f"record {number} of the MFT is not one in use")
        at, words = (int.from_bytes(raw[place : place + 2], "little") for place in (4, 6))
        sequence = raw[at : at + 2 * words]
        for sector in range(1, words):
            end = sector * _SECTOR
            if len(sequence) < 2 * words or raw[end - 2 : end] != sequence[:2]:
                raise UnableError(f"record {number} of the MFT was not written whole")
            raw[end - 2 : end] = sequence[2 * sector : 2 * sector + 2]
        return bytes(raw)

    def _content(self, attribute: bytes) -> bytes:
        """What an attribute holds."""
        if not attribute[8]:
            length = int.from_bytes(attribute[16:20], "little")
            start = int.from_bytes(attribute[20:22], "little")
            return attribute[start : start + length]
        size = int.from_bytes(attribute[48:56], "little")
        if size > _LARGEST_LIST:
            raise UnableError(f"an attribute list of {size} bytes")
        parts: list[bytes] = []
        for place, count in _runs(attribute[int.from_bytes(attribute[32:34], "little") :]):
            left = size - sum(map(len, parts))
            parts.append(
                self._pages.bytes_at(place * self._cluster, min(left, count * self._cluster))
            )
        return b"".join(parts)


def _attributes(record: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, number and bytes of each attribute."""
    at = int.from_bytes(record[20:22], "little")
    while at + _SMALLEST_ATTRIBUTE <= len(record):
        kind, length = (int.from_bytes(record[at + i : at + i + 4], "little") for i in (0, 4))
        if kind == _END:
            return
        if not _SMALLEST_ATTRIBUTE <= length <= len(record) - at:
            raise UnableError("an attribute goes beyond its record")
        yield kind, int.from_bytes(record[at + 14 : at + 16], "little"), record[at : at + length]
        at += length


def _keys(record: bytes) -> set[tuple[int, int]]:
    return {(kind, number) for kind, number, _ in _attributes(record)}


def _entries(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Type, reference to the record, and number of each attribute in a list."""
    at = 0
    while at + _SMALLEST_ENTRY <= len(content):
        length = int.from_bytes(content[at + 4 : at + 6], "little")
        if length < _SMALLEST_ENTRY:
            raise UnableError("an attribute list is cut short")
        kind = int.from_bytes(content[at : at + 4], "little")
        number = int.from_bytes(content[at + 24 : at + 26], "little")
        yield kind, int.from_bytes(content[at + 16 : at + 24], "little"), number
        at += length


def _runs(data: bytes) -> Iterator[tuple[int, int]]:
    """First cluster and count of each run.  Raises ``UnableError`` for a hole."""
    at, place = 0, 0
    while at < len(data) and data[at]:
        counted, moved = data[at] & 0xF, data[at] >> 4
        start = at + 1 + counted
        if not counted or not moved:
            raise UnableError("an attribute list with a hole")
        place += int.from_bytes(data[start : start + moved], "little", signed=True)
        yield place, int.from_bytes(data[at + 1 : start], "little")
        at = start + moved
