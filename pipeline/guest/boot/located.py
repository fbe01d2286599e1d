"""Where the files lie that a boot entry names, and which of them are not there.

    /boot/vmlinuz-6.1          on the root file system
    ($root)/vmlinuz-6.1        on a /boot of its own, or on the EFI system partition
    /@/boot/vmlinuz-6.1        in a btrfs subvolume

A boot loader sees file systems without their mount points, so a path is looked for below each of
the places where a boot loader's file system may be mounted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from pipeline.guest import globs
from pipeline.guest.boot.entries import Configuration, Entry
from pipeline.guest.tree import Files, TreeError
from pipeline.guest.volumes import Volumes
from pipeline.text import clean

_PLACES = ("", "/boot", "/boot/efi", "/efi")
_MAX_FILES = 8  # of one entry
_DEVICE = re.compile(r"^\([^)]*\)")


def locate(files: Files, path: str) -> str | None:
    """The path in the guest of a file that a boot loader's configuration names."""
    inside = _DEVICE.sub("", path.strip("\"'"))
    inside = "/" + inside.lstrip("/")
    without = re.sub(r"^/[^/]+(?=/)", "", inside)  # the name of a subvolume
    for candidate in (inside, without) if without != inside else (inside,):
        for place in _PLACES:
            if files.is_file(f"{place}{candidate}"):
                return f"{place}{candidate}"
    return None


def matching(files: Files, pattern: str) -> list[str]:
    """The paths that a pattern (glob(7)) means, sorted; as the boot loader has them."""
    device, inside = _DEVICE.match(pattern), _DEVICE.sub("", pattern)
    for place in _PLACES:
        found = globs.expand(files, f"{place}/{inside.lstrip('/')}")
        if found:
            before = device[0] if device else ""
            return [f"{before}{path[len(place) :]}" for path in found]
    return []


def missing(files: Files, volumes: Volumes, entry: Entry, used: frozenset[str]) -> tuple[str, ...]:
    """The files that an entry names and that lie nowhere on the disk.

    ``used`` are the devices that are mounted in ``files``; the others are looked at as well.
    Raises ``TreeError`` when a volume that may hold them could not be read.
    """
    named = [entry.kernel] if entry.kernel else []
    named += [path for path in entry.initramfs if path != entry.kernel]
    absent = [path for path in named[:_MAX_FILES] if locate(files, path) is None]
    if not absent:
        return ()
    absent = [path for path in absent if not _elsewhere(volumes, path, used)]
    if absent and volumes.failures:
        device, reason = next(iter(volumes.failures.items()))
        raise TreeError(
            f"{clean(absent[0], 120)} may be on {device}, which could not be read: {reason}"
        )
    source = clean(entry.source, 120)
    return tuple(f"{clean(path, 160)} (named in {source})" for path in absent)


def falling_back(
    files: Files, volumes: Volumes, found: Configuration, used: frozenset[str]
) -> Configuration:
    """The configuration with the entry as its default that starts in the end.

    GRUB goes on to its fallback entries when the default's kernel cannot be read; without its initramfs
    a kernel starts nevertheless.  Raises ``TreeError`` when nobody can tell.
    """
    if found.default is None or not found.fallbacks:
        return found
    given_up: list[str] = []
    for index in (found.default, *found.fallbacks):
        entry = found.entries[index]
        absent = missing(files, volumes, replace(entry, initramfs=()), used)
        if entry.kernel and not absent:
            how = found.chosen_by if index == found.default else f"fallback of {found.chosen_by}"
            return replace(found, default=index, chosen_by=how, given_up=tuple(given_up))
        lacks = f"{absent[0]} is not there" if absent else "it starts no kernel"
        given_up.append(f"{clean(entry.title, 100)}: {lacks}")
    return found


def _elsewhere(volumes: Volumes, path: str, used: frozenset[str]) -> bool:
    """Whether a volume that the guest does not mount holds the file."""
    for volume in volumes.survey.volumes:
        if volume.device in used or not volume.mountable:
            continue
        try:
            tree = volumes.tree(volume)
        except TreeError:
            continue
        if tree is not None and locate(Files(tree), path) is not None:
            return True
    return False


def problems_of_others(
    configuration: Configuration, is_by_name: Callable[[str], bool]
) -> tuple[str, ...]:
    """What keeps entries that are not the default from starting elsewhere: device names, lost kernels."""
    found = list(configuration.given_up)
    for index, entry in enumerate(configuration.entries):
        if index != configuration.default and entry.root and is_by_name(entry.root):
            found.append(f"{clean(entry.title, 100)}: root={entry.root}")
    return tuple(found)
