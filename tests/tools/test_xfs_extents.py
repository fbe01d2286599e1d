"""XFS files of every shape of extents and attributes, read directly and by the kernel that wrote them.

    data            in the inode (up to 21 extents in 512 bytes), in a tree of one level, of more (not read)
attributes      in the inode, in extents, in a tree
counters        of 32 and 16 bits, or of 64 and 32 (nrext64, the default of Debian 13)
"""

import contextlib
import itertools
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import file_systems as made
import pytest
from needs import skip_or_fail

from pipeline.guest.survey import Volume
from pipeline.source import Source
from pipeline.tools.reader import client
from pipeline.tools.reader.child import UnableError

MIB = 1 << 20
BLOCK = 4096
EXTENTS = (0, 1, 2, 9, 18, 19, 20, 21, 22, 60, 300, 3000)
ATTRIBUTES = ((0, 0), (1, 10), (9, 40), (3, 1500), (40, 900), (3, 30_000), (300, 900))
GEOMETRIES = {
    "usual": (),
    "inodes of 1 KiB": ("-i", "size=1024"),
    "blocks of 1 KiB": ("-b", "size=1024"),
}
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.needs("mkfs.xfs", "xfs_db", "mount", "umount", "losetup", "module:pyfsxfs"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount"),
    pytest.mark.timeout(1200),
]


@contextlib.contextmanager
def mounted(path: Path) -> Iterator[Path]:
    if "\txfs\n" not in Path("/proc/filesystems").read_text():
        skip_or_fail("this kernel has no XFS")
    root = path.with_name("mounted")
    root.mkdir(exist_ok=True)
    made.run("mount", "-t", "xfs", "-o", "loop", path, root)
    try:
        yield root
    finally:
        made.run("umount", root)
        # another namespace that was made meanwhile may hold it a little longer
        deadline = time.monotonic() + 120
        while made.run("losetup", "-j", path) and time.monotonic() < deadline:
            time.sleep(0.05)


def fill(root: Path, seed: str) -> dict[str, bytes]:
    """Files of so many extents, holes between them, with so many attributes of such a size."""
    chance, contents = random.Random(seed), {}
    for count, (number, size) in itertools.product(EXTENTS, ATTRIBUTES):
        name = f"{count}-{number}x{size}"
        data = bytearray()
        with open(root / name, "wb") as file:
            for index in range(count):
                piece = chance.randbytes(chance.randrange(1, BLOCK))
                at = 2 * index * BLOCK
                os.pwrite(file.fileno(), piece, at)
                data[at:] = bytes(at - len(data)) + piece
        for index in range(number):
            os.setxattr(root / name, f"user.{index:04}", b"v" * size)
        contents[name] = bytes(data)
    for number in (3, 40, 3000):
        (root / f"names-{number}").mkdir()
        for index in range(number):
            (root / f"names-{number}" / f"{'n' * 60}{index:05}").touch()
        for index in range(3):
            os.setxattr(root / f"names-{number}", f"user.{index}", b"v" * 1500)
    return contents


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_shape_is_read_as_it_was_written(geometry, wide, tmp_path):
    # given files of all shapes, written by the kernel
    path = made.empty(tmp_path / "volume", 1024 * MIB)
    made.run("mkfs.xfs", "-q", "-f", "-i", f"nrext64={wide}", *GEOMETRIES[geometry], path)
    with mounted(path) as root:
        contents = fill(root, f"{geometry} {wide}")
        names = {
            entry.name: sorted(os.listdir(entry)) for entry in root.iterdir() if entry.is_dir()
        }
    told = subprocess.run(["xfs_db", "-r", "-c", "version", path], capture_output=True, text=True)
    assert ("NREXT64" in told.stdout) is bool(wide)

    # when they are read directly
    wrong, unable = [], set()
    with Source.open(path) as source, client.open_reader(source) as reader:
        tree = reader.mount(Volume("/dev/sda", 0, source.size, "xfs"))
        for name, content in contents.items():
            try:
                [entry] = tree.stat("/", [name])
                said = tree.read(f"/{name}", 0, len(content))
            except UnableError:
                unable.add(int(name.split("-")[0]))
                continue
            if (entry.size, said) != (len(content), content):
                wrong.append(name)
        wrong += [name for name, of in names.items() if tree.names(f"/{name}") != of]

    # then nothing is wrong, and only what needs a deep tree is not told
    assert wrong == []
    assert unable <= {300, 3000}
