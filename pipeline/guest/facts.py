"""The ``guest`` section of the facts, put together from the host's survey and a guest's files.

    Survey ─▶ candidates ─▶ mount one by one until the roots are known ─▶ /boot, /usr, /var, ESP
                                                                             │
            one subject a file, each by itself: one that fails is unknown ◀──┘

A fact that is not known is None, and ``unknown`` says why; None without a reason: there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.guest import firmware, roots, system
from pipeline.guest.section import NAMES, HiveTree, Mounter, Section
from pipeline.guest.survey import SWAP, Survey, Volume
from pipeline.guest.tree import Files
from pipeline.text import clean


def without_appliance(survey: Survey) -> dict[str, Any] | None:
    """The section, where the bytes alone tell that there is no system to read; else None."""
    if any(volume.mountable or volume.opaque for volume in survey.volumes):
        return None
    section = Section()
    if survey.encrypted:
        roots.unknown_system(section, "the system is encrypted")
    elif survey.truncated or survey.table.problems:
        return None
    else:
        section.facts.update(systems=0, found_by="partition table")
    return _finish(section, survey, {})


def collect(survey: Survey, mounter: Mounter) -> dict[str, Any]:
    """The section.  Raises what ``mounter`` raises besides ``TreeError``: the appliance stopped."""
    section = Section()
    mounted: dict[str, HiveTree] = {}
    found = roots.find(survey, mounter, mounted, section)
    section.facts.setdefault("found_by", "partition table")
    if not found and roots.placeless(survey, section):
        found = roots.inspected(mounter, section)
        section.facts["found_by"] = "inspect_os"
    uses: dict[str, str] = {}
    if len(found) == 1:
        uses = system.collect(found[0], survey, mounter, mounted, section)
    else:
        roots.none_or_several(found, survey, section)
    section.take("efi_loaders", lambda: _loaders(survey, mounter, mounted))
    _firmware(survey, section)
    return _finish(section, survey, uses)


# ---------------------------------------------------------------------------------------- firmware


def _loaders(survey: Survey, mounter: Mounter, mounted: dict[str, HiveTree]) -> list[str]:
    found: list[str] = []
    for volume in survey.volumes:
        if volume.type == "vfat":
            tree = mounted.get(volume.device) or mounter.mount(volume.device, "vfat")
            mounted[volume.device] = tree
            found += firmware.efi_loaders(Files(tree))
    return found


def _firmware(survey: Survey, section: Section) -> None:
    loaders = section.facts.get("efi_loaders")
    if loaders is not None:
        section.facts.update(firmware.facts(survey.table, loaders))
        return
    reason = section.unknown.get("efi_loaders", "the EFI system partition was not looked into")
    for name in ("firmware", "efi_fallback"):
        section.fail(name, reason)


def _finish(section: Section, survey: Survey, uses: Mapping[str, str]) -> dict[str, Any]:
    if "efi_loaders" not in section.facts:
        known = firmware.facts(survey.table, [])
        section.facts.update(known)
        if survey.of_type("vfat"):
            for name in ("firmware", "efi_loaders", "efi_fallback"):
                section.fail(name, "the EFI system partition was not looked into")
    return {
        "status": "done",
        **{name: section.facts.get(name) for name in NAMES},
        "filesystems": [_filesystem(volume, uses) for volume in survey.volumes],
        "encrypted": [f"{volume.device}: {volume.type}" for volume in survey.encrypted],
        "unclean": [
            f"{clean(volume.device, 120)} ({volume.type}): {volume.detail}"
            for volume in survey.volumes
            if volume.clean is False
        ],
        "unknown": section.unknown,
    }


def _filesystem(volume: Volume, uses: Mapping[str, str]) -> dict[str, Any]:
    use = uses.get(volume.device)
    if use is None and volume.type == SWAP:
        use = "swap"
    if use is None and volume.type == "LVM2_member":
        use = "lvm"
    return {
        "device": clean(volume.device, 120),
        "type": volume.type,
        "size": volume.size,
        "uuid": volume.uuid,
        "label": volume.label,
        "use": use or ("esp" if volume.esp else None),
        "clean": volume.clean,
    }
