"""What is left of a file system is that file system: its own checker says so, and every file does.

Its free space is filled with a marker first, as a disk is on which much was deleted; afterwards the
marker is nowhere, and whatever the tools show of files, directories and links is what it was.
"""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import file_systems as made
import pytest

from pipeline.content import free_space
from pipeline.content.free_space.view import ZeroedView
from pipeline.fileview import FileView
from pipeline.source import Source

MIB = 1 << 20


def with_deleted_data(path: Path) -> None:
    """Fill what is free with the marker."""
    data = bytearray(path.read_bytes())
    with Source.open(path) as source:
        spans = list(free_space.survey(source).between(0, source.size))
    assert spans
    for low, high in spans:
        data[low:high] = (made.MARKER * ((high - low) // len(made.MARKER) + 1))[: high - low]
    path.write_bytes(data)


def left_of(path: Path) -> Path:
    """A copy without what is free."""
    result = path.with_name(f"{path.name}.left")
    with Source.open(path) as source, open(result, "wb") as file:
        view = ZeroedView(FileView(source, source.size), free_space.survey(source))
        file.truncate(view.size)
        for extent in view.extents():
            if extent.kind == "data":
                file.seek(extent.offset)
                file.write(view.read(extent.offset, extent.length))
    return result


def tree(root: Path) -> dict[str, object]:
    """Every file's sha256, owner, mode, links, time and attributes; directories and links."""
    found: dict[str, object] = {}
    for item in sorted(root.rglob("*")):
        name, stat = str(item.relative_to(root)), item.lstat()
        own = (stat.st_mode, stat.st_uid, stat.st_gid)
        if item.is_symlink():
            found[name] = (item.readlink(), *own)
        elif item.is_file():
            digest = hashlib.sha256(item.read_bytes()).hexdigest()
            named = {key: os.getxattr(item, key) for key in os.listxattr(item)}
            found[name] = (digest, *own, stat.st_nlink, stat.st_mtime_ns, named)
        else:
            found[name] = own
    return found


def by_debugfs(path: Path) -> dict[str, object]:
    root = path.with_name(f"{path.name}.files")
    root.mkdir()
    made.run("debugfs", "-R", f"rdump / {root}", path)
    return tree(root)


def by_ntfs_3g(path: Path) -> dict[str, object]:
    with made.mounted_ntfs(path) as root:
        return tree(root)


def by_mtools(path: Path) -> dict[str, object]:
    root = path.with_name(f"{path.name}.files")
    root.mkdir()
    made.run("mcopy", "-s", "-m", "-i", path, "::", root)
    return {**tree(root), "attributes": made.run("mattrib", "-/", "-i", path, "::")}


def by_xfs_db(path: Path) -> dict[str, object]:
    """Every inode's core and extents: ``test_free_kernel`` compares the content."""
    told = made.run("xfs_db", "-r", "-c", "ls /", path)
    numbers = re.findall(r"^\d+\s+(\d+)\s", told, re.MULTILINE)
    assert len(numbers) > 40
    return {
        number: made.run("xfs_db", "-r", "-c", f"inode {number}", "-c", "print", "-c", "bmap", path)
        for number in numbers
    }


@dataclass(frozen=True)
class Kind:
    """How a file system is made, checked and read by its own tools."""

    build: Callable[[Path], Path]
    check: tuple[str, ...]
    read: Callable[[Path], dict[str, object]]


def ext(name: str) -> Kind:
    return Kind(lambda path: made.ext(path, made.EXT[name]), ("e2fsck", "-fn"), by_debugfs)


def xfs(name: str) -> Kind:
    return Kind(lambda path: made.xfs(path, made.XFS[name]), ("xfs_repair", "-n"), by_xfs_db)


def fat(name: str) -> Kind:
    options, size = made.FAT[name]
    return Kind(lambda path: made.fat(path, options, size * MIB), ("fsck.fat", "-n"), by_mtools)


EXT = ("ext2", "ext3", "ext4", "ext4, blocks of 1 KiB", "bigalloc", "meta_bg")
KINDS = {
    **{name: ext(name) for name in EXT},
    **{name: xfs(name) for name in ("version 4", "version 5", "reverse map")},
    **{name: fat(name) for name in ("FAT12", "FAT16", "FAT32")},
    "NTFS": Kind(lambda path: made.ntfs(path, ()), ("ntfsfix", "-n"), by_ntfs_3g),
}


@pytest.mark.needs("mke2fs", "debugfs", "e2fsck", "mkfs.xfs", "xfs_repair", "xfs_db")
@pytest.mark.needs("mkfs.fat", "fsck.fat", "mcopy", "mmd", "mkntfs", "ntfsfix", "ntfs-3g")
@pytest.mark.parametrize("name", KINDS)
def test_what_is_left_is_the_same_file_system(name, tmp_path):
    kind = KINDS[name]
    path = kind.build(tmp_path / "fs")
    with_deleted_data(path)
    assert path.read_bytes().count(made.MARKER) > 1000

    result = left_of(path)

    assert made.MARKER not in result.read_bytes()
    made.run(*kind.check, result)
    assert kind.read(result) == kind.read(path)
