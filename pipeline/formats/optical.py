"""Optical discs, in every disguise: ISO 9660, UDF, both, High Sierra, with 2048 or 2352-byte sectors.

ECMA-119 (https://ecma-international.org/publications-and-standards/standards/ecma-119/) and ECMA-167
(https://ecma-international.org/publications-and-standards/standards/ecma-167/).  Volume descriptors
stand in the 2048-byte sectors from 16 on:

    ISO 9660    0   1  type: 0 boot record, 1 primary, 2 supplementary, 3 partition, 255 the last
                1   5  "CD001" (ECMA-168 "CDW02", CD-i "CD-I ")
                6   1  version 1 (2: enhanced)
      boot      7   32 boot system: "EL TORITO SPECIFICATION"
      1 and 2   8   32 system   40 32 volume label
                80  8  volume size, little- then big-endian
                128 4  block size, little- then big-endian
                156 34 the root directory: its own length 34, 25 1 flags, bit 1: a directory
    High Sierra 8   1  type     9  5  "CDROM"     14 1 version 1     48 32 volume label
    UDF         1   5  "BEA01", "NSR02" or "NSR03", "TEA01", "BOOT2"
                anchor at sector 256: tag 2, where the descriptors with the volume's label are

Five letters are no disc: "CD001" may stand anywhere in a boot loader's gap.  A descriptor counts when
its version and a number in both byte orders are right as well, or when it has a root directory: Linux
reads neither the version nor the big-endian halves.  The first sectors are free for a boot loader, so a
disc may also have an MBR or a GPT (hybrid): it is a disc all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.formats import udf
from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.labels import disk_labels
from pipeline.source import Reader
from pipeline.text import clean

_SECTOR = 2048
_FIRST, _COUNT = 16, 84  # volume descriptors that are looked at: as many as Linux does
_NEAR = 32  # of them that are found whatever stands before; further ones only in an unbroken run
_RAW_COUNT = 16  # of them in a raw disc
_ISO_IDS = frozenset({b"CD001", b"CDW02", b"CD-I "})
_EL_TORITO = b"EL TORITO SPECIFICATION"
_SYNC = b"\0" + b"\xff" * 10 + b"\0"

# Sector sizes of raw discs, and where in the sector the 2048 bytes of data begin.
_WITHOUT_SYNC = 2336
_RAW_SECTORS = ((2352, 16), (2352, 24), (2448, 16), (2448, 24), (_WITHOUT_SYNC, 8))
_DIRECTORY = (b"\x02", b"\x03")  # flags of a directory, and of a hidden one


@dataclass(frozen=True)
class Optical:
    """A disc that was found; ``offset`` and ``length`` are the bytes that show it."""

    kind: str  # "iso9660", "udf", "iso9660+udf", "high-sierra"
    label: str | None
    system: str | None
    boot_record: str | None  # "El Torito", another boot system's name, or None
    offset: int
    length: int
    sector_size: int = _SECTOR
    hybrid: tuple[str, ...] = ()  # partition tables in front of it: "mbr", "gpt"

    def describe(self) -> str:
        """What was seen, as one clause."""
        names = {"iso9660": "ISO 9660", "udf": "UDF", "high-sierra": "High Sierra"}
        seen = " and ".join(names[part] for part in self.kind.split("+"))
        parts = [seen, f"volume label '{self.label}'" if self.label else "no volume label"]
        if self.boot_record:
            parts.append(f"{self.boot_record} boot record")
        if self.hybrid:
            tables = " and ".join(name.upper() for name in self.hybrid)
            parts.append(f"with {tables} in front (hybrid)")
        if self.sector_size != _SECTOR:
            parts.append(f"sectors of {self.sector_size} bytes")
        return ", ".join(parts)


def find(reader: Reader, offset: int = 0) -> Optical | None:
    """The disc that begins at ``offset``, if one does.  Reads at most 400 KiB."""
    start = offset + _FIRST * _SECTOR
    sectors = reader.read(start, _COUNT * _SECTOR)
    iso = _iso(sectors)
    found = udf.find(reader, sectors, offset)
    disc = iso or _high_sierra(sectors)
    if found is not None:
        only = Optical("udf", None, None, None, found.offset - start, found.length)
        disc = replace(iso, kind="iso9660+udf") if iso else only
        disc = replace(disc, label=disc.label or found.label)
    if disc is None:
        return _raw_sectors(reader, offset)
    return replace(disc, offset=start + disc.offset, hybrid=disk_labels(reader, offset))


def _both_endian(number: bytes) -> bool:
    """Whether it is a number, not zero, that is little-endian and then big-endian."""
    return any(number) and number == number[::-1]


def _is_volume(sector: bytes) -> bool:
    if sector[0] not in (1, 2) or sector[1:6] not in _ISO_IDS:
        return False
    numbers = _both_endian(sector[80:88]) or _both_endian(sector[128:132])
    return (sector[6] in (1, 2) and numbers) or _has_root_directory(sector)


def _has_root_directory(sector: bytes) -> bool:
    block = int.from_bytes(sector[128:130], "little")
    length, flags = sector[156:157], sector[181:182]
    return block in (512, 1024, 2048) and length == b"\x22" and flags in _DIRECTORY


def _iso(sectors: bytes) -> Optical | None:
    """ISO 9660's descriptors among ``sectors``, in which the disc's place is counted."""
    volumes: list[tuple[int, bytes]] = []
    boot: str | None = None
    for at, sector in _descriptors(sectors):
        if not sector[0] and sector[6] == 1:
            known = sector[7:].startswith(_EL_TORITO)
            boot = "El Torito" if known else _text(sector[7:39])
        elif _is_volume(sector):
            volumes.append((at, sector))
        elif sector[0] == 255:
            break
    if not volumes:
        return None
    at, sector = min(volumes, key=lambda volume: volume[1][0])  # the first primary one, if any
    return Optical(
        "iso9660",
        _text(sector[40:72]),
        _text(sector[8:40]),
        boot,
        at,
        _SECTOR,
    )


def _descriptors(sectors: bytes) -> Iterator[tuple[int, bytes]]:
    """What bears an ISO name; far from the start only in a run, as it may be a partition's there."""
    before = False
    for at, sector in _split(sectors):
        before = sector[1:6] in _ISO_IDS and (before or at < _NEAR * _SECTOR)
        if before:
            yield at, sector


