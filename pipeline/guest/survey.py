"""Every volume of a disk that may hold files, found from bytes on the host.

    disk ─┬─ partition 1 ── vfat             /dev/sda1
          ├─ partition 2 ── LVM2_member ─┬─  /dev/vg/root   (where it is, when it is in one piece)
          │                              └─  /dev/vg/swap
          └─ partition 3 ── crypto_LUKS      said, not opened

The device names are those under which Linux in the appliance sees the one disk.  So the appliance
can go straight to the device, which saves two thirds of its time (list_filesystems and inspect_os
start dozens of programs in it).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.content import filesystems, lvm, partitions
from pipeline.content.partition_types import BIOS_BOOT, DYNAMIC_DISK, EFI_SYSTEM, MBR_EFI_SYSTEM
from pipeline.content.partitions import PartitionTable
from pipeline.source import Reader

ENCRYPTED = frozenset({"crypto_LUKS", "BitLocker"})
SWAP = "swap"
_FRAMES = ("extended", "Linux extended")
_DISK = "/dev/sda"
MAX_VOLUMES = 64  # of one disk; the rest is not looked at, and that is said


@dataclass(frozen=True)
class Volume:
    """One partition, logical volume, or a disk without partitions."""

    device: str  # as the appliance names it
    offset: int | None  # bytes from the start of the disk; None: not in one piece
    size: int  # bytes
    type: str | None  # as blkid names it; None: nothing known begins there
    partition: int | None = None
    partition_uuid: str | None = None
    uuid: str | None = None
    label: str | None = None
    clean: bool | None = None
    detail: str | None = None  # why it is not clean
    group: str | None = None  # the volume group it belongs to
    esp: bool = False
    partition_label: str | None = None  # GPT's own

    @property
    def mountable(self) -> bool:
        """Whether it may hold a guest's files (a volume that is not in one piece may)."""
        return self.type in filesystems.MOUNTABLE or self.offset is None

    @property
    def opaque(self) -> bool:
        """Whether the host cannot tell what is in it, but the appliance perhaps can."""
        if self.type is None:
            return self.partition is not None or self.group is not None
        known = filesystems.MOUNTABLE | ENCRYPTED | {SWAP, "LVM2_member", "iso9660", "udf"}
        return self.type not in known


@dataclass(frozen=True)
class Survey:
    """What a disk holds."""

    table: PartitionTable
    volumes: tuple[Volume, ...]
    groups: tuple[str, ...]  # volume groups, also those whose other half is on another disk
    incomplete_groups: tuple[str, ...]  # those that need more disks than this one
    truncated: bool  # there were more volumes than MAX_VOLUMES

    def of_type(self, *types: str) -> tuple[Volume, ...]:
        """The volumes of these types."""
        return tuple(volume for volume in self.volumes if volume.type in types)

    @property
    def dynamic(self) -> bool:
        """Whether it is a Windows dynamic disk."""
        return bool(self.table.of_type(*DYNAMIC_DISK))

    def is_last(self, volume: Volume) -> bool | None:
        """Whether nothing lies behind a volume's partition, so that it can grow; None: not known."""
        if volume.partition is None:
            return True if volume.group is None else None
        ends = {part.number: part.end for part in self.table.partitions}
        others = [part.start for part in self.table.partitions if part.type_name not in _FRAMES]
        return all(start < ends.get(volume.partition, 0) for start in others)

    @property
    def encrypted(self) -> tuple[Volume, ...]:
        """The volumes that need a key."""
        return self.of_type(*ENCRYPTED)


def survey(reader: Reader, table: PartitionTable | None = None) -> Survey:
    """Look at a guest-visible disk.  Reads some dozen KiB; raises nothing for what it finds.

    ``table`` is its partition table where somebody has read that already.
    """
    table = partitions.parse(reader) if table is None else table
    pieces = list(_pieces(reader, table))
    volumes: list[Volume] = []
    groups: list[str] = []
    incomplete: list[str] = []
    for volume in pieces[:MAX_VOLUMES]:
        volumes.append(volume)
        if volume.type == "LVM2_member" and volume.offset is not None:
            group = lvm.parse(reader, volume.offset)
            if group is not None and group.name not in groups:
                groups.append(group.name)
                volumes.extend(_logical(reader, group, volume.offset))
                if group.physical_volumes > _members(pieces):
                    incomplete.append(group.name)
    truncated = len(pieces) > MAX_VOLUMES or len(volumes) > MAX_VOLUMES
    kept = tuple(volumes[:MAX_VOLUMES])
    return Survey(table, kept, tuple(groups), tuple(incomplete), truncated)


def boots_from_bios(table: PartitionTable) -> bool:
    """Whether sector 0 holds code that a BIOS can start this disk with.

    A GPT disk of Windows has boot code in its protective MBR although it starts with UEFI only, and
    GRUB's code cannot find its rest on a GPT without a BIOS boot partition.
    """
    if table.boot_code is None:
        return False
    if table.scheme != "gpt":
        return True
    if table.boot_code == "grub":
        return bool(table.of_type(BIOS_BOOT))
    return table.boot_code == "syslinux" and any(part.bootable for part in table.partitions)


def _pieces(reader: Reader, table: PartitionTable) -> list[Volume]:
    if table.scheme == "none":
        whole = _volume(reader, _DISK, 0, reader.size)
        return [whole] if whole.type is not None else []
    found = []
    for part in table.partitions:
        if part.type_name in ("extended", "Linux extended", "BIOS boot", "GPT protective"):
            continue
        if part.start >= reader.size:
            continue
        esp = part.type in (EFI_SYSTEM, MBR_EFI_SYSTEM)
        device = f"{_DISK}{part.number}"
        identifier = part.uuid or f"{table.identifier}-{part.number:02x}"  # MBR's, as Linux has it
        volume = _volume(reader, device, part.start, part.size, part.number, identifier, esp=esp)
        found.append(replace(volume, partition_label=part.name or None))
    return found


def _volume(
    reader: Reader,
    device: str,
    offset: int | None,
    size: int,
    partition: int | None = None,
    partition_uuid: str | None = None,
    group: str | None = None,
    *,
    esp: bool = False,
) -> Volume:
    seen = None if offset is None else filesystems.describe(reader, offset, size)
    return Volume(
        device,
        offset,
        size,
        seen.type if seen else None,
        partition,
        partition_uuid.lower() if partition_uuid else None,
        seen.uuid if seen else None,
        seen.label if seen else None,
        seen.clean if seen else None,
        seen.detail if seen else None,
        group,
        esp,
    )


def _logical(reader: Reader, group: lvm.VolumeGroup, start: int) -> list[Volume]:
    return [
        _volume(
            reader,
            f"/dev/{group.name}/{volume.name}",
            None if volume.offset is None else start + volume.offset,
            volume.size,
            group=group.name,
        )
        for volume in group.logical_volumes
    ]


def _members(pieces: list[Volume]) -> int:
    return sum(piece.type == "LVM2_member" for piece in pieces)
