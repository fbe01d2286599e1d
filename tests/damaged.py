"""File systems with flipped metadata, many variants of one as the volumes of one disk.

variant 0    variant 1    variant 2   …      each the same file system, some bytes of it changed
├── size ──┤├── size ──┤├── size ──┤
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

from phony import builder

from pipeline.guest.survey import Volume
from pipeline.source import Source

BLOCK = 512
MOST_CHANGES = 4
KINDS = {"ext4": "ext4", "ext2": "ext2", "xfs": "xfs", "ntfs": "ntfs", "vfat": "fat16"}
UUID = "88888888-2222-4333-8444-555555555555"


def tree() -> dict:
    """Few and small files, so that most of what is written is metadata."""
    link = builder("guest_disks").Link
    return {
        "etc/fstab": "UUID=1 / ext4 defaults 0 1\n",
        "etc/hostname": "guest\n",
        "etc/os-release": link("../usr/lib/os-release"),
        "usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian"\n',
        "usr/bin/sh": b"\x7fELF\x02\x01\x01".ljust(8000, b"x"),
        "var/lib/dpkg/status": b"Package: base\n" * 900,
        **{f"etc/conf.d/{number:03}.conf": f"{number}\n" for number in range(8)},
    }


def make(kind: str, path: Path) -> Path:
    """An undamaged file system of one kind."""
    disks, files = builder("guest_disks"), tree()
    if kind.startswith("ext"):
        return disks.ext4(path, 8, files, UUID, kind=kind)
    if kind == "xfs":
        return disks.xfs(path, 304, files, UUID)
    plain = {name: item for name, item in files.items() if isinstance(item, str | bytes)}
    if kind == "ntfs":
        return builder("guest_windows").ntfs(path, 8, plain)
    return disks.fat(path, 16, plain)


def used_blocks(path: Path) -> list[int]:
    """Offsets of the blocks that hold anything but zeros."""
    found = []
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        at = 0
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError:
                break
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            data = os.pread(file.fileno(), hole - at, at)
            found += [
                at + index
                for index in range(0, len(data), BLOCK)
                if any(data[index : index + BLOCK])
            ]
            at = hole
    return found


def changes(path: Path, seed: str, count: int) -> Iterator[dict[int, bytes]]:
    """Patches (offset, new bytes) of so many variants."""
    generator = random.Random(seed)
    blocks = used_blocks(path)
    with open(path, "rb") as file:
        for _ in range(count):
            patches = {}
            for _change in range(generator.randint(1, MOST_CHANGES)):
                at = generator.choice(blocks) + generator.randrange(BLOCK)
                old = os.pread(file.fileno(), 1, at)[0]
                new = generator.choice(
                    (old ^ 1 << generator.randrange(8), 0, 255, generator.randrange(256))
                )
                patches[at] = bytes([new])
            yield patches


class Variants:
    """``pipeline.source.Reader`` over all variants, one behind the other."""

    def __init__(self, source: Source, patches: list[dict[int, bytes]]) -> None:
        self._source = source
        self._patches = patches
        self.each = source.size

    @property
    def size(self) -> int:
        return self.each * len(self._patches)

    def read(self, offset: int, length: int) -> bytes:
        number, at = divmod(offset, self.each)
        data = bytearray(self._source.read(at, min(length, self.each - at)))
        for place, new in self._patches[number].items():
            if at <= place < at + len(data):
                data[place - at : place - at + 1] = new
        return bytes(data)

    def volumes(self, kind: str) -> list[Volume]:
        return [
            Volume(f"/dev/variant{number}", number * self.each, self.each, kind)
            for number in range(len(self._patches))
        ]


def written(path: Path, patches: dict[int, bytes], target: Path) -> Path:
    """One variant as a file of its own."""
    builder("guest_disks").tool("cp", "--sparse=always", path, target)
    with open(target, "r+b") as file:
        for place, new in patches.items():
            file.seek(place)
            file.write(new)
    return target
