"""The boot loader's configuration: which kernel starts, with which root.

GRUB 2 writes menu entries into grub.cfg; Fedora's family leaves them to files of the Boot Loader
Specification, with a variable ``kernelopts`` in grubenv; GRUB 1 and extlinux have one file each.
https://uapi-group.org/specifications/specs/boot_loader_specification/
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.guest.tree import Files
from pipeline.text import clean

_GRUB = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/efi/EFI/*/grub.cfg")
_SIMPLE = (
    "/boot/grub/menu.lst",
    "/boot/grub/grub.conf",
    "/boot/extlinux/extlinux.conf",
    "/boot/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
)
_ENTRIES = ("/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries")
_LINES = re.MULTILINE | re.IGNORECASE
_KERNEL_LINE = re.compile(r"^[ \t]*(?:linux(?:16|efi)?|kernel)[ \t]+(\S+)(.*)$", _LINES)
_APPEND = re.compile(r"^[ \t]*append[ \t]+(.*)$", _LINES)
_INITRD = re.compile(r"^[ \t]*initrd(?:16|efi)?[ \t]+(.+)$", _LINES)
_ROOT = re.compile(r"(?:^|\s)root=(\S+)")
_RESCUE = re.compile(r"rescue|recovery|memtest|\bsingle\b", re.IGNORECASE)
CONFIG_LIMIT = 1 << 20  # bytes; many kernels make a long grub.cfg
MAX_ENTRIES = 64


@dataclass(frozen=True)
class Entry:
    """One thing that the boot loader can start."""

    kernel: str  # the kernel's file name, e.g. "vmlinuz-6.1.0-18-amd64"
    command_line: str
    initramfs: str | None  # its file name
    source: str  # the file that says so

    @property
    def root(self) -> str | None:
        """What root= says."""
        match = _ROOT.search(self.command_line)
        return clean(match[1], 200) if match else None

    @property
    def version(self) -> str:
        """The kernel's version as its file name has it."""
        return re.sub(r"^(?:vmlinuz|vmlinux|bzImage|kernel|linux)-?", "", self.kernel)


def entries(files: Files) -> tuple[Entry, ...]:
    """What the boot loader can start, the default first; rescue entries are left out."""
    found: list[Entry] = []
    variables = _grubenv(files)
    wants_bls = False
    for path in _expand(files, _GRUB):
        text = files.text(path, CONFIG_LIMIT) or ""
        wants_bls = wants_bls or re.search(r"^[ \t]*blscfg\b", text, re.MULTILINE) is not None
        found += _kernel_lines(text, path, variables)
    specified = _specified(files, variables)
    found = specified + found if wants_bls or not found else found + specified
    for path in _SIMPLE:
        config = None if found else files.text(path, CONFIG_LIMIT)
        if config:
            apart = _APPEND.search(config) is not None
            found += _appended(config, path) if apart else _kernel_lines(config, path, variables)
    return tuple(found[:MAX_ENTRIES])


def _expand(files: Files, patterns: tuple[str, ...]) -> list[str]:
    found = []
    for pattern in patterns:
        before, star, after = pattern.partition("*")
        if not star:
            found.append(pattern)
            continue
        found += [f"{before}{name}{after}" for name in files.names(before)]
    return found


def _name(path: str) -> str:
    """The file name of ``/boot/vmlinuz-6.1`` or of GRUB's ``($root)/vmlinuz-6.1``."""
    return path.strip("\"'").rsplit("/", 1)[-1]


def _kernel_lines(text: str, path: str, variables: dict[str, str]) -> list[Entry]:
    found = []
    lines = list(_KERNEL_LINE.finditer(text))
    for index, match in enumerate(lines):
        end = lines[index + 1].start() if index + 1 < len(lines) else len(text)
        initrd = _INITRD.search(text, match.end(), end)
        command_line = _substitute(match[2], variables)
        if _RESCUE.search(f"{match[1]} {command_line}"):
            continue
        first = _initramfs(initrd[1]) if initrd else None
        found.append(Entry(_name(match[1]), command_line.strip(), first, path))
    return found


def _initramfs(words: str) -> str:
    """The last of the files on an initrd line: microcode comes before it."""
    return _name(words.split()[-1]) if words.split() else ""


def _appended(text: str, path: str) -> list[Entry]:
    """extlinux: the kernel in one line, its arguments and initrd= in another."""
    kernel = re.search(r"^[ \t]*(?:kernel|linux)[ \t]+(\S+)", text, _LINES)
    append = _APPEND.search(text)
    if kernel is None:
        return []
    words = append[1] if append else ""
    initrd = re.search(r"initrd=(\S+)", words) or _INITRD.search(text)
    return [Entry(_name(kernel[1]), words, _name(initrd[1]) if initrd else None, path)]


def _grubenv(files: Files) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in ("/boot/grub2/grubenv", "/boot/grub/grubenv"):
        for line in (files.text(path, 4096) or "").splitlines():
            key, sign, value = line.partition("=")
            if sign and not line.startswith("#"):
                found[key] = value
    return found


def _substitute(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: variables.get(match[1], match[0]), text)


def _specified(files: Files, variables: dict[str, str]) -> list[Entry]:
    """Entries of the Boot Loader Specification: the saved one first, then the newest version."""
    found = []
    for directory in _ENTRIES:
        for path in list(files.matching(directory, ".conf"))[:MAX_ENTRIES]:
            fields = _fields(files.text(path, 16384) or "")
            if "linux" in fields and not _RESCUE.search(path):
                found.append((path, fields))
    saved = variables.get("saved_entry", "")
    found.sort(
        key=lambda item: (bool(saved) and saved in item[0], version_key(item[0])), reverse=True
    )
    return [
        Entry(
            _name(fields["linux"]),
            _substitute(fields.get("options", ""), variables),
            _initramfs(fields["initrd"]) if "initrd" in fields else None,
            path,
        )
        for path, fields in found
    ]


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key and not key.startswith("#"):
            found[key] = f"{found[key]} {value.strip()}" if key in found else value.strip()
    return found


def version_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts kernel versions as people do: 6.10 after 6.9."""
    return tuple(
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.findall(r"\d{1,18}|[a-z]+", text.lower())
    )
