"""Every volume of a disk that may hold files, found from bytes on the host.

    disk ─┬─ partition 1 ── vfat             /dev/sda1
          ├─ partition 2 ── LVM2_member ─┬─  /dev/vg/root   (in any number of linear pieces)
          │                              └─  /dev/vg/swap
          └─ partition 3 ── crypto_LUKS      said, not opened

The device names are those under which Linux in the appliance sees the one disk.  So the appliance
can go straight to the device, which saves two thirds of its time (list_filesystems and inspect_os
start dozens of programs in it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.content import filesystems, lvm, partitions
from pipeline.content.joined import Joined
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
    spread: tuple[tuple[int, int], ...] | None = None  # where it lies when in several pieces

    @property
    def pieces(self) -> tuple[tuple[int, int], ...] | None:
        """Offset on the disk and length of each piece; None when nobody knows."""
        return self.spread if self.offset is None else ((self.offset, self.size),)

    @property
    def mountable(self) -> bool:
        """Whether it may hold a guest's files (one whose pieces are not known may)."""
        return self.type in filesystems.MOUNTABLE or self.pieces is None

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
    members = _members(reader, pieces)
    known = _groups(reader, pieces[:MAX_VOLUMES])
    present = Counter(group.name for group in known.values())
    for volume in pieces[:MAX_VOLUMES]:
        volumes.append(volume)
        group = known.get(volume.device)
        if group is not None and group.name not in groups:
            groups.append(group.name)
            volumes.extend(_logical(reader, group, members))
            if group.physical_volumes > present[group.name]:
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
    spread: tuple[tuple[int, int], ...] | None = None,
) -> Volume:
    seen = None
    if offset is not None:
        seen = filesystems.describe(reader, offset, size)
    elif spread:
        seen = filesystems.describe(Joined(reader, spread), 0, size)
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
        spread=spread,
    )


def _logical(reader: Reader, group: lvm.VolumeGroup, members: Mapping[str, int]) -> list[Volume]:
    found = []
    for volume in group.logical_volumes:
        pieces = _pieces_on_disk(volume, members) or ()
        offset = pieces[0][0] if len(pieces) == 1 else None
        spread = pieces if len(pieces) > 1 else None
        device = f"/dev/{group.name}/{volume.name}"
        found.append(_volume(reader, device, offset, volume.size, group=group.name, spread=spread))
    return found


def _pieces_on_disk(
    volume: lvm.LogicalVolume, members: Mapping[str, int]
) -> tuple[tuple[int, int], ...] | None:
    """Offset and length of each piece, neighbours joined; None when one is not on this disk."""
    if volume.places is None:
        return None
    found: list[tuple[int, int]] = []
    for place in volume.places:
        if place.physical not in members:
            return None
        at = members[place.physical] + place.offset
        if found and sum(found[-1]) == at:
            found[-1] = (found[-1][0], found[-1][1] + place.length)
        else:
            found.append((at, place.length))
    return tuple(found)


def _groups(reader: Reader, pieces: list[Volume]) -> dict[str, lvm.VolumeGroup]:
    """The volume group of each physical volume, by its device."""
    found = {}
    for piece in pieces:
        if piece.type == "LVM2_member" and piece.offset is not None:
            group = lvm.parse(reader, piece.offset)
            if group is not None:
                found[piece.device] = group
    return found


def _members(reader: Reader, pieces: list[Volume]) -> dict[str, int]:
    """Where each physical volume begins, by its UUID."""
    found = {}
    for piece in pieces:
        if piece.type == "LVM2_member" and piece.offset is not None:
            name = lvm.identifier(reader, piece.offset)
            if name is not None:
                found[name] = piece.offset
    return found
