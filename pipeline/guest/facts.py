"""The ``guest`` section of the facts, put together from the host's survey and a guest's files.

    Survey ─▶ candidates ─▶ mount one by one until the roots are known ─▶ /boot, /usr, /var, ESP
                                                                             │
      frozen records, one a subject; each question that fails is unknown ◀──┘
      records ─▶ unfold ─▶ GuestFacts

A fact that is not known is None, and ``unknown`` says why; None without a reason: there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pipeline.content.filesystems import MOUNTABLE
from pipeline.guest import databases, firmware, mounts, roots, system, windows
from pipeline.guest.answers import Answer, ask, unfold, unknown
from pipeline.guest.firmware import Firmware
from pipeline.guest.mounts import Mounts
from pipeline.guest.roots import Root, Systems
from pipeline.guest.section import GuestFacts
from pipeline.guest.survey import SWAP, Survey, Volume
from pipeline.guest.tree import Files
from pipeline.guest.volumes import Mounter, Volumes
from pipeline.text import clean

NAMES = tuple(name for name in GuestFacts.__annotations__ if name != "appliance")
"""The facts of every guest that was read; ``appliance`` is said by who ran it."""

_OF_THE_DISK = ("status", "filesystems", "encrypted", "unclean", "before_replay", "unknown",
                "found_by", "systems", "swap_partitions", *Firmware.__dataclass_fields__)  # fmt: skip
SYSTEM_FACTS = tuple(name for name in NAMES if name not in _OF_THE_DISK)
"""The facts that only a system has."""


def without_appliance(survey: Survey) -> GuestFacts | None:
    """The section, where the bytes alone tell that there is no system to read; else None."""
    if any(volume.mountable or volume.opaque for volume in survey.volumes):
        return None
    if not survey.encrypted and (survey.truncated or survey.table.problems):
        return None
    known: dict[str, Any] = {"systems": 0, "found_by": "partition table"}
    if survey.encrypted:
        known = _unknown_system("the system is encrypted")
    return _section(survey, known, {}, _firmware_unread(survey))


def collect(survey: Survey, mounter: Mounter) -> GuestFacts:
    """The section.  Raises what ``mounter`` raises besides ``TreeError``: the appliance stopped."""
    volumes = Volumes(survey, mounter)
    found = roots.find(volumes)
    uses: Mapping[str, str] = {}
    if len(found.roots) == 1:
        root = found.roots[0]
        known, uses = _windows(root, survey) if root.os == "windows" else _linux(root, volumes)
    else:
        known = _none_or_several(found, volumes)
    known["found_by"] = found.found_by
    section = _section(survey, known, uses, _firmware(volumes))
    failures = {f"volume {device}": reason for device, reason in volumes.failures.items()}
    section["unknown"] = {**section["unknown"], **failures}
    return section


def credited(section: GuestFacts, survey: Survey, rungs: Mapping[str, Sequence[str]]) -> GuestFacts:
    """The section with who read each volume (``rungs``, by device), and so who found the system."""
    volumes: list[dict[str, Any]] = [
        {**entry, "read_by": list(rungs.get(volume.device, ()))}
        for entry, volume in zip(section["filesystems"] or (), survey.volumes, strict=True)
    ]
    roots = [entry["read_by"] for entry in volumes if entry["use"] in ("/", "C:")]
    found_by = section["found_by"]
    if found_by != "inspect_os":
        readers = roots[0] if roots else sorted({rung for used in rungs.values() for rung in used})
        found_by = readers[0] if readers else None
    return cast(GuestFacts, {**section, "filesystems": volumes, "found_by": found_by})


# ---------------------------------------------------------------------------------------- the system


def _linux(root: Root, volumes: Volumes) -> tuple[dict[str, Any], Mapping[str, str]]:
    mounted: Mounts = mounts.attach(root, volumes)
    found = system.read(root, volumes, mounted)
    free = ask(lambda: int(root.tree.free()["free"]))
    return {"systems": 1, "os": "linux", "root_free": free, **found.facts()}, mounted.uses


def _windows(root: Root, survey: Survey) -> tuple[dict[str, Any], Mapping[str, str]]:
    found = ask(lambda: windows.facts(root.files, root.tree.hive))
    seen = found.value
    of_disk = {
        "bitlocker": tuple(volume.device for volume in survey.of_type("BitLocker")),
        "dynamic_disk": survey.dynamic,
    }
    plain = None if seen is None else {**unfold(seen)[0], **of_disk}
    known = {
        "systems": 1,
        "os": "windows",
        "distro": "windows",
        "root_free": ask(lambda: int(root.tree.free()["free"])),
        "windows": Answer(plain, found.reason),
        "databases": ask(lambda: databases.windows(root.files)),
        "agents": Answer(seen.agents if seen else None, found.reason),
    }
    for name in ("product_name", "version", "arch"):
        known[name] = Answer(getattr(seen, name, None), found.reason)
    return known, {root.device: "C:"}


def _none_or_several(found: Systems, volumes: Volumes) -> dict[str, Any]:
    """That there are several systems, that there is none, or why nobody can tell."""
    if found.roots:
        devices = ", ".join(root.device for root in found.roots)
        reason = f"there are {len(found.roots)} systems: {devices}"
        return {**_unknown_system(reason), "systems": len(found.roots)}
    why = roots.reason_for_none(volumes)
    return {"systems": 0} if why is None else _unknown_system(why)


def _unknown_system(reason: str) -> dict[str, Any]:
    """Nothing is known about the system, for this reason."""
    return {name: unknown(reason) for name in (*SYSTEM_FACTS, "systems")}


# ---------------------------------------------------------------------------------------- the disk


def _firmware(volumes: Volumes) -> Answer[Firmware]:
    survey = volumes.survey
    loaders = ask(lambda: _loaders(volumes))
    if loaders.value is None:
        return unknown(loaders.reason or "")
    return Answer(firmware.facts(survey.table, loaders.value))


def _loaders(volumes: Volumes) -> list[str]:
    found: list[str] = []
    for volume in volumes.survey.volumes:
        if volume.type == "vfat" and (tree := volumes.tree(volume)) is not None:
            found += firmware.efi_loaders(Files(tree))
    return found


def _firmware_unread(survey: Survey) -> Answer[Firmware]:
    if survey.of_type("vfat"):
        return unknown("the EFI system partition was not looked into")
    return Answer(firmware.facts(survey.table, []))


def _section(
    survey: Survey, known: Mapping[str, Any], uses: Mapping[str, str], start: Answer[Firmware]
) -> GuestFacts:
    facts: dict[str, Any] = dict.fromkeys(NAMES)
    facts |= {name: _of_firmware(start, name) for name in Firmware.__dataclass_fields__}
    facts["boot_code"] = survey.table.boot_code
    facts |= {
        "filesystems": [_filesystem(volume, uses) for volume in survey.volumes],
        "encrypted": [f"{volume.device}: {volume.type}" for volume in survey.encrypted],
        "unclean": _unclean(survey),
        "before_replay": [
            clean(volume.device, 120)
            for volume in survey.volumes
            if volume.clean is False and uses.get(volume.device, "").startswith("/")
        ],
        "swap_partitions": [clean(volume.device, 120) for volume in survey.of_type(SWAP)],
    }
    plain, reasons = unfold({**facts, **known})
    return cast(GuestFacts, {**plain, "status": "done", "unknown": reasons})


def _of_firmware(start: Answer[Firmware], name: str) -> Answer[Any]:
    return Answer(getattr(start.value, name, None), start.reason)


def _unclean(survey: Survey) -> Answer[tuple[str, ...]]:
    """Volumes that were in use; unknown while a file system does not tell."""
    found = tuple(
        f"{clean(volume.device, 120)} ({volume.type}): {volume.detail}"
        for volume in survey.volumes
        if volume.clean is False
    )
    silent = [
        clean(f"{volume.device} ({volume.type})", 120)
        for volume in survey.volumes
        if volume.clean is None and volume.type in MOUNTABLE
    ]
    if found or not silent:
        return Answer(found)
    return Answer((), f"nobody can tell whether {', '.join(silent)} was unmounted")


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
