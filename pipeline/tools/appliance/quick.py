"""Quicker starts of the appliance: an unpacked kernel, a shorter init, or both; each is made once and kept.

    kernel.py ─▶ vmlinux ──────┐
    init.py   ─▶ supermin.d ───┴─▶ environment of libguestfs ─▶ supermin: an appliance of its own in the cache

supermin makes that appliance anew when the machine's packages have changed.  Where one of them fails, a note
beside it says so, and the stock appliance is used from then on.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from pipeline.tools.appliance import init, kernel, probe
from pipeline.tools.appliance.init import QuickInit
from pipeline.tools.appliance.kernel import QuickKernel
from pipeline.tools.appliance.probe import Machine


@dataclass(frozen=True)
class Quick:
    """A way to a quicker start; each way, and each that are used together, has an appliance of its own."""

    shortcuts: tuple[QuickKernel | QuickInit, ...]
    cache: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """For the worker."""
        found: dict[str, str] = {}
        for shortcut in self.shortcuts:
            found |= shortcut.environment
        words = repr(sorted(found.items()))
        directory = self.cache / hashlib.sha256(words.encode()).hexdigest()[:16]
        directory.mkdir(parents=True, exist_ok=True)
        return {**found, "LIBGUESTFS_CACHEDIR": str(directory)}

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
    cache = user_cache_path("imgprep") / "appliance"
    if chosen is None or shutil.disk_usage(_existing(cache)).free < 2 * probe.APPLIANCE_SPACE:
        return None
    stock = next((path for path in here.guestfs if path.is_dir()), None)
    tried = (
        kernel.quick(chosen, here.modules / chosen.name.removeprefix("vmlinuz-"), cache),
        init.quick(stock, cache) if stock is not None and not whole else None,
    )
    shortcuts = tuple(shortcut for shortcut in tried if shortcut is not None)
    return Quick(shortcuts, cache) if shortcuts else None


def _existing(path: Path) -> Path:
    return next(item for item in (path, *path.parents) if item.exists())
