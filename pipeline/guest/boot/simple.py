"""Boot loaders with one plain file: GRUB legacy (menu.lst) and syslinux (extlinux.conf).

    menu.lst        default N; title …, kernel PATH OPTIONS, initrd PATH
    extlinux.conf   DEFAULT LABEL; LABEL x, KERNEL PATH or LINUX PATH, APPEND OPTIONS, INITRD PATH,…

https://www.gnu.org/software/grub/manual/legacy/grub.html; https://wiki.syslinux.org/wiki/index.php?title=Config
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pipeline.guest.boot.entries import CONFIG_LIMIT, MAX_ENTRIES, Configuration, Entry
from pipeline.guest.tree import Files
from pipeline.text import clean

_LEGACY = ("/boot/grub/menu.lst", "/boot/grub/grub.conf", "/grub/menu.lst")
_SYSLINUX = (
    "/boot/extlinux/extlinux.conf",
    "/boot/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/boot/syslinux/extlinux.conf",
    "/extlinux.conf",
)
_Lines = list[tuple[str, str]]  # lower-case word, the rest of its line


def configurations(files: Files) -> list[Configuration]:
    """Those that are there."""
    places: list[tuple[str, Callable[[str, str], Configuration]]] = [
        *((path, _legacy) for path in _LEGACY),
        *((path, _syslinux) for path in _SYSLINUX),
    ]
    found = []
    for path, read in places:
        text = files.text(path, CONFIG_LIMIT)
        if text is not None:
            found.append(read(text, path))
    return found


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.replace("\\\n", " ").splitlines():
        parts = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        if parts[0] and not parts[0].startswith("#"):
            yield parts[0].lower(), parts[1] if len(parts) > 1 else ""


def _legacy(text: str, path: str) -> Configuration:
    default, groups = "0", list[_Lines]()
    for word, rest in _lines(text):
        if word == "title":
            groups.append([(word, rest)])
        elif groups:
            groups[-1].append((word, rest))
        elif word == "default":
            default = rest.strip()
    entries = [_legacy_entry(group, path) for group in groups[:MAX_ENTRIES]]
    if not entries:
        return Configuration("grub-legacy", path)
    if default.isdigit() and int(default[:6]) < len(entries):
        return Configuration(
            "grub-legacy", path, tuple(entries), int(default[:6]), f"default {default}"
        )
    how = clean(f"default {default} names no entry, so the first one", 200)
    return Configuration("grub-legacy", path, tuple(entries), 0, how)


def _legacy_entry(group: _Lines, path: str) -> Entry:
    fields = dict(reversed(group))  # the first of each word counts
    kernel, _, options = fields.get("kernel", "").partition(" ")
    if re.search(r"/xen[^/]*\.gz$", kernel) and "module" in fields:
        kernel, _, options = fields["module"].partition(" ")
    initramfs = tuple(fields.get("initrd", "").split()[:1])
    return Entry(clean(fields["title"], 200), kernel or None, options.strip(), initramfs, path)


def _syslinux(text: str, path: str) -> Configuration:
    default, marked, groups = "", "", list[_Lines]()
    for word, rest in _lines(text):
        if word == "label":
            groups.append([(word, rest)])
        elif word in ("default", "ontimeout") and not re.search(r"\.c32\b", rest):
            default = rest.strip()
        elif word == "menu" and rest.lower().strip() == "default" and groups:
            marked = groups[-1][0][1]
        elif groups:
            groups[-1].append((word, rest))
    entries = tuple(_syslinux_entry(group, path) for group in groups[:MAX_ENTRIES])
    if not entries:
        return Configuration("extlinux", path)
    wanted = marked or default
    for index, entry in enumerate(entries):
        if wanted and entry.id.lower() == wanted.lower():
            return Configuration("extlinux", path, entries, index, clean(f"default {wanted}", 200))
    return Configuration("extlinux", path, entries, 0, "the first entry")


def _syslinux_entry(group: _Lines, path: str) -> Entry:
    fields = dict(reversed(group))
    kernel = (fields.get("linux") or fields.get("kernel") or "").strip()
    options = fields.get("append", "")
    named = re.search(r"(?:^|\s)initrd=(\S+)", options)
    initramfs = fields.get("initrd", "") or (named[1] if named else "")
    is_kernel = kernel and not re.search(r"\.(?:c32|com|bin|bss|img)$", kernel)
    return Entry(
        clean(fields["label"], 200),
        kernel if is_kernel else None,
        options.strip(),
        tuple(initramfs.split(",")) if initramfs else (),
        path,
        fields["label"].strip(),
    )
