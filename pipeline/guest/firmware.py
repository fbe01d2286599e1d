"""Which firmware can start a disk: boot code in sector 0, loaders in the EFI system partition.

A new server has no NVRAM entries of the old one, so only the fallback loader is certain to start;
other loaders count, as a firmware may be told of them, and it is said which there are.
https://uefi.org/specs/UEFI/2.10/03_Boot_Manager.html (removable media boot behaviour)
"""

from __future__ import annotations

from typing import Any

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


def facts(table: PartitionTable, loaders: list[str]) -> dict[str, Any]:
    """``firmware`` ("bios", "uefi", "both", or None: nothing starts it) and what it rests on."""
    bios = boots_from_bios(table)
    known = {(True, True): "both", (True, False): "bios", (False, True): "uefi"}
    fallback = any(path.rsplit("/", 1)[1].lower() in FALLBACK for path in loaders)
    return {
        "firmware": known.get((bios, bool(loaders))),
        "boot_code": table.boot_code,
        "efi_loaders": loaders,
        "efi_fallback": fallback if loaders else None,
    }
