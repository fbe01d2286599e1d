"""Records of NTFS' master file table: a file's attributes, and the runs of clusters that they own.

record                                        attribute
   0 4 "FILE"                                   0 4 type; FFFFFFFF ends them   4 4 length
   4 2 offset, 6 2 length of the fixup array    8 1 1: lies elsewhere, in runs
  14 2 offset of the first attribute            9 1 length of its name
  16 2 flags, 1: in use                         lies here            lies in runs
  18 4 bytes in use                              10 4 length          10 8 first, 18 8 last cluster of the
  20 8 the record that it extends, or 0          14 2 offset               file that these runs hold
  2C 4 its own number                                                 20 2 offset of the runs
                                                                      30 8 bytes of the file
runs: a byte with two lengths (low: of the count, high: of the step from the run before), then both; a
step of no bytes is a hole, and a zero byte ends them.  The last two bytes of each 512 stand in the
fixup array, and a number that shows that all of it was written stands in their place.

https://flatcap.github.io/linux-ntfs/ntfs/concepts/file_record.html, …/data_runs.html, …/fixup.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.content.free_space.base import require

DATA, NAME = 0x80, 0x30
_STRIDE = 512

Run = tuple[int | None, int]
"""First cluster, None for a hole; and how many."""


@dataclass(frozen=True)
class Attribute:
    """One attribute, or the part of one that this record holds."""

    type: int
    named: bool
    resident: bool
    value: bytes = b""  # when it lies here
    lowest: int = 0  # the first cluster of the file that the runs hold
    size: int = 0  # bytes of the file; 0 in a continuation
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True)
class Record:
    """One record that is a file, or extends one."""

    in_use: bool
    base: int  # the number of the record that it extends; of itself when it extends none
    is_base: bool
    attributes: tuple[Attribute, ...] = ()

    def unnamed_data(self) -> Attribute | None:
        """The file's content."""
        return next(
            (item for item in self.attributes if item.type == DATA and not item.named), None
        )

    @classmethod
    def parse(cls, raw: bytes, number: int, clusters: int) -> Record | None:
        """Read a record; None for one that was never written.

        ``clusters``: of the volume.  Raises ``KeptError`` for one that is damaged.
        """
        words = f"record {number} of its MFT"
        if raw[:4] != b"FILE":
            require(not any(raw), f"{words} is damaged")
            return None
        (flags,) = struct.unpack_from("<H", raw, 22)
        (extended,) = struct.unpack_from("<Q", raw, 32)  # its number, and how often that was given
        base = extended & (1 << 48) - 1
        if not flags & 1:
            return cls(False, base, not extended)
        data = _fixed(raw, words)
        found = tuple(_attributes(data, words, clusters))
        return cls(True, base if extended else number, not extended, found)


def _fixed(raw: bytes, words: str) -> bytes:
    at, count = struct.unpack_from("<HH", raw, 4)
    fits = (count - 1) * _STRIDE == len(raw) and 42 <= at <= _STRIDE - 2 - 2 * count
    require(fits, f"{words} has no place for its fixups")
    number, data = raw[at : at + 2], bytearray(raw)
    for index in range(1, count):
        end = index * _STRIDE
        require(raw[end - 2 : end] == number, f"{words} was written only in part")
        data[end - 2 : end] = raw[at + 2 * index : at + 2 * index + 2]
    return bytes(data)


def _attributes(data: bytes, words: str, clusters: int) -> Iterator[Attribute]:
    at, end = struct.unpack_from("<H2xI", data, 20)
    require(48 <= at <= end <= len(data), f"{words} is damaged")
    while True:
        require(at + 4 <= end, f"{words} does not end")
        (kind,) = struct.unpack_from("<I", data, at)
        if kind == 0xFFFFFFFF:
            return
        require(at + 24 <= end, f"{words} does not end")
        length, elsewhere, name = struct.unpack_from("<IBB", data, at + 4)
        require(24 <= length <= end - at and length % 8 == 0, f"{words} has a damaged attribute")
        raw = data[at : at + length]
        if elsewhere:
            yield _in_runs(raw, kind, bool(name), words, clusters)
        else:
            size, offset = struct.unpack_from("<IH", raw, 16)
            require(offset + size <= length, f"{words} has a damaged attribute")
            yield Attribute(kind, bool(name), True, raw[offset : offset + size])
        at += length


def _in_runs(raw: bytes, kind: int, named: bool, words: str, clusters: int) -> Attribute:
    require(len(raw) >= 64, f"{words} has a damaged attribute")
    lowest, highest, offset = struct.unpack_from("<qqH", raw, 16)
    (size,) = struct.unpack_from("<Q", raw, 48)
    require(64 <= offset < len(raw), f"{words} has a damaged attribute")
    runs = tuple(_runs(raw[offset:], words, clusters))
    total = sum(count for _, count in runs)
    require(
        total == highest - lowest + 1 and lowest >= 0, f"the runs of {words} have wrong lengths"
    )
    return Attribute(kind, named, False, b"", lowest, size if lowest == 0 else 0, runs)


def _runs(raw: bytes, words: str, clusters: int) -> Iterator[Run]:
    at = place = 0
    while True:
        require(at < len(raw), f"the runs of {words} do not end")
        if raw[at] == 0:
            return
        wide, step = raw[at] & 15, raw[at] >> 4
        behind = at + 1 + wide + step
        require(wide <= 8 and step <= 8 and behind <= len(raw), f"a run of {words} is damaged")
        count = int.from_bytes(raw[at + 1 : at + 1 + wide], "little", signed=True)
        require(count > 0, f"a run of {words} is damaged")
        if step == 0:
            yield None, count
        else:
            place += int.from_bytes(raw[at + 1 + wide : behind], "little", signed=True)
            inside = place >= 0 and place + count <= clusters
            require(inside, f"a run of {words} leads outside")
            yield place, count
        at = behind
