"""A disk of which something is left out, for tools and for people.

a local file             qemu-img reads it
--reclaim, or a server's  qemu-img ──NBD──▶ our own server of the view, in which free space is zeros
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.disk import GuestDisk
from pipeline.text import clean, size
from pipeline.tools import nbd_server, qemu_img


@contextmanager
def readable(disk: GuestDisk, directory: Path) -> Iterator[qemu_img.ImageSpec]:
    """The disk as qemu-img is told it; ``directory``: a private one, for a socket."""
    if not disk.reclaim and disk.source.is_file:
        yield qemu_img.ImageSpec.of(disk.source, disk.container)
        return
    with nbd_server.serving_in(directory, disk.view()) as path:
        yield qemu_img.ImageSpec(str(path), "raw", served=True)


def notes(disk: GuestDisk) -> Iterator[str]:
    """What is left out, and which parts of the disk are kept, for what reason."""
    if not disk.reclaim:
        return
    free = disk.free_space()
    yield f"left out: {size(free.free)} of free space in {free.runs} runs; it reads as zeros"
    for area in free.areas:
        if area.reason is not None:
            yield clean(f"{area.place} is kept whole: {area.reason}")
        elif area.behind:
            yield clean(
                f"{area.place} is larger than its file system: {size(area.behind)} are kept"
            )