def _split(sectors: bytes) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(sectors), _SECTOR):
        sector = sectors[at : at + _SECTOR]
        if len(sector) >= 132:
            yield at, sector


def _text(raw: bytes) -> str | None:
    return clean(raw.rstrip(b" \0"), 80) or None


def _high_sierra(sectors: bytes) -> Optical | None:
    for at, sector in _split(sectors[: _NEAR * _SECTOR]):
        named = sector[9:14] == b"CDROM" and sector[14] == 1
        if named and sector[8] in (1, 2) and _both_endian(sector[:8]):
            label, system = _text(sector[48:80]), _text(sector[16:48])
            return Optical("high-sierra", label, system, None, at, _SECTOR)
    return None


def _raw_sectors(reader: Reader, base: int) -> Optical | None:
    """Descriptors in the layout of a raw disc's sectors."""
    for size, data_at in _RAW_SECTORS:
        start = base + _FIRST * size
        if size != _WITHOUT_SYNC and reader.read(start, 12) != _SYNC:
            continue
        data = reader.read(start, _RAW_COUNT * size)
        begins = range(data_at, len(data), size)
        sectors = b"".join(data[at : at + _SECTOR] for at in begins)
        disc = _iso(sectors) or _high_sierra(sectors)
        if disc is not None:
            place = start + begins[disc.offset // _SECTOR]
            return replace(disc, offset=place, sector_size=size)
    return None


class OpticalDisc(Format):
    """A file that is a disc."""

    name = "iso"
    checks = ("iso-image",)

    def matches(self, reader: Reader) -> bool:
        """A disc begins at byte 0."""
        return find(reader) is not None

    def inspect(self, reader: Reader) -> Container:
        """What kind of disc it is; there is nothing about it that could be accepted."""
        found = find(reader)
        assert found is not None
        return Container(
            self.name,
            reader.size,
            variant=found.kind,
            problems=(Problem("iso-image", found.describe(), found.offset, found.length),),
            details={"label": found.label, "system": found.system, "hybrid": list(found.hybrid)},
        )
