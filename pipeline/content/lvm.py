"""LVM2 physical volumes: which logical volumes a disk holds, and where the simple ones begin.

    label, in one of the first four sectors      physical volume header, at the label's offset
      0  8  "LABELONE"                             0 32  UUID of the physical volume
      8  8  its own sector                        32  8  device size
     16  4  CRC32, seed F597A6CF                  40  …  data areas {8 offset, 8 size}, ended by zeros
     20  4  offset of the header                      …  metadata areas, the same, ended by zeros
     24  8  "LVM2 001"
    metadata area header (512 bytes)
      4 16  " LVM2 x[5A%r0N*>"                    40 24  raw location {8 offset, 8 size, 4 CRC, 4 flags}
     24  8  start   32  8  size                          the text may wrap around the area's end

The text is LVM's own configuration language: ``name { key = value … }``.
https://github.com/lvmteam/lvm2/blob/main/lib/format_text/layout.h
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.source import Reader

SECTOR = 512
_SEED = 0xF597A6CF  # of every CRC-32 in LVM's metadata
MAX_TEXT = 1 << 20  # bytes of metadata text that are read
MAX_DEPTH = 16  # sections within sections; LVM itself needs five
_NAME = re.compile(r"[A-Za-z0-9+_.-]{1,128}")  # what LVM itself accepts
_LABELS = range(0, 4 * SECTOR, SECTOR)
_TOKEN = re.compile(r'#[^\n]*|"(?:[^"\\]|\\.)*"|[{}\[\]=,]|[^\s{}\[\]=,"#]+')


@dataclass(frozen=True)
class Place:
    """A run of a logical volume in one of the group's physical volumes."""

    physical: str  # UUID of the physical volume, without hyphens
    offset: int  # bytes from its start
    length: int


@dataclass(frozen=True)
class LogicalVolume:
    """One logical volume."""

    name: str
    size: int  # bytes
    offset: int | None  # from the start of the physical volume; None: not in one piece there
    pieces: tuple[tuple[int, int], ...] | None = None  # (offset, bytes) there; None: also elsewhere
    places: tuple[Place, ...] | None = None  # the same wherever they are; None: it is not linear


@dataclass(frozen=True)
class VolumeGroup:
    """What one physical volume knows about its group."""

    name: str
    physical_volumes: int
    logical_volumes: tuple[LogicalVolume, ...]
    plain: bool = False  # every volume is linear: no snapshot, mirror, pool or cache among them
    intact: bool = False  # the text has the checksum that its header says


def parse(reader: Reader, offset: int) -> VolumeGroup | None:
    """The volume group of the physical volume at byte ``offset``; None when it cannot be read."""
    found = _metadata(reader, offset)
    if found is None:
        return None
    try:
        tree = _parse(found.text)
        name, group = next((key, item) for key, item in tree.items() if isinstance(item, dict))
        return _group(name, group, identifier(reader, offset), intact=found.intact)
    except (StopIteration, KeyError, ValueError, TypeError, IndexError, AttributeError):
        return None


def device_size(reader: Reader, offset: int) -> int | None:
    """Bytes that the physical volume at byte ``offset`` was made on."""
    header = _label(reader, offset)
    if header is None or len(header) < 40:
        return None
    return int.from_bytes(header[32:40], "little") or None


def _label(reader: Reader, offset: int) -> bytes | None:
    """The physical volume header, up to the end of its sector."""
    for at in _LABELS:
        sector = reader.read(offset + at, SECTOR)
        if sector[:8] == b"LABELONE" and sector[24:32] == b"LVM2 001":
            return sector[min(int.from_bytes(sector[20:24], "little"), SECTOR) :]
    return None


def identifier(reader: Reader, offset: int) -> str | None:
    """The UUID, without hyphens, of the physical volume at byte ``offset``."""
    header = _label(reader, offset)
    return None if header is None else header[:32].decode("ascii", "replace")


@dataclass(frozen=True)
class _Metadata:
    text: str
    intact: bool


def _metadata(reader: Reader, offset: int) -> _Metadata | None:
    header = _label(reader, offset)
    if header is None:
        return None
    areas = [struct.unpack_from("<QQ", header, at) for at in range(40, len(header) - 15, 16)]
    ends = [index for index, area in enumerate(areas) if area == (0, 0)][:2]
    if len(ends) < 2:
        return None
    for start, size in areas[ends[0] + 1 : ends[1]]:
        found = _text(reader, offset + start, size)
        if found is not None and found.text:
            return found
    return None


