"""The volume that holds the system: its file system, its place on the disk, and LVM below it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.guest.packages import Packages
from pipeline.guest.roots import Root
from pipeline.guest.survey import Survey
from pipeline.text import clean


@dataclass(frozen=True)
class Lvm:
    """``section.LvmFacts``."""

    root: bool
    groups: tuple[str, ...]
    devices_file: bool


@dataclass(frozen=True)
class RootFileSystem:
    """``section.RootFileSystemFacts``."""

    device: str
    type: str | None
    size: int
    free: int | None
    free_inodes: int | None
    lvm: bool
    last_on_disk: bool | None
    growpart: bool


def lvm(root: Root, survey: Survey) -> Lvm:
    """Whether LVM holds the system, and what else it holds on the disk."""
    return Lvm(
        root.volume is not None and root.volume.group is not None,
        tuple(clean(name, 100) for name in survey.groups),
        root.files.is_file("/etc/lvm/devices/system.devices"),
    )


def file_system(root: Root, survey: Survey, known: Packages | None) -> RootFileSystem:
    """The root file system, and what may make it larger at the first start."""
    volume = root.volume
    free = root.tree.free()
    tools = ("/usr/bin/growpart", "/bin/growpart")
    return RootFileSystem(
        clean(root.device, 120),
        volume.type if volume else None,
        volume.size if volume else int(free["size"]),
        int(free["free"]),
        int(free["free_inodes"]) if "free_inodes" in free else None,
        volume is not None and volume.group is not None,
        survey.is_last(volume) if volume else None,
        any(root.files.is_file(path) for path in tools)
        or (
            known is not None
            and known.has("cloud-guest-utils", "cloud-utils-growpart", "cloud-utils")
        ),
    )
