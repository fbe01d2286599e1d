"""The volumes of a disk as handles: who brings their files, each mounted at most once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from pipeline.guest.survey import SWAP, Survey, Volume
from pipeline.guest.tree import Tree, TreeError
from pipeline.text import clean


class HiveTree(Tree, Protocol):
    """A tree that can also read a registry hive; ``HiveTree.hive`` is a ``registry.ReadHive``."""

    def hive(
        self, path: str, wanted: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> Sequence[Mapping[str, Any]]:
        """Values of a hive; see ``registry.ReadHive``."""
        ...


class Mounter(Protocol):
    """What brings a volume's files: ``pipeline.tools.rungs.Ladder``, or one of its rungs."""

    def mount(self, device: str, kind: str) -> HiveTree:
        """The volume's files, read-only.  Raises ``TreeError``."""
        ...

    def kind(self, device: str) -> str | None:
        """The type of a volume that the host could not look into."""
        ...

    def inspect(self) -> Sequence[Mapping[str, Any]]:
        """What libguestfs' own inspection finds: ``root``, ``mountpoints``, ``kinds``."""
        ...


class Volumes:
    """The volumes of one disk.  What could not be mounted is remembered with its reason."""

    def __init__(self, survey: Survey, mounter: Mounter) -> None:
        self.survey = survey
        self.mounter = mounter
        self._trees: dict[str, HiveTree] = {}
        self._failures: dict[str, str] = {}

    @property
    def failures(self) -> Mapping[str, str]:
        """Device and reason of each volume that could not be read."""
        return MappingProxyType(self._failures)

    def note_failure(self, device: str, reason: str) -> None:
        """Remember why a volume could not be read."""
        self._failures.setdefault(device, clean(reason, 300))

    def tree(self, volume: Volume) -> HiveTree | None:
        """The volume's files; None when it holds none.  Raises ``TreeError``."""
        if volume.device in self._failures:
            raise TreeError(self._failures[volume.device])
        try:
            kind = volume.type or self.mounter.kind(volume.device)
            if kind is None or kind == SWAP:
                return None
            return self.mounted(volume.device, kind)
        except TreeError as error:
            self.note_failure(volume.device, str(error))
            raise

    def mounted(self, device: str, kind: str) -> HiveTree:
        """The files on a device of that type, mounted now or before.  Raises ``TreeError``."""
        if device not in self._trees:
            self._trees[device] = self.mounter.mount(device, kind)
        return self._trees[device]