def _text(reader: Reader, start: int, size: int) -> _Metadata | None:
    head = reader.read(start, SECTOR)
    if head[4:20] != b" LVM2 x[5A%r0N*>":
        return None
    at, length, told = struct.unpack_from("<QQI", head, 40)
    if not SECTOR <= at < size or not 0 < length <= min(MAX_TEXT, size - SECTOR):
        return None
    first = min(length, size - at)
    raw = reader.read(start + at, first) + reader.read(start + SECTOR, length - first)
    intact = zlib.crc32(raw, _SEED ^ 0xFFFFFFFF) ^ 0xFFFFFFFF == told  # no inversions
    return _Metadata(raw.rstrip(b"\0").decode("utf-8", "replace"), intact)


def _parse(text: str) -> dict[str, Any]:
    """LVM's text as nested mappings; raises ValueError for anything else."""
    tokens = [token for token in _TOKEN.findall(text) if token[0] != "#"][::-1]
    stack: list[dict[str, Any]] = [{}]
    while tokens:
        name = tokens.pop()
        if name == "}":
            stack.pop()
            if not stack:
                raise ValueError("too many closing brackets")
            continue
        sign = tokens.pop() if tokens else ""
        if sign == "{":
            if len(stack) > MAX_DEPTH:
                raise ValueError("too deep")
            stack.append(stack[-1].setdefault(name, {}))
        elif sign == "=":
            stack[-1][name] = _value(tokens)
        else:
            raise ValueError(f"{name} is followed by {sign}")
    return stack[0]


def _value(tokens: list[str]) -> Any:
    token = tokens.pop()
    if token == "[":  # noqa: S105 - a bracket, not a password
        items = []
        while (token := tokens.pop()) != "]":
            if token != ",":  # noqa: S105
                items.append(_scalar(token))
        return items
    return _scalar(token)


def _scalar(token: str) -> Any:
    if token.startswith('"'):
        return token[1:-1]
    return int(token) if re.fullmatch(r"-?\d{1,20}", token) else token


def _count(value: object) -> int:
    """A number of sectors or extents; raises ValueError for a negative one."""
    number = int(str(value))
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number


def _group(name: str, group: Mapping[str, Any], own: str | None, *, intact: bool) -> VolumeGroup:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name} is no name of a volume group")
    extent = _count(group["extent_size"]) * SECTOR
    physical = group["physical_volumes"]
    starts = {
        key: (str(item["id"]).replace("-", ""), _count(item.get("pe_start", 0)) * SECTOR)
        for key, item in physical.items()
    }
    every = group.get("logical_volumes", {})
    volumes = tuple(
        _volume(key, item, extent, starts, own)
        for key, item in every.items()
        if _NAME.fullmatch(key) and "VISIBLE" in item.get("status", [])
    )
    plain = all(_is_linear(segment) for item in every.values() for segment in _segments(item))
    return VolumeGroup(name, len(physical), volumes, plain, intact)


def _segments(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The segments of a volume, in its order."""
    found = [value for key, value in item.items() if re.fullmatch(r"segment\d+", key)]
    return sorted(found, key=lambda segment: _count(segment["start_extent"]))


def _is_linear(segment: Mapping[str, Any]) -> bool:
    """LVM calls a volume that is striped over one stripe linear."""
    return segment.get("type") == "striped" and len(segment.get("stripes", [])) == 2


def _volume(
    name: str,
    item: Mapping[str, Any],
    extent: int,
    starts: Mapping[str, tuple[str, int]],
    own: str | None,
) -> LogicalVolume:
    segments = _segments(item)
    size = sum(_count(segment["extent_count"]) for segment in segments) * extent
    places: list[Place] = []
    at = 0
    for segment in segments:
        if not _is_linear(segment) or segment["stripes"][0] not in starts:
            return LogicalVolume(name, size, None)
        if _count(segment["start_extent"]) != at:
            raise ValueError(f"the segments of {name} do not follow each other")
        count = _count(segment["extent_count"])
        physical, start = starts[segment["stripes"][0]]
        places.append(
            Place(physical, start + _count(segment["stripes"][1]) * extent, count * extent)
        )
        at += count
    pieces = tuple((place.offset, place.length) for place in places)
    if any(place.physical != own for place in places):
        return LogicalVolume(name, size, None, None, tuple(places))
    return LogicalVolume(
        name, size, pieces[0][0] if len(pieces) == 1 else None, pieces, tuple(places)
    )
