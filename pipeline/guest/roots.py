"""Finding the systems on a disk: each volume that may hold one is mounted and looked at.

Where the host could not place something (RAID, ZFS, volumes in several pieces that do not come up),
libguestfs' own inspection is asked; it takes 3 to 6 seconds more under TCG.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.guest import linux, windows
from pipeline.guest.section import FIRMWARE, NAMES, HiveTree, Mounter, Root, Section
from pipeline.guest.survey import SWAP, Survey, Volume
from pipeline.guest.tree import Files, TreeError
from pipeline.text import clean

SYSTEM_MOUNTS = ("/boot", "/boot/efi", "/efi", "/usr", "/var", "/home", "/root", "/var/lib")
"""Mount points whose files say something about a guest; others are only listed."""

SUBVOLUMES = ("root", "@", "@rootfs", "@root")
"""Names that installers give the btrfs subvolume with the root file system."""


def find(
    survey: Survey, mounter: Mounter, mounted: dict[str, HiveTree], section: Section
) -> list[Root]:
    """Mount what may hold a system, one after the other; a volume that fails is noted."""
    found = []
    for volume in survey.volumes:
        if volume.esp or not volume.mountable:
            continue
        try:
            kind = volume.type or mounter.kind(volume.device)
            if kind is None or kind == SWAP or kind == "vfat":
                continue
            tree = mounter.mount(volume.device, kind)
            mounted[volume.device] = tree
            root = _root_in(tree, volume)
        except TreeError as error:
            section.unknown[f"volume {volume.device}"] = clean(str(error), 300)
            continue
        if root is not None:
            found.append(root)
    return found


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


def placeless(survey: Survey, section: Section) -> bool:
    """Whether something is there that the host could not place, so libguestfs is asked."""
    failed = any(name.startswith("volume ") for name in section.unknown)
    return failed or survey.truncated or any(volume.opaque for volume in survey.volumes)


def inspected(mounter: Mounter, section: Section) -> list[Root]:
    """The systems that libguestfs finds, mounted as it says."""
    try:
        return [_as_inspected(mounter, item) for item in mounter.inspect()]
    except TreeError as error:
        section.unknown["volume (inspect_os)"] = clean(str(error), 300)
        return []


def _as_inspected(mounter: Mounter, item: Mapping[str, Any]) -> Root:
    points = {str(point): str(device) for point, device in item["mountpoints"].items()}
    kinds = item["kinds"]
    device = points.get("/", str(item["root"]))
    tree = mounter.mount(device, kinds.get(device) or "auto")
    files = Files(tree)
    for point in sorted(set(points) & set(SYSTEM_MOUNTS)):
        files.attach(point, mounter.mount(points[point], kinds.get(points[point]) or "auto"))
    family = "windows" if windows.looks_like_root(files) else "linux"
    return Root(family, files, tree, None, device)


def none_or_several(roots: list[Root], survey: Survey, section: Section) -> None:
    """Say that there are several systems, that there is none, or why nobody can tell."""
    section.facts["systems"] = len(roots)
    if roots:
        reason = f"there are {len(roots)} systems: {', '.join(root.device for root in roots)}"
        for name in NAMES:
            if name not in ("systems", "found_by", *FIRMWARE):
                section.fail(name, reason)
        return
    hidden = [name.removeprefix("volume ") for name in section.unknown]
    if hidden:
        unknown_system(section, f"{', '.join(hidden)} could not be read")
    elif survey.encrypted:
        unknown_system(section, "the system is encrypted")
    elif survey.incomplete_groups:
        names = ", ".join(survey.incomplete_groups)
        unknown_system(section, f"the volume group {names} needs another disk")


def unknown_system(section: Section, reason: str) -> None:
    """Nothing is known about the system, for this reason."""
    for name in NAMES:
        if name not in ("found_by", *FIRMWARE):
            section.fail(name, reason)
