"""Which kernels a guest has, which of them starts, and the drivers of each.

The boot loader's default entry decides; without one the newest kernel in /boot is taken for it.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any

from pipeline.guest import drivers
from pipeline.guest.answers import Answer, ask, either, unknown
from pipeline.guest.boot import bzimage, uki
from pipeline.guest.boot.entries import Configuration, Entry
from pipeline.guest.boot.located import locate
from pipeline.guest.section import Place
from pipeline.guest.tree import Files
from pipeline.guest.versions import version_key
from pipeline.text import clean

MAX_KERNELS = 16
MAX_READ = 3  # kernels whose initramfs is read; each costs up to half a second


@dataclass(frozen=True)
class Kernel:
    """One kernel."""

    version: str
    initramfs: tuple[str, ...]  # full paths of those that are there
    default: bool
    offset: int = 0  # of the initramfs within its file
    size: int | None = None


@dataclass(frozen=True)
class KernelReport:
    """A kernel as the facts have it: ``section.KernelFacts``."""

    version: str
    initramfs: str | None
    default: bool
    drivers: Answer[dict[str, Place]]


def kernels(files: Files, configuration: Configuration | None) -> tuple[Kernel, ...]:
    """The kernels in /boot and those that entries name, newest first."""
    names = frozenset(files.names("/boot"))
    here = [
        replace(_in_boot(version, names), version=_told(files, f"/boot/{name}", version))
        for name, version in _versions(names)
    ]
    found = {kernel.version: kernel for kernel in here}
    entries = configuration.entries if configuration else ()
    default = configuration.default_entry if configuration else None
    for entry in entries:
        if entry.kernel and (kernel := _of_entry(files, entry, names)):
            found.setdefault(kernel.version, kernel)
            if entry is default:
                found[kernel.version] = replace(kernel, default=True)
    ordered = sorted(found.values(), key=lambda item: version_key(item.version), reverse=True)
    if ordered and not any(kernel.default for kernel in ordered) and default is None:
        ordered[0] = replace(ordered[0], default=True)
    kept = ordered[:MAX_KERNELS]
    return (*kept, *(kernel for kernel in ordered[MAX_KERNELS:] if kernel.default))


def _told(files: Files, path: str, version: str, start: int = 0) -> str:
    """The version by which the kernel's modules go: its file's name's, or else what it says itself."""
    if files.is_directory(f"/lib/modules/{version}"):
        return version
    return bzimage.version(files, path, start) or version


def _versions(names: Set[str]) -> list[tuple[str, str]]:
    """Names of kernels, and the versions in them."""
    return [
        (name, re.sub(r"^(vmlinuz|kernel)-", "", name))
        for name in sorted(names)
        if name.startswith(("vmlinuz-", "kernel-")) and "rescue" not in name
    ]


def _in_boot(version: str, names: Set[str]) -> Kernel:
    known = (
        f"initrd.img-{version}",
        f"initramfs-{version}.img",
        f"initrd-{version}",
        f"initramfs-{version}",
        f"initrd-{version}.img",
    )
    name = next((name for name in known if name in names), None)
    return Kernel(version, (f"/boot/{name}",) if name else (), False)


def _of_entry(files: Files, entry: Entry, names: Set[str]) -> Kernel | None:
    """The kernel that an entry starts; None when its file is not there."""
    path = locate(files, entry.kernel or "")
    if path is None:
        return None
    if entry.unified:
        parts = uki.sections(files, path)
        part, image = parts.get(".initrd"), parts.get(".linux")
        where = (path,) if part else ()
        version = _told(files, path, entry.version, image.offset if image else 0)
        return Kernel(
            version, where, False, part.offset if part else 0, part.size if part else None
        )
    found = files.find(path)  # /vmlinuz is a link to the newest
    resolved = found.guest_path if found else path
    version = replace(entry, kernel=resolved).version
    here = tuple(at for name in entry.initramfs if (at := locate(files, name)) is not None)
    initramfs = here or _in_boot(version, names).initramfs
    return Kernel(_told(files, resolved, version), initramfs, False)


def reports(files: Files, found: tuple[Kernel, ...]) -> tuple[KernelReport, ...]:
    """The drivers of each; for kernels beyond the first few only those that start count."""
    first = [kernel for kernel in found if not kernel.default][: MAX_READ - 1]
    return tuple(_report(files, kernel, kernel.default or kernel in first) for kernel in found)


def _report(files: Files, kernel: Kernel, look: bool) -> KernelReport:
    shown = clean(kernel.initramfs[-1], 200) if kernel.initramfs else None
    version = clean(kernel.version, 100)
    if not look:
        return KernelReport(version, shown, False, Answer(None))
    source = drivers.Source(kernel.version, kernel.initramfs, kernel.offset, kernel.size)
    answer: Answer[Answer[dict[str, Place]]] = ask(lambda: drivers.places(files, source))
    inner = either(answer, Answer(None, answer.reason))
    return KernelReport(version, shown, kernel.default, inner)


def of_default(
    reports: Answer[tuple[KernelReport, ...]],
    found: Answer[Any],
    names: tuple[str, ...] | None,
) -> Answer[dict[str, Any]]:
    """The drivers of the kernel that starts; some of them with the kernel's version among them."""
    if reports.value is None or found.reason:
        return unknown(found.reason or reports.reason or "")
    report = next((item for item in reports.value if item.default), None)
    if report is None:
        return unknown("no kernel was found in /boot")
    places: dict[str, Any] = either(report.drivers, {})
    if names is None:
        return Answer(places or None, report.drivers.reason)
    chosen = {name: place for name, place in places.items() if name in names}
    missing = [name for name in names if name not in places]
    why = f"{', '.join(missing)}: {report.drivers.reason}" if missing else None
    return Answer({**chosen, "kernel": report.version}, clean(why, 300) if why else None)
