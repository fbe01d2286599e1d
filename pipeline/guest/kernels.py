"""Which kernels a guest has, and whether the one that starts can see a Xen disk and network.

    modules.builtin ──▶ built-in      the kernel has it in itself
    initramfs       ──▶ initramfs     there before the root file system is
    /lib/modules    ──▶ module        only once the root file system is mounted
                    ──▶ missing

What the modules directory holds says nothing about the initramfs: dracut has left xen-blkfront out
of it before, and servers on Xen stopped starting. So the initramfs itself is read.
https://github.com/coreos/fedora-coreos-config/pull/1293
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline import decompress
from pipeline.content import cpio
from pipeline.guest import boot
from pipeline.guest.tree import Files, Found, TreeError
from pipeline.text import clean

DRIVERS = {
    "xen-blkfront": ("kernel/drivers/block", "CONFIG_XEN_BLKDEV_FRONTEND"),
    "xen-netfront": ("kernel/drivers/net", "CONFIG_XEN_NETDEV_FRONTEND"),
}
LARGEST_INITRAMFS = 256 << 20  # bytes; a usual one has 10 to 60 MiB
LARGEST_PLAIN = 1 << 30  # bytes that may come out of it
_SUFFIXES = ("", ".xz", ".zst", ".gz")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Kernel:
    """One kernel in /boot."""

    version: str
    initramfs: str | None  # full path
    default: bool


def kernels(files: Files, entries: tuple[boot.Entry, ...]) -> tuple[Kernel, ...]:
    """The kernels in /boot, newest first; the boot loader's first entry is the default."""
    names = files.names("/boot")
    present = {re.sub(r"^(vmlinuz|kernel)-", "", name) for name in names if _is_kernel(name)}
    ordered = sorted(present, key=boot.version_key, reverse=True)
    default = next((entry for entry in entries if entry.version in present), None)
    chosen = default.version if default else (ordered[0] if ordered else None)
    return tuple(
        Kernel(
            version,
            _initramfs(version, names, default if version == chosen else None),
            version == chosen,
        )
        for version in ordered
    )


def _is_kernel(name: str) -> bool:
    return name.startswith(("vmlinuz-", "kernel-")) and "rescue" not in name


def _initramfs(version: str, names: list[str], entry: boot.Entry | None) -> str | None:
    known = (
        f"initrd.img-{version}",
        f"initramfs-{version}.img",
        f"initrd-{version}",
        f"initramfs-{version}",
        f"initrd-{version}.img",
    )
    said = entry.initramfs if entry and entry.initramfs in names else None
    name = said or next((name for name in known if name in names), None)
    return f"/boot/{name}" if name else None


def xen_drivers(files: Files, kernel: Kernel) -> tuple[dict[str, Any], str | None]:
    """Where each Xen driver of a kernel is; and, when that is not all known, why.

    A driver whose place is not known is left out.
    """
    modules = f"/lib/modules/{kernel.version}"
    builtin = files.text(f"{modules}/modules.builtin", 1 << 20)
    config = None if builtin else files.text(f"/boot/config-{kernel.version}", 1 << 20)
    if builtin is None and config is None and not files.is_directory(modules):
        return {}, f"there are no modules of the kernel {clean(kernel.version, 80)}"
    found: dict[str, Any] = {}
    for driver, (directory, option) in DRIVERS.items():
        pattern = rf"/{driver.replace('-', '[-_]')}\.ko\s"
        listed = builtin and re.search(pattern, builtin + "\n")
        if listed or (config and f"\n{option}=y\n" in config):
            found[driver] = "built-in"
        else:
            found[driver] = (
                "module" if _has_module(files, modules, directory, driver) else "missing"
            )
    wanted = {driver for driver, place in found.items() if place != "built-in"}
    if not wanted or kernel.initramfs is None:
        return found, None
    try:
        inside = set(_in_initramfs(files, kernel.initramfs, wanted))
    except (
        cpio.NotReadableError,
        decompress.DamagedStreamError,
        decompress.StreamMemoryError,
    ) as error:
        known = {driver: place for driver, place in found.items() if driver not in wanted}
        return known, f"{kernel.initramfs} cannot be read: {clean(str(error), 200)}"
    return {
        driver: "initramfs" if driver in inside else place for driver, place in found.items()
    }, None


def _has_module(files: Files, modules: str, directory: str, driver: str) -> bool:
    names = [f"{driver}.ko{suffix}" for suffix in _SUFFIXES]
    files.prefetch(f"{modules}/{directory}", names)
    return any(files.is_file(f"{modules}/{directory}/{name}") for name in names)


def _in_initramfs(files: Files, path: str, wanted: set[str]) -> Iterator[str]:
    """Which of the drivers the initramfs holds; stops reading when all were seen."""
    found = files.find(path)
    if found is None or found.entry.kind != "file":
        raise cpio.NotReadableError("it is not a regular file")
    if found.entry.size > LARGEST_INITRAMFS:
        raise cpio.NotReadableError(f"it has {found.entry.size} bytes")
    pattern = re.compile(r"(?:^|/)(" + "|".join(sorted(wanted)) + r")\.ko(?:\.\w+)?$")
    left = set(wanted)
    for name in _names(_GuestFile(found)):
        match = pattern.search(name.replace("xen_", "xen-"))
        if match and match[1] in left:
            left.discard(match[1])
            yield match[1]
            if not left:
                return


def _names(reader: _GuestFile) -> Iterator[str]:
    plain, at = cpio.plain_part(reader)
    yield from plain
    rest = _From(reader, at)
    if not rest.size:
        return
    packing = cpio.packing(rest.read(0, 8))
    if packing not in decompress.COMPRESSIONS:
        raise cpio.NotReadableError(f"its compression ({packing or 'unknown'}) is not known here")
    yield from cpio.names(_limited(decompress.pieces(packing, rest, decompress.Progressing())))


def _limited(pieces: Iterator[bytes]) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > LARGEST_PLAIN:
            raise cpio.NotReadableError(f"more than {LARGEST_PLAIN} bytes come out of it")
        yield piece


class _GuestFile:
    """A file of the guest as a Reader; small reads are served from the last piece."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._at = 0
        self._piece = b""

    @property
    def size(self) -> int:
        return self._found.entry.size

    def read(self, offset: int, length: int) -> bytes:
        parts = []
        while length > 0 and offset < self.size:
            if not self._at <= offset < self._at + len(self._piece):
                self._at = offset
                self._piece = self._found.tree.read(self._found.path, offset, _CHUNK)
                if not self._piece:
                    raise TreeError(f"{self._found.guest_path} ends before its size")
            part = self._piece[offset - self._at :][:length]
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)


class _From:
    """The rest of a reader from an offset on."""

    def __init__(self, reader: _GuestFile, start: int) -> None:
        self._reader = reader
        self._start = start

    @property
    def size(self) -> int:
        return max(0, self._reader.size - self._start)

    def read(self, offset: int, length: int) -> bytes:
        return self._reader.read(self._start + offset, length)
