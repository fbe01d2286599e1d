"""Boot loaders with one plain file: GRUB legacy (menu.lst) and syslinux (extlinux.conf).

    menu.lst        default N, or "saved": N stands in the file "default" beside it
                    title …, kernel PATH OPTIONS, initrd PATH
    extlinux.conf   DEFAULT LABEL; LABEL x, KERNEL PATH or LINUX PATH, APPEND OPTIONS, INITRD PATH,…
                    before the first LABEL, APPEND holds for all; INCLUDE reads another file;
                    a path without / at its start counts from the file's directory

https://www.gnu.org/software/grub/manual/legacy/grub.html; https://wiki.syslinux.org/wiki/index.php?title=Config
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from pipeline.guest.boot.entries import CONFIG_LIMIT, MAX_ENTRIES, Configuration, Entry
from pipeline.guest.boot.located import locate
from pipeline.guest.tree import Files
from pipeline.text import clean

_LEGACY = ("/boot/grub/menu.lst", "/boot/grub/grub.conf", "/grub/menu.lst")
_SYSLINUX = (
    "/boot/extlinux/extlinux.conf",
    "/boot/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/boot/syslinux/extlinux.conf",
    "/extlinux.conf",
    "/boot/efi/EFI/syslinux/syslinux.cfg",
    "/efi/EFI/syslinux/syslinux.cfg",
    "/boot/EFI/syslinux/syslinux.cfg",
)
_MAX_INCLUDES = 16
_Lines = list[tuple[str, str]]  # lower-case word, the rest of its line


def configurations(files: Files) -> list[Configuration]:
    """Those that are there."""
    places: list[tuple[str, Callable[[Files, str, str], Configuration]]] = [
        *((path, _legacy) for path in _LEGACY),
        *((path, _syslinux) for path in _SYSLINUX),
    ]
    found = []
    for path, read in places:
        text = files.text(path, CONFIG_LIMIT)
        if text is not None:
            found.append(read(files, text, path))
    return found


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.replace("\\\n", " ").splitlines():
        key, *value = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        if key and not key.startswith("#"):
            yield key.lower(), "".join(value)


def _legacy(files: Files, text: str, path: str) -> Configuration:
    default, groups = "0", list[_Lines]()
    for word, rest in _lines(text):
        if word == "title":
            groups.append([(word, rest)])
        elif groups:
            groups[-1].append((word, rest))
        elif word == "default":
            default = rest.strip()
    if default == "saved":
        default = _saved(files, path)
    entries = [_legacy_entry(group, path) for group in groups[:MAX_ENTRIES]]
    if not entries:
        return Configuration("grub-legacy", path)
    if default.isdigit() and int(default[:6]) < len(entries):
        return Configuration(
            "grub-legacy", path, tuple(entries), int(default[:6]), f"default {default}"
        )
    how = clean(f"default {default} names no entry, so the first one", 200)
    return Configuration("grub-legacy", path, tuple(entries), 0, how)


def _saved(files: Files, path: str) -> str:
    """The number that "savedefault" left; 0 where it never did."""
    words = (files.text(f"{path.rpartition('/')[0]}/default", 4096) or "").split()
    return words[0] if words and words[0].isdigit() else "0"


def _legacy_entry(group: _Lines, path: str) -> Entry:
    fields = dict(reversed(group))  # the first of each word counts
    kernel, options = _program(fields.get("kernel", ""))
    if re.search(r"/xen[^/]*\.gz$", kernel) and "module" in fields:
        kernel, options = _program(fields["module"])
    initramfs = tuple(fields.get("initrd", "").split()[:1])
    return Entry(clean(fields["title"], 200), kernel or None, options, initramfs, path)


def _program(line: str) -> tuple[str, str]:
    """Path and options of ``kernel --type=linux PATH OPTIONS``."""
    words = line.split()
    while words and words[0].startswith("--"):
        words.pop(0)
    return (words[0] if words else ""), " ".join(words[1:])


def _syslinux(files: Files, text: str, path: str) -> Configuration:
    default, marked, common, groups = "", "", "", list[_Lines]()
    for word, rest in _with_includes(files, text, path, iter(range(_MAX_INCLUDES))):
        if word == "label":
            groups.append([(word, rest)])
        elif word in ("default", "ontimeout") and not re.search(r"\.c32\b", rest):
            default = rest.strip()
        elif word == "menu" and rest.lower().strip() == "default" and groups:
            marked = groups[-1][0][1]
        elif groups:
            groups[-1].append((word, rest))
        elif word == "append":
            common = rest
    entries = [_syslinux_entry(group, common, path) for group in groups[:MAX_ENTRIES]]
    wanted, _, added = (marked or default).partition(" ")
    for index, entry in enumerate(entries):
        if wanted and entry.id.lower() == wanted.lower():
            entries[index] = replace(entry, command_line=f"{entry.command_line} {added}".strip())
            how = clean(f"default {wanted}", 200)
            return Configuration("extlinux", path, tuple(entries), index, how)
    if "/" in wanted or (wanted and not entries):  # it may name a kernel instead of a label
        group = [("label", wanted), ("kernel", wanted), ("append", f"{common} {added}")]
        entries.append(_syslinux_entry(group, "", path))
        how = clean(f"default {wanted}", 200)
        return Configuration("extlinux", path, tuple(entries), len(entries) - 1, how)
    if not entries:
        return Configuration("extlinux", path)
    return Configuration("extlinux", path, tuple(entries), 0, "the first entry")


def _with_includes(
    files: Files, text: str, path: str, allowed: Iterator[int]
) -> Iterator[tuple[str, str]]:
    for word, rest in _lines(text):
        menu = re.fullmatch(r"include\s+(\S+).*", rest, re.IGNORECASE) if word == "menu" else None
        if word != "include" and menu is None:
            yield word, rest
            continue
        name = menu[1] if menu else rest.split()[0] if rest.split() else ""
        another = next(allowed, None) is not None
        other = locate(files, _beside(name, path)) if another else None
        inner = files.text(other, CONFIG_LIMIT) if other else None
        if other and inner is not None:
            yield from _with_includes(files, inner, path, allowed)


def _beside(name: str, path: str) -> str:
    """A path as the loader takes it: from the directory of its configuration."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), name))


def _syslinux_entry(group: _Lines, common: str, path: str) -> Entry:
    fields = dict(group)  # the last of each word counts
    kernel = (fields.get("linux") or fields.get("kernel") or "").strip()
    options = fields.get("append", common).strip()
    options = "" if options == "-" else options
    named = re.search(r"(?:^|\s)initrd=(\S+)", options)
    initramfs = fields.get("initrd", "").strip() or (named[1] if named else "")
    is_kernel = kernel and not re.search(r"\.(?:c32|com|bin|bss|img)$", kernel)
    return Entry(
        clean(fields["label"], 200),
        _beside(kernel, path) if is_kernel else None,
        options,
        tuple(_beside(name, path) for name in initramfs.split(",")) if initramfs else (),
        path,
        fields["label"].strip(),
    )
