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
    High Sierra 8   1  type     9  5  "CDROM"     14 1 version 1     48 32 volume label
    UDF         1   5  "BEA01", "NSR02" or "NSR03", "TEA01", "BOOT2"
                anchor at sector 256: tag 2, where the descriptors with the volume's label are

Five letters are no disc: "CD001" may stand anywhere in a boot loader's gap.  A descriptor counts when
its version and a number in both byte orders are right as well.  The first sectors are free for a boot
loader, so a disc may also have an MBR or a GPT (hybrid): it is a disc all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.formats import udf
from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.labels import disk_labels
from pipeline.source import Reader
from pipeline.text import clean

_SECTOR = 2048
_FIRST, _COUNT = 16, 32  # volume descriptors that are looked at
_ISO_IDS = frozenset({b"CD001", b"CDW02", b"CD-I "})
_EL_TORITO = b"EL TORITO SPECIFICATION"
_SYNC = b"\0" + b"\xff" * 10 + b"\0"

# Sector sizes of raw discs, and where in the sector the 2048 bytes of data begin.
_RAW_SECTORS = ((2352, 16), (2352, 24), (2448, 16), (2448, 24), (2336, 8))


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

    def words(self) -> str:
        """What was seen, as one clause."""
        names = {"iso9660": "ISO 9660", "udf": "UDF", "high-sierra": "High Sierra"}
        seen = " and ".join(names[part] for part in self.kind.split("+"))
        parts = [seen, f"volume label '{self.label}'" if self.label else "no volume label"]
        if self.boot_record:
            parts.append(f"{self.boot_record} boot record")
        if self.hybrid:
            parts.append(f"with {' and '.join(self.hybrid).upper()} in front (hybrid)")
        if self.sector_size != _SECTOR:
            parts.append(f"sectors of {self.sector_size} bytes")
        return ", ".join(parts)


def find(reader: Reader, offset: int = 0) -> Optical | None:
    """The disc that begins at ``offset``, if one does.  Reads at most 200 KiB."""
    sectors = reader.read(offset + _FIRST * _SECTOR, _COUNT * _SECTOR)
    iso = _iso(sectors, offset)
    found = udf.find(reader, sectors, offset)
    if found is not None:
        iso_found = iso is not None
        iso = iso or Optical("udf", None, None, None, found.offset, found.length)
        iso = Optical(
            kind="iso9660+udf" if iso_found else "udf",
            label=iso.label or found.label,
            system=iso.system,
            boot_record=iso.boot_record,
            offset=iso.offset,
            length=iso.length,
        )
    if iso is None:
        iso = _high_sierra(sectors, offset) or _raw_sectors(reader, offset)
    if iso is None:
        return None
    hybrid = disk_labels(reader, offset) if iso.sector_size == _SECTOR else ()
    return Optical(
        iso.kind,
        iso.label,
        iso.system,
        iso.boot_record,
        iso.offset,
        iso.length,
        iso.sector_size,
        hybrid,
    )


def _both_endian(data: bytes, at: int, width: int) -> bool:
    """Whether a number that is not zero stands there little-endian and then big-endian."""
    little = data[at : at + width]
    return (
        len(little) == width and any(little) and little == data[at + width : at + 2 * width][::-1]
    )


def _is_volume(sector: bytes) -> bool:
    return (
        sector[0:1] in (b"\x01", b"\x02")
        and sector[1:6] in _ISO_IDS
        and sector[6:7] in (b"\x01", b"\x02")
        and (_both_endian(sector, 80, 4) or _both_endian(sector, 128, 2))
    )


def _iso(sectors: bytes, base: int) -> Optical | None:
    """ISO 9660's descriptors among the sectors from 16 on."""
    volume: tuple[int, bytes] | None = None
    boot: str | None = None
    for at, sector in _split(sectors):
        if sector[1:6] not in _ISO_IDS:
            continue
        if sector[0] == 0 and sector[6] == 1:
            boot = "El Torito" if _EL_TORITO in sector[7:39] else _text(sector[7:39])
        elif _is_volume(sector) and (volume is None or (sector[0] == 1 and volume[1][0] != 1)):
            volume = (at, sector)
        elif sector[0] == 255:
            break
    if volume is None:
        return None
    at, sector = volume
    return Optical(
        "iso9660",
        _text(sector[40:72]),
        _text(sector[8:40]),
        boot,
        base + _FIRST * _SECTOR + at,
        _SECTOR,
    )


def _split(sectors: bytes) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(sectors), _SECTOR):
        sector = sectors[at : at + _SECTOR]
        if len(sector) >= 132:
            yield at, sector


def _text(raw: bytes) -> str | None:
    return clean(raw.rstrip(b" \0"), 80) or None


def _high_sierra(sectors: bytes, base: int) -> Optical | None:
    for at, sector in _split(sectors):
        named = sector[9:14] == b"CDROM" and sector[14] == 1
        if named and sector[8] in (1, 2) and _both_endian(sector, 0, 4):
            place = base + _FIRST * _SECTOR + at
            label, system = _text(sector[48:80]), _text(sector[16:48])
            return Optical("high-sierra", label, system, None, place, _SECTOR)
    return None


def _raw_sectors(reader: Reader, base: int) -> Optical | None:
    """A primary descriptor in the layout of a raw disc's sectors."""
    for size, data_at in _RAW_SECTORS:
        place = base + _FIRST * size + data_at
        sector = reader.read(place, _SECTOR)
        if len(sector) < 132 or not _is_volume(sector):
            continue
        if size != 2336 and reader.read(base + _FIRST * size, 12) != _SYNC:
            continue
        boot = reader.read(place + size, 39)
        torito = "El Torito" if boot[1:6] in _ISO_IDS and _EL_TORITO in boot[7:39] else None
        label, system = _text(sector[40:72]), _text(sector[8:40])
        return Optical("iso9660", label, system, torito, place, _SECTOR, size)
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
            problems=(Problem("iso-image", found.words(), found.offset, found.length),),
            details={"label": found.label, "system": found.system, "hybrid": list(found.hybrid)},
        )
