"""Quicker starts of the appliance: an unpacked kernel, a shorter init, or both; each is made once and kept.

    kernel.py ─▶ vmlinux ──────┐
    init.py   ─▶ supermin.d ───┴─▶ environment of libguestfs ─▶ supermin: an appliance of its own in the cache

supermin makes that appliance anew when the machine's packages have changed.  Where one of them fails, a note
beside it says so, and the stock appliance is used from then on.  ``cache.py`` says what is kept how long.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.tools.appliance import cache as kept
from pipeline.tools.appliance import init, kernel, probe
from pipeline.tools.appliance.init import QuickInit
from pipeline.tools.appliance.kernel import QuickKernel
from pipeline.tools.appliance.probe import Machine


@dataclass(frozen=True)
class Quick:
    """A way to a quicker start; each way, and each that are used together, has an appliance of its own."""

    shortcuts: tuple[QuickKernel | QuickInit, ...]
    cache: Path
    others: frozenset[Path] = field(default=frozenset(), compare=False)
    """What other ways use on this machine."""

    @property
    def directory(self) -> Path:
        """Where supermin makes its appliance."""
        words = repr(sorted(self._shortcuts_environment.items()))
        return self.cache / hashlib.sha256(words.encode()).hexdigest()[:16]

    @property
    def directories(self) -> frozenset[Path]:
        """All that it uses."""
        return frozenset({self.directory, *(way.directory for way in self.shortcuts)})

    @property
    def built(self) -> bool:
        """Whether there is an appliance of this kind already."""
        return any(self.directory.glob(".guestfs-*/appliance.d/root"))

    @property
    def _shortcuts_environment(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for shortcut in self.shortcuts:
            found |= shortcut.environment
        return found

    @property
    def environment(self) -> Mapping[str, str]:
        """For the worker."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return {**self._shortcuts_environment, "LIBGUESTFS_CACHEDIR": str(self.directory)}

    def remove_older(self) -> None:
        """Remove what was made of other packages and is not in use."""
        kept.sweep(self.cache, self.directories | self.others)

    def give_up(self) -> None:
        """Note that they do not work here."""
        for shortcut in self.shortcuts:
            shortcut.give_up()


def quick(machine: Machine | None = None, *, whole: bool = False) -> Quick | None:
    """How the appliance starts sooner than the stock one; None where the user chose one, or there is no room.

    ``whole``: with all that the stock one looks for: MD arrays, Windows dynamic disks.
    """
    here = machine or Machine()
    if probe.chosen_by_user(here):
        return None
    chosen = probe.chosen_kernel(here)
    cache = kept.place()
    if chosen is None or shutil.disk_usage(_existing(cache)).free < 2 * probe.APPLIANCE_SPACE:
        return None
    stock = next((path for path in here.guestfs if path.is_dir()), None)
    unpacked = kernel.quick(chosen, here.modules / chosen.name.removeprefix("vmlinuz-"), cache)
    short = init.quick(stock, cache) if stock is not None else None
    wholly, otherwise = _ways((unpacked,), cache), _ways((unpacked, short), cache)
    used = {path for way in (wholly, otherwise) if way is not None for path in way.directories}
    way = wholly if whole else otherwise
    return None if way is None else Quick(way.shortcuts, cache, frozenset(used))


def _ways(tried: tuple[QuickKernel | QuickInit | None, ...], cache: Path) -> Quick | None:
    shortcuts = tuple(shortcut for shortcut in tried if shortcut is not None)
    return Quick(shortcuts, cache) if shortcuts else None


def _existing(path: Path) -> Path:
    return next(item for item in (path, *path.parents) if item.exists())
