"""The ladder that a guest's files are read by: the direct reader first, the appliance for what it cannot.

    question ─▶ direct reader ─ cannot tell ─▶ appliance (launched when first needed) ─ failed ─▶ unknown

A volume that the appliance answered for once is asked there from then on, so that its facts are of one
mind.  An appliance that did not start is not tried again.  Threads may ask at once: they are answered one
after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pipeline.errors import ToolError
from pipeline.guest.survey import Survey, Volume
from pipeline.guest.tree import Entry, TreeError
from pipeline.guest.volumes import HiveTree
from pipeline.text import clean
from pipeline.tools.reader.child import UnableError
from pipeline.tools.reader.client import DirectReader

if TYPE_CHECKING:
    from pipeline.tools.appliance.launch import Appliance

T = TypeVar("T")
Launch: TypeAlias = "Callable[[], Appliance]"


class Ladder:
    """``pipeline.guest.volumes.Mounter`` over both ways to read a guest."""

    def __init__(self, survey: Survey, direct: DirectReader | None, launch: Launch | None) -> None:
        """None: that way must not be used."""
        self._volumes = {volume.device: volume for volume in survey.volumes}
        self._direct = direct
        self._launch = launch
        self._appliance: Appliance | None = None
        self.turn = threading.RLock()  # of who asks
        self.failure: ToolError | None = None  # why the appliance did not start, or stopped
        self.rungs: dict[str, list[str]] = {}  # who answered for each device

    def mount(self, device: str, kind: str) -> HiveTree:
        """The files of a volume, by whoever can read them."""
        volume = self._volumes.get(device)
        tree = LadderTree(self, device, kind, volume)
        tree.open(self._direct)
        return tree

    def kind(self, device: str) -> str | None:
        """The type of a volume that the host could not look into."""
        return self.by_appliance("", lambda appliance: appliance.kind(device))

    def inspect(self) -> Sequence[Mapping[str, Any]]:
        """What libguestfs' own inspection finds."""
        return self.by_appliance("", lambda appliance: appliance.inspect())

    def by_appliance(self, why: str, ask: Callable[[Appliance], T]) -> T:
        """Ask the appliance.  Raises ``TreeError`` when there is none; ``why`` it was needed."""
        before = f"{why}; " if why else ""
        if self._launch is None:
            raise TreeError(why or "only the appliance can tell, and it was not to be used")
        if self.failure is not None:
            raise TreeError(f"{before}the appliance failed: {clean(self.failure.message, 200)}")
        try:
            if self._appliance is None:
                self._appliance = self._launch()
            return ask(self._appliance)
        except ToolError as error:
            self.failure = error
            raise TreeError(f"{before}the appliance failed: {clean(error.message, 200)}") from error

    def credit(self, device: str, rung: str) -> None:
        """Note who answered for a device."""
        rungs = self.rungs.setdefault(device, [])
        if rung not in rungs:
            rungs.append(rung)


class LadderTree:
    """One volume's files; ``pipeline.guest.volumes.HiveTree``."""

    def __init__(self, ladder: Ladder, device: str, kind: str, volume: Volume | None) -> None:
        self._ladder = ladder
        self._device = device
        self._kind = kind
        self._volume = volume
        self._direct: HiveTree | None = None
        self._appliance: HiveTree | None = None

    def open(self, direct: DirectReader | None) -> None:
        """Mount it, by the first rung that can."""
        why = ""
        if direct is not None and self._volume is not None:
            try:
                self._direct = direct.mount(self._volume)
            except UnableError as error:
                why = str(error)
            else:
                self._ladder.credit(self._device, "direct")
                return
        self._mounted(why)

    def stat(self, directory: str, names: Sequence[str]) -> list[Entry | None]:
        """What each name is."""
        return self._ask(lambda tree: tree.stat(directory, names))

    def names(self, directory: str) -> list[str]:
        """The names in a directory."""
        return self._ask(lambda tree: tree.names(directory))

    def readlink(self, path: str) -> str:
        """Where a link points to."""
        return self._ask(lambda tree: tree.readlink(path))

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a regular file."""
        return self._ask(lambda tree: tree.read(path, offset, length))

    def free(self) -> Mapping[str, int]:
        """Free bytes and inodes."""
        return self._ask(lambda tree: tree.free())

    def hive(
        self, path: str, wanted: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> Sequence[Mapping[str, Any]]:
        """Values of a registry hive."""
        return self._ask(lambda tree: tree.hive(path, wanted))

    def _ask(self, ask: Callable[[HiveTree], T]) -> T:
        with self._ladder.turn:
            return self._answer(ask)

    def _answer(self, ask: Callable[[HiveTree], T]) -> T:
        why = ""
        if self._appliance is None and self._direct is not None:
            try:
                return ask(self._direct)
            except UnableError as error:
                why = str(error)
        mounted = self._mounted(why)
        return self._ladder.by_appliance(why, lambda _appliance: ask(mounted))

    def _mounted(self, why: str) -> HiveTree:
        if self._appliance is None:
            self._appliance = self._ladder.by_appliance(
                why, lambda appliance: appliance.mount(self._device, self._kind)
            )
            self._ladder.credit(self._device, "appliance")
        return self._appliance
