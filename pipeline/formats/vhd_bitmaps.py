"""The sector bitmaps of a dynamic VHD: where its readers would read different disks.

    block   │ bitmap: 1 1 0 1 …                │ sector 0 │ sector 1 │ sector 2 │ sector 3 │ …
                          └ "never written"                            └ zeros, or the readers disagree

The specification, XenServer, VirtualBox and Windows read a sector whose bit is clear as zeros; qemu
reads what is stored.  Both see the same disk only where zeros stand behind every clear bit, so all
bitmaps of stored blocks are looked at, and the data behind clear bits: what no file system stored,
holes of the file, is not read.

    https://github.com/xapi-project/blktap, drivers/block-vhd.c      qemu's block/vpc.c, get_image_offset
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import compress, count, pairwise

from pipeline.formats import vhd_bytes as vhd
from pipeline.formats.base import Problem
from pipeline.formats.vhd_bytes import Footer, Header
from pipeline.formats.vhd_table import Batmap, read_table
from pipeline.source import DiskView, Extent, Reader

_PIECE = 1 << 20  # bytes that are compared at once
_ZEROS = bytes(_PIECE)


class SectorBitmaps:
    """Those of a VHD that was inspected before and whose blocks have places of their own.

    May be used from several threads at once: each block is looked at on its own.
    """

    def __init__(self, file: Reader) -> None:
        """``file``: the whole file; one that knows its holes (``DiskView``) is not read there."""
        footer = Footer.unpack(file.read(0, vhd.FOOTER_SIZE))
        header = Header.unpack(file.read(footer.data_offset, vhd.HEADER_SIZE))
        self._file = file
        self._table = read_table(file, header)
        self._batmap = Batmap(file, header, self._table, footer.current_size, file.size)
        self._sectors = header.block_size // vhd.SECTOR

    @property
    def stored(self) -> list[int]:
        """The numbers of the blocks that are stored."""
        return list(compress(count(), self._table.stored))

    def problems(self, numbers: Iterable[int]) -> list[Problem]:
        """What is wrong in the bitmaps of these blocks: at most two problems each."""
        return [problem for number in numbers for problem in self._of_block(number)]

    def _of_block(self, number: int) -> Iterator[Problem]:
        at = self._table.entries[number] * vhd.SECTOR
        bitmap = self._file.read(at, self._table.bitmap_size)
        runs = clear_runs(bitmap, self._sectors)
        if runs and self._batmap.full(number):
            detail = f"it shows block {number} as full, whose bitmap has clear bits"
            yield Problem("vhd-batmap", detail, at, self._table.bitmap_size)
        for first, after in runs:
            start = at + self._table.bitmap_size + first * vhd.SECTOR
            length = (after - first) * vhd.SECTOR
            place = self._first_data(start, length)
            if place is not None:
                sector = (place - at - self._table.bitmap_size) // vhd.SECTOR
                detail = f"sector {sector} of block {number} is not zero, and its bit is clear"
                yield Problem("vhd-sector-bitmap", detail, place, vhd.SECTOR)
                return

    def _first_data(self, offset: int, length: int) -> int | None:
        """Where the first sector begins, from ``offset`` on, that holds anything but zeros."""
        whole = (Extent(offset, length, "data"),)
        file = self._file
        for extent in file.extents(offset, length) if isinstance(file, DiskView) else whole:
            if extent.kind == "zero":
                continue
            end = extent.offset + extent.length
            for at in range(extent.offset, end, _PIECE):
                data = self._file.read(at, min(_PIECE, end - at))
                if data != _ZEROS[: len(data)]:
                    first = at + len(data) - len(data.lstrip(b"\0"))
                    return offset + (first - offset) // vhd.SECTOR * vhd.SECTOR
        return None


def clear_runs(bitmap: bytes, used: int) -> list[tuple[int, int]]:
    """The runs of sectors whose bit is clear: first, and first after it.  ``used``: sectors a block."""
    digits = f"{int.from_bytes(bitmap, 'big'):0{8 * len(bitmap)}b}"[:used]
    if "0" not in digits:
        return []
    edges = [0, *(at for at, pair in enumerate(pairwise(digits), 1) if pair[0] != pair[1]), used]
    return [(low, high) for low, high in pairwise(edges) if digits[low] == "0"]
