"""Finding the systems on a disk: each volume that may hold one is mounted and looked at.

Where the host could not place something (RAID, ZFS, volumes in several pieces that do not come up),
libguestfs' own inspection is asked; it takes 3 to 6 seconds more under TCG.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.guest import linux, windows
from pipeline.guest.survey import Volume
from pipeline.guest.tree import Files, TreeError
from pipeline.guest.volumes import HiveTree, Volumes

SYSTEM_MOUNTS = ("/boot", "/boot/efi", "/efi", "/usr", "/var", "/home", "/root", "/var/lib")
"""Mount points whose files say something about a guest; others are only listed."""

SUBVOLUMES = ("root", "@", "@rootfs", "@root")
"""Names that installers give the btrfs subvolume with the root file system."""


@dataclass(frozen=True)
class Root:
    """A system's root file system."""

    os: Literal["linux", "windows"]
    files: Files
    tree: HiveTree
    volume: Volume | None  # None: placed by libguestfs' inspection
    device: str


@dataclass(frozen=True)
class Systems:
    """The systems on a disk, and who placed them."""

    roots: tuple[Root, ...]
    found_by: Literal["partition table", "inspect_os"]


def find(volumes: Volumes) -> Systems:
    """Mount what may hold a system, one after the other; a volume that fails is noted."""
    found = tuple(root for volume in volumes.survey.volumes if (root := _root(volumes, volume)))
    if found or not _placeless(volumes):
        return Systems(found, "partition table")
    return Systems(_inspected(volumes), "inspect_os")


def _root(volumes: Volumes, volume: Volume) -> Root | None:
    if volume.esp or not volume.mountable or volume.type == "vfat":
        return None
    try:
        tree = volumes.tree(volume)
        return None if tree is None else _root_in(tree, volume)
    except TreeError as error:
        volumes.note_failure(volume.device, str(error))
        return None


def _root_in(tree: HiveTree, volume: Volume) -> Root | None:
    for prefix in ("", *(f"/{name}" for name in SUBVOLUMES if volume.type == "btrfs")):
        files = Files(tree, prefix)
        if prefix and Files(tree).entry(prefix, follow=False) is None:
            continue
        if volume.type == "ntfs":
            if windows.looks_like_root(files):
                return Root("windows", files, tree, volume, volume.device)
        elif linux.looks_like_root(files):
            return Root("linux", files, tree, volume, volume.device)
    return None


def _placeless(volumes: Volumes) -> bool:
    """Whether something is there that the host could not place, so libguestfs is asked."""
    survey = volumes.survey
    opaque = any(volume.opaque for volume in survey.volumes)
    return bool(volumes.failures) or survey.truncated or opaque


def _inspected(volumes: Volumes) -> tuple[Root, ...]:
    """The systems that libguestfs finds, mounted as it says."""
    try:
        return tuple(_as_inspected(volumes, item) for item in volumes.mounter.inspect())
    except TreeError as error:
        volumes.note_failure("(inspect_os)", str(error))
        return ()


def _as_inspected(volumes: Volumes, item: Mapping[str, Any]) -> Root:
    points = {str(point): str(device) for point, device in item["mountpoints"].items()}
    kinds = item["kinds"]
    device = points.get("/", str(item["root"]))
    tree = volumes.mounted(device, kinds.get(device) or "auto")
    files = Files(tree)
    for point in sorted(set(points) & set(SYSTEM_MOUNTS)):
        other = points[point]
        files.attach(point, volumes.mounted(other, kinds.get(other) or "auto"))
    family: Literal["linux", "windows"] = "windows" if windows.looks_like_root(files) else "linux"
    return Root(family, files, tree, None, device)


def reason_for_none(volumes: Volumes) -> str | None:
    """Why a system may be there although none was found; None: there is certainly none."""
    survey = volumes.survey
    if volumes.failures:
        named = (f"{device} could not be read: {why}" for device, why in volumes.failures.items())
        return "; ".join(named)
    if survey.encrypted:
        return "the system is encrypted"
    unclean = [v for v in survey.volumes if v.mountable and v.clean is False and v.type != "vfat"]
    if unclean:
        listed = ", ".join(
            f"{volume.device} ({volume.type}): {volume.detail}" for volume in unclean
        )
        return f"nothing was found before the replay of a journal; {listed}"
    if survey.incomplete_groups:
        return f"the volume group {', '.join(survey.incomplete_groups)} needs another disk"
    return None
