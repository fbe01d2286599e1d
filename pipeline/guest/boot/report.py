"""What the facts say of the boot loader: its entries, which of them starts, and what that one lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.guest import fstab, settings
from pipeline.guest.answers import Answer, ask, unknown
from pipeline.guest.boot import located
from pipeline.guest.boot.entries import Configuration, Entry
from pipeline.guest.mounts import Mounts
from pipeline.guest.packages import Packages
from pipeline.guest.survey import Survey
from pipeline.guest.tree import Files
from pipeline.guest.volumes import Volumes
from pipeline.text import clean

NO_CONFIGURATION = "no boot loader configuration was found"


@dataclass(frozen=True)
class BootEntryReport:
    """``section.BootEntryFacts``."""

    title: str
    kernel: str | None
    initramfs: tuple[str, ...]
    root: str | None
    source: str


@dataclass(frozen=True)
class BootReport:
    """``section.BootFacts``."""

    loader: str | None
    config: str | None
    version: Answer[str]
    entries: tuple[BootEntryReport, ...]
    default: int | None
    chosen_by: str | None
    missing: Answer[tuple[str, ...]]
    other_problems: tuple[str, ...]
    root_on_disk: Answer[bool]
    consoles: tuple[str, ...]
    graphical: bool
    net_ifnames: bool


_NO_BOOT = BootReport(
    loader=None,
    config=None,
    version=Answer(None),
    entries=(),
    default=None,
    chosen_by=None,
    missing=Answer(()),
    other_problems=(),
    root_on_disk=Answer(None),
    consoles=(),
    graphical=False,
    net_ifnames=True,
)


def starting(
    configuration: Answer[Configuration], files: Files, volumes: Volumes, mounted: Mounts
) -> Answer[Configuration]:
    """The configuration with what starts in the end as its default; as it stands, where nobody can tell."""
    found = configuration.value
    if found is None:
        return configuration
    told = ask(lambda: located.falling_back(files, volumes, found, mounted.devices))
    return configuration if told.value is None else told


def of_default(configuration: Answer[Configuration], question: Any) -> Answer[str]:
    """Something of the default entry; unknown when there is no entry to ask."""
    if configuration.value is None:
        return unknown(configuration.reason or NO_CONFIGURATION)
    entry = configuration.value.default_entry
    if entry is None or entry.kernel is None:
        return unknown(f"{configuration.value.path} starts no Linux kernel by itself")
    return Answer(question(entry))


def report(
    files: Files,
    volumes: Volumes,
    mounted: Mounts,
    configuration: Answer[Configuration],
    known: Packages | None,
) -> Answer[BootReport]:
    """The boot loader as the facts have it; ``known`` are the installed packages."""
    if configuration.reason is not None:
        return unknown(configuration.reason)
    found = configuration.value
    if found is None:
        why = _why_none(volumes)
        if why is not None:
            return unknown(why)
        return Answer(_NO_BOOT)
    entry = found.default_entry or Entry("", None)
    return Answer(
        BootReport(
            found.loader,
            clean(found.path, 200),
            ask(lambda: settings.loader_version(files, found.loader, known)),
            tuple(_entry(each) for each in found.entries),
            found.default,
            found.chosen_by,
            ask(lambda: located.missing(files, volumes, entry, mounted.devices)),
            located.problems_of_others(found, fstab.is_by_name),
            _root_on_disk(entry, volumes.survey),
            tuple(clean(value, 60) for value in entry.option("console")[:8]),
            not {"rhgb", "splash"}.isdisjoint(entry.options),
            "net.ifnames=0" not in entry.options,
        )
    )


def _why_none(volumes: Volumes) -> str | None:
    """Why a configuration may be there although none was found."""
    if volumes.failures:
        device, reason = next(iter(volumes.failures.items()))
        return f"{NO_CONFIGURATION}, and {device} could not be read: {reason}"
    return None


def _entry(entry: Entry) -> BootEntryReport:
    return BootEntryReport(
        entry.title,
        clean(entry.kernel, 200) if entry.kernel else None,
        tuple(clean(path, 200) for path in entry.initramfs[:8]),
        entry.root,
        clean(entry.source, 200),
    )


def _root_on_disk(entry: Entry, survey: Survey) -> Answer[bool]:
    if entry.root is None:
        return Answer(None)
    found = fstab.on_disk(entry.root, survey)
    if found is False and fstab.hides_something(survey):
        return unknown("parts of the disk could not be looked into")
    if fstab.is_by_name(entry.root):
        return Answer(None)  # that it is a name is said by itself
    return Answer(found)
