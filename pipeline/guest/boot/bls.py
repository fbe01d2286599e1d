"""Entries of the Boot Loader Specification: one text file an entry, type 1.

    /loader/entries/NAME.conf    title  version  linux  initrd…  options…  sort-key  machine-id  architecture
    /loader/loader.conf          default PATTERN (systemd-boot)

Order of systemd-boot (specification, "Sorting"): entries that have failed too often last; those with a
sort-key first, by it, then machine-id, then versions from the newest on; the others, and what is equal, by
their files' names from the newest on.  Unified images are sorted among them: their sort-key and version
come from the os-release in them.  NAME+3-1.conf has three tries left and one failed; its name is NAME.conf.
GRUB's blscfg takes the files' names from the newest on.  An entry for another architecture is hidden by
systemd-boot, and not by GRUB.
https://uapi-group.org/specifications/specs/boot_loader_specification/
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

from pipeline.guest.boot import uki
from pipeline.guest.boot.entries import MAX_ENTRIES, TRIES, Configuration, Entry
from pipeline.guest.boot.words import Values, expand
from pipeline.guest.tree import Files
from pipeline.guest.versions import uapi_key, version_key
from pipeline.text import clean

_GRUB = ("/boot/loader/entries",)
_PARTITIONS = ("/boot/efi", "/efi", "/boot")
"""Where a guest mounts the EFI system partition, or the extended boot loader partition."""


def grub_entries(files: Files, variables: Mapping[str, str]) -> list[Entry]:
    """What GRUB's blscfg puts into the menu, in its order."""
    found = [entry for place in _GRUB for entry, _ in _read(files, place, variables)]
    found.sort(key=lambda entry: (not entry.rescue, version_key(entry.id)), reverse=True)
    return found


def systemd_boot(files: Files) -> list[Configuration]:
    """What systemd-boot would show, if anything of it is there: entries of all its partitions."""
    path, text = _loader_conf(files)
    machines = _installed(files)
    installed = text is not None or bool(machines)
    tops = [top for top in _PARTITIONS if not installed or _seen_by_firmware(files, top)]
    plain = [
        item
        for top in tops
        for item in _read(files, f"{top}/loader/entries", {})
        if not machines or machines.issuperset(item[1].get("architecture", "").lower().split())
    ]
    unified = [item for top in tops for item in uki.entries(files, top)]
    entries = _in_order([*plain, *unified])
    if installed:
        return [_configuration("systemd-boot", path, entries, _fields(text or ""))]
    if not entries:  # firmware starts the image that lies where a boot loader usually does
        entries = [entry for top in _PARTITIONS for entry in uki.by_firmware(files, top)]
    if entries:
        return [_configuration("bls" if plain else "uki", entries[0].source, entries, {})]
    return []


def _seen_by_firmware(files: Files, top: str) -> bool:
    """Whether systemd-boot, which reads partitions of its own only, sees a place.

    What a kernel's installation wrote into the root file system's /boot is not in its menu.
    """
    found, root = files.find(top), files.find("/")
    return top != "/boot" or found is None or root is None or found.tree is not root.tree


def _loader_conf(files: Files) -> tuple[str, str | None]:
    for top in _PARTITIONS:
        text = files.text(f"{top}/loader/loader.conf", 16384)
        if text is not None:
            return f"{top}/loader/loader.conf", text
    return "/efi/loader/loader.conf", None


def _installed(files: Files) -> set[str]:
    """The architectures that it is there for, as UEFI calls them: x64 of systemd-bootx64.efi."""
    names = (name.lower() for top in _PARTITIONS for name in files.names(f"{top}/EFI/systemd"))
    found = (re.match(r"systemd-boot([a-z0-9]*)", name) for name in names)
    return {match[1] for match in found if match}


def _configuration(
    loader: str, path: str, entries: list[Entry], fields: Mapping[str, str]
) -> Configuration:
    kept = tuple(entries[:MAX_ENTRIES])
    pattern = fields.get("default", "")
    if not kept:
        return Configuration(loader, path)
    for index, entry in enumerate(kept):
        if pattern and fnmatch.fnmatchcase(entry.id.lower(), _with_suffix(pattern)):
            return Configuration(loader, path, kept, index, clean(f"default {pattern}", 200))
    how = f"default {pattern} names no entry, so the first one" if pattern else "the first entry"
    return Configuration(loader, path, kept, 0, clean(how, 200))


def _with_suffix(pattern: str) -> str:
    """Older releases wrote the pattern without .conf."""
    pattern = pattern.lower()
    return pattern if pattern.endswith((".conf", ".efi", "*")) else f"{pattern}.conf"


def _in_order(found: list[tuple[Entry, dict[str, str]]]) -> list[Entry]:
    """As systemd-boot shows them; the last of these sorts counts first."""
    found.sort(key=lambda item: uapi_key(item[0].id.lower()), reverse=True)
    found.sort(key=lambda item: uapi_key(_by_key(item[1], "version")), reverse=True)
    found.sort(key=lambda item: _by_key(item[1], "machine-id"))
    found.sort(key=lambda item: _by_key(item[1], "sort-key"))
    found.sort(key=lambda item: (_failed(item[0]), not item[1].get("sort-key")))
    return [entry for entry, _ in found]


def _by_key(fields: Mapping[str, str], name: str) -> str:
    """A field that only counts beside a sort-key."""
    return fields.get(name, "") if fields.get("sort-key") else ""


def _failed(entry: Entry) -> bool:
    tries = TRIES.search(entry.source)
    return tries is not None and not int(tries[1])


def _read(
    files: Files, directory: str, variables: Mapping[str, str]
) -> list[tuple[Entry, dict[str, str]]]:
    found = []
    for path in list(files.matching(directory, ".conf"))[:MAX_ENTRIES]:
        fields = _fields(files.text(path, 16384) or "")
        if "linux" in fields or "efi" in fields or "uki" in fields:
            found.append((_entry(path, fields, variables), fields))
    return found


def _entry(path: str, fields: Mapping[str, str], variables: Mapping[str, str]) -> Entry:
    name = TRIES.sub("", path.rsplit("/", 1)[1])
    initramfs = expand(fields.get("initrd", ""), Values(variables)).split()
    return Entry(
        clean(fields.get("title", name), 200),
        fields.get("linux") or fields.get("uki"),
        expand(fields.get("options", ""), Values(variables)).strip(),
        tuple(initramfs),
        path,
        name if not path.startswith("/boot/loader") else name.removesuffix(".conf"),
        _version(fields),
        unified="uki" in fields,
    )


def _version(fields: Mapping[str, str]) -> str | None:
    """The field "version" is free text; it counts where the kernel's path does not tell more."""
    kernel = fields.get("linux", "").rsplit("/", 1)[-1]
    return fields.get("version") if kernel in ("linux", "vmlinuz", "") else None


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        parts = line.split(None, 1)
        if len(parts) != 2 or parts[0].startswith("#"):
            continue
        key, value = parts[0], _unquoted(parts[1].strip())
        found[key] = f"{found[key]} {value}" if key in found else value
    return found


def _unquoted(value: str) -> str:
    quoted = re.fullmatch(r'"(.*)"', value)
    return quoted[1] if quoted else value
