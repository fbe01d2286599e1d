"""Which firmware can start a disk: boot code in sector 0, loaders in the EFI system partition.

A new server has no NVRAM entries of the old one, so only the fallback loader is certain to start;
other loaders count, as a firmware may be told of them, and it is said which there are.
https://uefi.org/specs/UEFI/2.10/03_Boot_Manager.html (removable media boot behaviour)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.content.partitions import PartitionTable
from pipeline.guest.survey import boots_from_bios
from pipeline.guest.tree import Files
from pipeline.text import clean

FALLBACK = frozenset({"bootx64.efi", "bootia32.efi", "bootaa64.efi", "bootriscv64.efi"})
MAX_VENDORS = 16  # directories below /EFI that are looked into


def efi_loaders(esp: Files) -> list[str]:
    """The loaders in an EFI system partition, FAT's upper and lower case as it is."""
    found: list[str] = []
    for top in esp.names("/"):
        if top.lower() != "efi":
            continue
        for vendor in esp.names(f"/{top}")[:MAX_VENDORS]:
            paths = esp.matching(f"/{top}/{vendor}", ".efi", ".EFI")
            found.extend(clean(path, 120) for path in paths)
    return found


@dataclass(frozen=True)
class Firmware:
    """Which firmware starts the disk, and what that rests on; fields are facts of the section."""

    firmware: Literal["bios", "uefi", "both"] | None  # None: nothing starts it
    efi_loaders: tuple[str, ...]
    efi_fallback: bool | None


def facts(table: PartitionTable, loaders: list[str]) -> Firmware:
    """What starts a disk with this table and these loaders in its EFI system partition."""
    bios = boots_from_bios(table)
    which: Literal["bios", "uefi", "both"] | None = "bios" if bios else None
    if loaders:
        which = "both" if bios else "uefi"
    fallback = any(path.rsplit("/", 1)[1].lower() in FALLBACK for path in loaders)
    return Firmware(which, tuple(loaders), fallback if loaders else None)
