r"""Unified kernel images: a kernel, its initramfs and its command line as sections of one PE file.

    0   "MZ"; 60: offset of the PE header (4 bytes)
    PE  "PE\0\0", machine (2), sections (2), …, size of the optional header (2 at 20)
    then, behind the optional header, 40 bytes a section:
      0  8  name (".linux", ".initrd", ".cmdline", ".osrel", ".uname"); .osrel is an os-release file
      8  4  size in memory   16  4  size in the file   20  4  offset in the file

https://uapi-group.org/specifications/specs/unified_kernel_image/
https://learn.microsoft.com/windows/win32/debug/pe-format
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.guest.boot.entries import MAX_ENTRIES, TRIES, Entry
from pipeline.guest.linux import assignments
from pipeline.guest.tree import Files
from pipeline.text import clean

MAX_SECTIONS = 96  # the limit of Windows' own loader
_HEAD = 8192


@dataclass(frozen=True)
class Section:
    """Where a section lies in the file."""

    offset: int
    size: int


def sections(files: Files, path: str) -> dict[str, Section]:
    """The sections of a PE file by name; empty when it is none."""
    head = files.read(path, _HEAD) or b""
    if head[:2] != b"MZ":
        return {}
    at = int.from_bytes(head[60:64], "little")
    if head[at : at + 4] != b"PE\0\0":
        return {}
    count = int.from_bytes(head[at + 6 : at + 8], "little")
    table = at + 24 + int.from_bytes(head[at + 20 : at + 22], "little")
    found = {}
    for index in range(min(count, MAX_SECTIONS)):
        row = head[table + 40 * index : table + 40 * (index + 1)]
        if len(row) < 40:
            break
        padded, virtual, raw, offset = struct.unpack_from("<8sI4xII", row)
        name = padded.rstrip(b"\0").decode("ascii", "replace")
        found[name] = Section(offset, min(virtual, raw) or raw)
    return found


def entries(files: Files, partition: str) -> list[tuple[Entry, dict[str, str]]]:
    """The images in /EFI/Linux of a partition, each with its sort-key and version."""
    found = []
    for directory in (f"{partition}/EFI/Linux", f"{partition}/efi/linux"):
        for path in list(files.matching(directory, ".efi", ".EFI"))[:MAX_ENTRIES]:
            parts = sections(files, path)
            if ".linux" in parts:
                release = assignments(_text(files, path, parts.get(".osrel")))
                found.append((_entry(files, path, parts), _sorting(release)))
        if found:
            break
    return found


def by_firmware(files: Files, partition: str) -> list[Entry]:
    """The image that firmware starts without any boot loader, /EFI/BOOT/BOOTX64.EFI."""
    for directory in (f"{partition}/EFI/BOOT", f"{partition}/efi/boot"):
        for path in files.matching(directory, ".efi", ".EFI"):
            parts = sections(files, path)
            if ".linux" in parts and path.rsplit("/", 1)[1].lower().startswith("boot"):
                return [_entry(files, path, parts)]
    return []


def _sorting(release: Mapping[str, str]) -> dict[str, str]:
    """As systemd-boot takes them from os-release."""
    versions = ("IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID")
    version = next((release[name] for name in versions if release.get(name)), "")
    return {"sort-key": release.get("IMAGE_ID") or release.get("ID", ""), "version": version}


def _entry(files: Files, path: str, parts: dict[str, Section]) -> Entry:
    name = TRIES.sub("", path.rsplit("/", 1)[1])
    version = _text(files, path, parts.get(".uname"))
    return Entry(
        clean(name, 200),
        path,
        _text(files, path, parts.get(".cmdline")),
        (path,) if ".initrd" in parts else (),
        path,
        name,
        version or name.removesuffix(".efi"),
        unified=True,
    )


def _text(files: Files, path: str, section: Section | None) -> str:
    if section is None:
        return ""
    raw = files.read_at(path, section.offset, min(section.size, 8192)) or b""
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace").strip()
