"""The guest's own mounts: fstab read, and the volumes that it names put into the root's name space.

/          ─ the root's volume
/boot      ─ found on the disk: attached          ─ could not be read, or is on another disk: whoever
/boot/efi                                           asks for a file below it is told so
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.guest import fstab
from pipeline.guest.answers import Answer, ask
from pipeline.guest.fstab import Line
from pipeline.guest.roots import SYSTEM_MOUNTS, Root
from pipeline.guest.survey import SWAP, Survey
from pipeline.guest.tree import TreeError, Unreadable
from pipeline.guest.volumes import Volumes
from pipeline.text import clean

_ESP_PLACES = ("/boot/efi", "/efi")


@dataclass(frozen=True)
class Mounts:
    """What a guest mounts."""

    lines: Answer[tuple[Line, ...]]
    uses: Mapping[str, str] = field(default_factory=dict)  # device: mount point, or "swap"

    @property
    def devices(self) -> frozenset[str]:
        """The volumes whose files the guest sees."""
        return frozenset(device for device, use in self.uses.items() if use.startswith("/"))


@dataclass(frozen=True)
class FstabLine:
    """``section.FstabLineFacts``."""

    spec: str
    mountpoint: str
    type: str
    options: tuple[str, ...]


def attach(root: Root, volumes: Volumes) -> Mounts:
    """Read fstab and attach what it names to the root's files."""
    lines = ask(lambda: fstab.parse(root.files.text("/etc/fstab") or ""))
    uses = {root.device: "/"}
    for line in sorted(lines.value or (), key=lambda line: line.mountpoint.count("/")):
        volume = fstab.find(line.spec, volumes.survey.volumes)
        if volume is not None:
            swap = line.type == SWAP
            uses.setdefault(volume.device, SWAP if swap else clean(line.mountpoint, 120))
        if line.mountpoint in SYSTEM_MOUNTS and line.type != SWAP:
            _attach(root, line, volumes)
    _attach_loose_esp(root, volumes, uses)
    return Mounts(lines, uses)


def _attach(root: Root, line: Line, volumes: Volumes) -> None:
    volume = fstab.find(line.spec, volumes.survey.volumes)
    if volume is None:
        if line.required and fstab.on_disk(line.spec, volumes.survey) is False:
            reason = f"{line.mountpoint} is on {clean(line.spec, 120)}, which is not on this disk"
            root.files.attach(line.mountpoint, Unreadable(reason))
        return
    options = dict(option.partition("=")[::2] for option in line.options)
    prefix = f"/{options['subvol'].strip('/')}" if options.get("subvol") else ""
    try:
        tree = volumes.tree(volume)
    except TreeError as error:
        reason = clean(f"{line.mountpoint} ({volume.device}) could not be read: {error}", 300)
        root.files.attach(line.mountpoint, Unreadable(reason))
        return
    if tree is not None:
        root.files.attach(line.mountpoint, tree, prefix)


def _attach_loose_esp(root: Root, volumes: Volumes, uses: dict[str, str]) -> None:
    """An EFI system partition that fstab does not name: systemd mounts it by its type."""
    if any(use in _ESP_PLACES for use in uses.values()):
        return
    for volume in volumes.survey.volumes:
        if volume.esp and volume.device not in uses and volume.type is not None:
            try:
                tree = volumes.tree(volume)
            except TreeError:
                continue
            if tree is not None:
                root.files.attach("/efi", tree)
                return


def lines_as_facts(lines: tuple[Line, ...]) -> tuple[FstabLine, ...]:
    """The lines as the facts have them."""
    return tuple(
        FstabLine(
            clean(line.spec, 200),
            clean(line.mountpoint, 200),
            clean(line.type, 40),
            tuple(clean(option, 100) for option in line.options),
        )
        for line in lines
    )


def absent(mounts: Mounts, survey: Survey, *, required: bool) -> Answer[tuple[str, ...]]:
    """Lines for what the disk does not hold: those that the start fails for, or only waits for."""
    if mounts.lines.value is None:
        return Answer(None, mounts.lines.reason)
    look = fstab.absent if required else fstab.slow
    found = look(mounts.lines.value, survey)
    return Answer(
        found, None if found is not None else "parts of the disk could not be looked into"
    )
