"""What a boot loader can start, whichever loader it is.

Configuration ─┬─ entries in the order of its menu
└─ default: which of them starts when nobody touches a key
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

from pipeline.text import clean

MAX_ENTRIES = 64
CONFIG_LIMIT = 1 << 20  # bytes; many kernels make a long grub.cfg
LONGEST_LINE = 4096  # characters of a kernel command line; Linux takes 2,048
TRIES = re.compile(r"\+(\d{1,8})(?:-\d{1,8})?(?=\.(?:conf|efi)$)", re.IGNORECASE)
"""What systemd-boot counts in an entry's file name: tries left, tries that failed."""
_VERSION = re.compile(r"^(?:vmlinuz|vmlinux|bzImage|Image|kernel|linux)-?")


@dataclass(frozen=True)
class Entry:
    """One thing that the boot loader can start."""

    title: str
    kernel: str | None  # the path as the configuration has it; None: it starts no Linux
    command_line: str = ""
    initramfs: tuple[str, ...] = ()  # paths; microcode comes first
    source: str = ""  # the file that says so
    id: str = ""  # what a default may call it besides its title
    said_version: str | None = None  # the kernel's version where the entry says it
    unified: bool = False  # the kernel's file holds the initramfs too
    doubt: str = ""  # why nobody can tell what it starts

    @property
    def options(self) -> tuple[str, ...]:
        """The command line's words, without their quotes."""
        line = self.command_line[:LONGEST_LINE]
        try:
            return tuple(shlex.split(line))
        except ValueError:
            return tuple(word.strip("\"'") for word in line.split())

    def option(self, name: str) -> tuple[str, ...]:
        """The values that the command line gives an option, in their order."""
        return tuple(word[len(name) + 1 :] for word in self.options if word.startswith(f"{name}="))

    @property
    def root(self) -> str | None:
        """What root= says; the last one counts for the kernel."""
        values = self.option("root")
        return clean(values[-1].replace('="', "=").rstrip('"'), 200) if values else None

    @property
    def version(self) -> str:
        """The kernel's version, as the entry or the file name has it."""
        if self.said_version:
            return self.said_version
        parts = (self.kernel or "").rstrip("/").rsplit("/", 2)
        match parts:
            case [_, version, "linux" | "vmlinuz"] if version[:1].isdigit():
                return version  # kernel-install's way: /MACHINE-ID/VERSION/linux
        return _VERSION.sub("", parts[-1])

    @property
    def rescue(self) -> bool:
        """Whether it is meant for repairs; told by its names, never by its command line."""
        name = (self.kernel or "").rsplit("/", 1)[-1]
        return (
            "-rescue" in name
            or re.search(r"recovery mode|rescue", self.title, re.IGNORECASE) is not None
        )


@dataclass(frozen=True)
class Configuration:
    """A boot loader's configuration."""

    loader: str  # "grub2", "grub-legacy", "extlinux", "systemd-boot", "uki"
    path: str  # of the file that decides
    entries: tuple[Entry, ...] = field(default=())
    default: int | None = None  # index in entries
    chosen_by: str | None = None
    fallbacks: tuple[
        int, ...
    ] = ()  # indexes of what starts when the default's kernel cannot be read
    given_up: tuple[str, ...] = ()  # entries that were tried before the default, and what they lack

    @property
    def default_entry(self) -> Entry | None:
        """What starts when nobody touches a key."""
        return None if self.default is None else self.entries[self.default]

    @property
    def starts_linux(self) -> bool:
        """Whether anything in it is a kernel."""
        return any(entry.kernel for entry in self.entries)
