"""Real file systems, filled and thinned out by the tools that everybody uses, and broken on purpose.

A marker stands in every file that is deleted again: whoever leaves the free space out must not have it.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from phony import builder

from pipeline.content import free_space
from pipeline.content.free_space.base import Span
from pipeline.source import Source

MIB = 1 << 20
ENV = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C", "MTOOLS_SKIP_CHECK": "1"}
MARKER = b"this was deleted, and nobody may see it again. "

EXT: Mapping[str, tuple[str, ...]] = {
    "ext2": ("-t", "ext2"),
    "ext2 of 1995": ("-t", "ext2", *builder("guest_disks").first_revision()),
    "ext3": ("-t", "ext3"),
    "ext4": ("-t", "ext4"),
    "ext4, blocks of 1 KiB": ("-t", "ext4", "-b", "1024"),
    "ext4, uninitialised groups, no checksums of bitmaps": ("-t", "ext4", "-O", "^metadata_csum,uninit_bg"),
    "ext4 without any checksum": ("-t", "ext4", "-O", "^metadata_csum,^uninit_bg"),
    "ext4 of 32 bits": ("-t", "ext4", "-O", "^64bit"),
    "bigalloc": ("-t", "ext4", "-O", "bigalloc", "-C", "65536"),
    "bigalloc, blocks of 1 KiB": ("-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "16384"),
    "bigalloc without checksums": ("-t", "ext4", "-O", "bigalloc,^metadata_csum", "-C", "65536"),
    "meta_bg": ("-t", "ext4", "-O", "meta_bg,^resize_inode"),
    "meta_bg, blocks of 1 KiB": ("-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"),
    "no flex_bg": ("-t", "ext4", "-O", "^flex_bg"),
    "sparse_super2": ("-t", "ext4", "-b", "1024", "-O", "sparse_super2,^resize_inode"),
    "small groups": ("-t", "ext4", "-b", "4096", "-g", "8192"),
    "a seed of its own": ("-t", "ext4", "-O", "metadata_csum_seed"),
    "orphan file": ("-t", "ext4", "-O", "orphan_file"),
    "data in inodes": ("-t", "ext4", "-O", "inline_data,^metadata_csum"),
}  # fmt: skip
XFS: Mapping[str, tuple[str, ...]] = {
    "version 5": (),
    "version 4": ("-m", "crc=0"),
    "reverse map": ("-m", "rmapbt=1,reflink=1"),
    "no reflink": ("-m", "reflink=0,finobt=0"),
    "blocks of 1 KiB": ("-b", "size=1024"),
    "blocks of 64 KiB": ("-b", "size=65536"),
    "sectors of 4 KiB": ("-s", "size=4096"),
}
FAT: Mapping[str, tuple[tuple[str, ...], int]] = {
    "FAT12": (("-F", "12"), 4),
    "FAT16": (("-F", "16"), 32),
    "FAT32": (("-F", "32"), 64),
    "FAT32, sectors of 4 KiB": (("-F", "32", "-S", "4096"), 300),
}
NTFS: Mapping[str, tuple[str, ...]] = {
    "clusters of 4 KiB": (),
    "clusters of 512 bytes": ("-c", "512"),
    "clusters of 64 KiB": ("-c", "65536"),
}


def run(*argv: object, **options: object) -> str:
    """What a tool prints."""
    done = subprocess.run(
        [str(item) for item in argv], check=True, capture_output=True, text=True, errors="replace",
        env=ENV, **options,  # type: ignore[call-overload]
    )  # fmt: skip
    return str(done.stdout)


def empty(path: Path, size: int) -> Path:
    """A file of ``size`` bytes without any data."""
    with open(path, "wb") as file:
        file.truncate(size)
    path.chmod(0o600)
    return path


def dirty(path: Path, size: int) -> Path:
    """A file full of the marker: a disk that had another use before."""
    block = (MARKER * 25000)[: 1 << 20]
    with open(path, "wb") as file:
        file.writelines(block for _ in range(size >> 20))
    return path


def files(directory: Path, count: int, seed: int = 0) -> list[str]:
    """Make files in ``directory``; the names of those that are to be deleted, which hold the marker.

    These have blocks of their own: NTFS and ext4 keep the smallest files among their metadata, where
    they stay after they were deleted.
    """
    chance = random.Random(seed)
    directory.mkdir(parents=True, exist_ok=True)
    gone = []
    for number in range(count):
        size = chance.choice((0, 10, 900, 5000, 30_000, 200_000))
        name = f"f{number}"
        if number % 3 == 0:
            gone.append(name)
            length = max(size, 2000)
            (directory / name).write_bytes((MARKER * (length // len(MARKER) + 1))[:length])
        else:
            (directory / name).write_bytes(chance.randbytes(size))
    return gone


def ext(path: Path, options: Iterable[str], size: int = 48 * MIB, *, seed: int = 0) -> Path:
    """An ext file system with files in a directory, some of them deleted again."""
    tree = path.with_name(f"{path.name}.tree")
    gone = files(tree / "d", 90, seed)
    os.symlink("d/f1", tree / "link")
    os.symlink("x" * 90, tree / "long-link")
    run("mke2fs", "-F", "-q", *options, "-d", tree, empty(path, size))
    debugfs(path, [f"rm /d/{name}" for name in gone])
    return path


def debugfs(path: Path, commands: Iterable[str]) -> str:
    """What debugfs prints when it does all of it."""
    script = path.with_name(f"{path.name}.debugfs")
    script.write_text("".join(f"{command}\n" for command in commands))
    return run("debugfs", "-w", "-f", script, path)


def xfs(path: Path, options: Iterable[str], size: int = 512 * MIB) -> Path:
    """An XFS with files, none of which was deleted: only Linux can do that."""
    tree = path.with_name(f"{path.name}.tree")
    for name in files(tree, 90):
        (tree / name).unlink()
    lines = [f"{item.name} ---644 0 0 {item}" for item in sorted(tree.iterdir())]
    proto = path.with_name(f"{path.name}.proto")
    proto.write_text("/\n0 0\nd--755 0 0\n" + "\n".join(lines) + "\n$\n")
    run("mkfs.xfs", "-q", "-f", "-p", proto, *options, empty(path, size))
    return path


def fat(path: Path, options: Iterable[str], size: int, *, seed: int = 0) -> Path:
    """A FAT with files, some of them deleted again."""
    tree = path.with_name(f"{path.name}.tree")
    gone = files(tree, 45, seed)
    run("mkfs.fat", *options, empty(path, size))
    run("mmd", "-i", path, "::efi", "::efi/boot")
    run("mcopy", "-i", path, *sorted(tree.iterdir()), "::efi")
    run("mdel", "-i", path, *(f"::efi/{name}" for name in gone))
    return path


def ntfs(path: Path, options: Iterable[str], size: int = 48 * MIB, *, seed: int = 0) -> Path:
    """An NTFS with files, some of them deleted again."""
    run("mkntfs", "-F", "-q", *options, empty(path, size))
    with mounted_ntfs(path) as root:
        for name in files(root / "d", 90, seed):
            (root / "d" / name).unlink()
    return path


@contextmanager
def mounted_ntfs(path: Path) -> Iterator[Path]:
    """An NTFS through FUSE."""
    root = path.with_name(f"{path.name}.mounted")
    root.mkdir(exist_ok=True)
    run("ntfs-3g", path, root)
    try:
        yield root
    finally:
        run("umount", root)


@contextmanager
def mounted_ext(path: Path) -> Iterator[Path]:
    """An ext file system through FUSE; in the end everything is written."""
    root = path.with_name(f"{path.name}.mounted")
    root.mkdir(exist_ok=True)
    argv = ["fuse2fs", "-f", "-s", path, root, "-o", "fakeroot"]  # several threads may never end
    with subprocess.Popen(
        argv, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as server:
        while not root.is_mount():
            assert server.poll() is None, server.communicate()[0]
            time.sleep(0.01)
        try:
            yield root
        finally:
            run("umount", root)
            try:
                server.communicate(timeout=120)  # it writes until it ends
            finally:
                server.kill()


@dataclass(frozen=True)
class Leftovers:
    """A disk on which much was deleted, and what is to be left of it."""

    path: Path
    wanted: bytes


def disk_with_leftovers(directory: Path, *, kept: int = 0) -> Leftovers:
    """A raw disk of 50 MiB with an ext4 in its only partition, all free space full of the marker.

    ``kept``: bytes of one more file, which is not deleted.
    """
    inner = ext(directory / "fs", EXT["ext4"], 40 * MIB)
    if kept:
        (directory / "kept").write_bytes(random.Random(kept).randbytes(kept))
        debugfs(inner, [f"write {directory / 'kept'} kept"])
    path = empty(directory / "disk.raw", 50 * MIB)
    script = "label: gpt\nstart=4096, size=81920\n"
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", path, input=script)
    data = bytearray(path.read_bytes())
    data[2 * MIB : 42 * MIB] = inner.read_bytes()
    path.write_bytes(data)
    with Source.open(path) as source:
        spans = list(free_space.survey(source).between(0, source.size))
    wanted = bytearray(data)
    for low, high in spans:
        data[low:high] = (MARKER * ((high - low) // len(MARKER) + 1))[: high - low]
        wanted[low:high] = bytes(high - low)
    assert MARKER not in wanted
    path.write_bytes(data)
    return Leftovers(path, bytes(wanted))


class Damaged:
    """A ``Reader`` of a file's bytes with some of them changed."""

    def __init__(self, data: bytes, changes: Mapping[int, int]) -> None:
        self.size = len(data)
        self._data = data
        self._changes = changes

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        part = self._data[offset : offset + length]
        inside = [at for at in self._changes if offset <= at < offset + len(part)]
        if not inside:
            return part
        changed = bytearray(part)
        for at in inside:
            changed[at - offset] = self._changes[at]
        return bytes(changed)


def damages(data: bytes, places: list[Span], count: int, seed: int) -> Iterator[dict[int, int]]:
    """Changes of one to four bytes in these places: any value, a flipped bit, swapped nibbles."""
    chance = random.Random(seed)
    for _ in range(count):
        found = {}
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            low, high = chance.choice(places)
            at = chance.randrange(low, high)
            old = data[at]
            flipped, swapped = old ^ 1 << chance.randrange(8), old >> 4 | (old & 15) << 4
            new = chance.choice((chance.randrange(256), flipped, swapped, old ^ 0xFF))
            found[at] = new
        yield found


def inside(spans: Iterable[Span], others: list[Span]) -> bool:
    """Whether every span lies in one of ``others``, which are ascending and do not touch."""
    index = 0
    for low, high in spans:
        while index < len(others) and others[index][1] <= low:
            index += 1
        if index == len(others) or not others[index][0] <= low < high <= others[index][1]:
            return False
    return True
