"""The parts from which the ``guest`` section is made: what asks, what answers, what is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pipeline.guest.survey import Volume
from pipeline.guest.tree import Files, Tree, TreeError
from pipeline.text import clean

T = TypeVar("T")

FIRMWARE = ("firmware", "boot_code", "efi_loaders", "efi_fallback")
"""Facts that are known without a system having been found."""

NAMES = (
    *("os", "distro", "version", "arch", "product_name", "systems", "found_by"),
    *FIRMWARE,
    *("fstab", "fstab_by_name", "fstab_absent", "boot_root", "command_line", "kernels"),
    *("xen_drivers", "cloud_init", "ssh", "machine_id", "sudo_users", "network", "databases"),
    *("lvm", "root_free", "windows"),
)
"""Every fact of the section besides those of the survey."""


class HiveTree(Tree, Protocol):
    """A tree that can also read a registry hive; ``HiveTree.hive`` is a ``windows.ReadHive``."""

    def hive(
        self, path: str, wanted: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> Sequence[Mapping[str, Any]]:
        """Values of a hive; see ``windows.ReadHive``."""
        ...


class Mounter(Protocol):
    """What brings a volume's files: ``pipeline.tools.appliance.launch.Appliance``."""

    def mount(self, device: str, kind: str) -> HiveTree:
        """The volume's files, read-only.  Raises ``TreeError``."""
        ...

    def kind(self, device: str) -> str | None:
        """The type of a volume that the host could not look into."""
        ...

    def inspect(self) -> Sequence[Mapping[str, Any]]:
        """What libguestfs' own inspection finds: ``root``, ``mountpoints``, ``kinds``."""
        ...


@dataclass
class Section:
    """The section while it is being made."""

    facts: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, ask: Callable[[], T]) -> T | None:
        """Ask for one fact; when that fails it is unknown, and None."""
        value = self.attempt(name, ask)
        self.facts[name] = value
        return value

    def attempt(self, name: str, ask: Callable[[], T]) -> T | None:
        """The same for what is no fact by itself; ``unknown`` then has ``name``."""
        try:
            return ask()
        except TreeError as error:
            self.unknown[name] = clean(str(error), 300)
            return None

    def fail(self, name: str, reason: str) -> None:
        """Note that a fact is not known."""
        self.unknown[name] = clean(reason, 300)
        self.facts[name] = None


@dataclass(frozen=True)
class Root:
    """A system's root file system."""

    os: str
    files: Files
    tree: HiveTree
    volume: Volume | None
    device: str
