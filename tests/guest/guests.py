"""Small guests in memory, read and judged: what a test of verdicts says in one line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from phony import Memory, builder

from pipeline import profile
from pipeline.content.partitions import PartitionTable
from pipeline.guest.facts import collect
from pipeline.guest.section import GuestFacts
from pipeline.guest.survey import Survey, Volume
from pipeline.guest.tree import TreeError
from pipeline.profile import schemas
from tests import samples

trees = builder("guest_trees")
disks = builder("guest_disks")
Link = disks.Link

ROOT = "11111111-2222-4333-8444-555555555555"
BOOT = "22222222-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"
KERNEL = trees.KERNEL
GRUB_CFG = "boot/grub/grub.cfg"
VOLUME = Volume("/dev/sda1", 1 << 20, 20 << 30, "ext4", 1, "12345678-01", ROOT, "root", clean=True)
TABLE = PartitionTable("mbr", boot_code="grub")


@dataclass(frozen=True)
class Disk:
    """Volumes and the trees on them; a tree that is a string cannot be mounted, for that reason."""

    volumes: tuple[Volume, ...]
    trees: tuple[dict[str, Any] | str, ...]
    table: PartitionTable = TABLE

    def mount(self, device: str, kind: str) -> Memory:
        tree = next(
            tree
            for volume, tree in zip(self.volumes, self.trees, strict=True)
            if volume.device == device
        )
        if isinstance(tree, str):
            raise TreeError(tree)
        return Memory(tree)

    def kind(self, device: str) -> str | None:
        return None

    def inspect(self) -> list[Any]:
        return []


def disk(changes: dict[str, Any] | None = None, **volume: Any) -> Disk:
    """The Debian that is as it should be, with some files changed; ``...`` takes one away."""
    tree = {**trees.debian(ROOT), **(changes or {})}
    tree = {name: content for name, content in tree.items() if content is not ...}
    return Disk((replace(VOLUME, **volume),), (tree,))


def facts(guest: Disk | dict[str, Any]) -> GuestFacts:
    """The section, which fits its schema."""
    guest = guest if isinstance(guest, Disk) else disk(guest)
    groups = tuple({volume.group: 1 for volume in guest.volumes if volume.group})
    found = collect(Survey(guest.table, guest.volumes, groups, (), truncated=False), guest)
    assert schemas.problems("facts", {"guest": found}) == []
    return found


PORTABLE = profile.load(str(Path(__file__).with_name("portable.json")))


def findings(guest: Disk | dict[str, Any]) -> set[str]:
    """Every finding of the profile "portable-guest": "rule", or "rule?" where nobody can tell."""
    judgement = profile.judge(PORTABLE, samples.facts() | {"guest": facts(guest)})
    return {f"{item.rule}{'?' * (item.status.value == 'unknown')}" for item in judgement.findings}


__all__ = [
    "BOOT",
    "GRUB_CFG",
    "KERNEL",
    "OTHER",
    "ROOT",
    "Disk",
    "Link",
    "disk",
    "facts",
    "findings",
]
