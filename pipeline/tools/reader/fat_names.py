r"""The entries of a FAT directory, and their names, as Linux' vfat reads them (fs/fat/dir.c).

    40 name, part 2 | 01 name, part 1 | NAME~1 TXT …      a long name stands before its entry, its end first

    entry   0 11  8.3 name, blanks behind; its first byte 0 or E5: free, 05 stands for E5
           11  1  attributes: 01 read-only, 08 label, 10 directory; exactly 0F: part of a long name
           12  1  08: its name is shown in lower case, 10: so is its extension
           20  2  first cluster, high (FAT32)         22  2  time: hours 5 bits, minutes 6, seconds / 2 5
           26  2  first cluster, low                  24  2  date: years since 1980 7 bits, month 4, day 5
           28  4  size
    part    0  1  its number, 40 added in the last one, which stands first
           13  1  checksum of the 8.3 name            1 10, 14 12, 28 4  UTF-16, up to a zero

Linux goes on behind an entry that begins with zero, which others take for the end.  Parts of a long name that
do not follow each other are dropped, and a checksum that is wrong leaves the 8.3 name alone.
Microsoft's FAT specification ("fatgen103"), sections 6 and 7.
"""

from __future__ import annotations

import encodings.cp437  # nothing can be imported once the child is locked in
import encodings.utf_16_le
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.tools.reader.answers import UnableError

RECORD = 32
READ_ONLY, DIRECTORY = 0x01, 0x10
_LABEL, _PART = 0x08, 0x0F
_FREE, _DELETED, _JAPANESE = 0, 0xE5, 0x05
_LAST, _MOST_PARTS = 0x40, 20
_LOWER_NAME, _LOWER_EXTENSION = 0x08, 0x10
_OEM = encodings.cp437.decoding_table  # what kernels are built to take 8.3 names for


class Named(NamedTuple):
    """One entry of a directory."""

    number: int  # of its record
    short: str
    long: str | None
    raw: bytes

    @property
    def name(self) -> str:
        """What is shown."""
        return self.short if self.long is None else self.long

    @property
    def attributes(self) -> int:
        """What it is."""
        return self.raw[11]

    @property
    def start(self) -> int:
        """Its first cluster, of 16 bits."""
        return int.from_bytes(self.raw[26:28], "little")

    @property
    def start_high(self) -> int:
        """What FAT32 adds to that."""
        return int.from_bytes(self.raw[20:22], "little") << 16

    @property
    def size(self) -> int:
        """Of a file, in bytes."""
        return int.from_bytes(self.raw[28:32], "little")


def subdirectories(raw: bytes) -> int:
    """How many entries say that they are directories, ``.`` and ``..`` among them."""
    records = (raw[at : at + RECORD] for at in range(0, len(raw), RECORD))
    return sum(
        bool(record[11] & DIRECTORY) and not record[11] & _LABEL and not _is_free(record)
        for record in records
    )


def entries(raw: bytes) -> Iterator[Named]:
    """The entries of a directory, in their order."""
    index, count = 0, len(raw) // RECORD
    while index < count:
        record = _record(raw, index)
        long = None
        if record[11] == _PART and record[0] != _DELETED:
            index, long = _long(raw, index, count)
            if index == count:
                return
            record = _record(raw, index)
            if long is None and record[11] == _PART:
                index += 1  # no beginning of a name
                continue
        if not _is_free(record) and not record[11] & _LABEL:
            short = _short(record)
            if short:
                yield Named(index, short, long, record)
        index += 1


def _long(raw: bytes, index: int, count: int) -> tuple[int, str | None]:
    """The long name whose parts begin here, and the index of the record to go on with."""
    while True:
        first = _record(raw, index)
        parts = first[0] & ~_LAST
        if first[11] != _PART or not first[0] & _LAST or not 0 < parts <= _MOST_PARTS:
            return index, None
        texts = [b""] * parts
        for number in range(parts, 0, -1):
            part = _record(raw, index)
            if part[11] != _PART:
                return index, None
            if part[0] & ~_LAST != number or part[13] != first[13]:
                break
            texts[number - 1] = part[1:11] + part[14:26] + part[28:32]
            if part[0] & _LAST and number < parts:
                texts[number] = bytes(2) + texts[number][2:]
            index += 1
            if index == count:
                return index, None
        else:
            entry = _record(raw, index)
            if entry[11] == _PART and entry[0] != _DELETED:
                continue
            fits = _checksum(entry[:11]) == first[13]
            return index, _text(b"".join(texts)) if fits else None


def _text(units: bytes) -> str:
    end = next(at for at in range(0, len(units) + 2, 2) if units[at : at + 2] in (b"\0\0", b""))
    return units[:end].decode("utf-16-le", "ignore")


def _short(record: bytes) -> str:
    name = (b"\xe5" + record[1:8] if record[0] == _JAPANESE else record[:8]).split(b"\0")[0]
    extension = record[8:11].split(b"\0")[0].rstrip(b" ")
    found = _shown(name.rstrip(b" "), record[12] & _LOWER_NAME)
    if extension:
        found += "." + _shown(extension, record[12] & _LOWER_EXTENSION)
    return found


def _shown(name: bytes, lower: int) -> str:
    if lower and not name.isascii():
        raise UnableError("a name outside ASCII is shown in lower case")
    return "".join(_OEM[byte] for byte in (name.lower() if lower else name))


def _checksum(name: bytes) -> int:
    found = 0
    for byte in name:
        found = ((found & 1) << 7) + (found >> 1) + byte & 0xFF
    return found


def _is_free(record: bytes) -> bool:
    return record[0] in (_FREE, _DELETED)


def _record(raw: bytes, index: int) -> bytes:
    return raw[index * RECORD : (index + 1) * RECORD]
