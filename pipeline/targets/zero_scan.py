"""Which blocks of a disk hold data: the others need not be stored.

    allocation map   ██░░░░██████░░░░░░█░░   known without reading data; unknown counts as data
    blocks           [ 0 ][ 1 ][ 2 ][ 3 ]    of 2 MiB
    zero scan        data  —    zero  data   a look at the first bytes of each, more where they are zero

The zero scan costs one read of 4 KiB a block, and reads a block to its end only as long as it finds
nothing but zeros.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from pipeline.formats.vhd_bytes import BLOCK_SIZE
from pipeline.source import Extent
from pipeline.stage import Cancellation
from pipeline.targets.base import Progress

PROBE = 4096  # bytes at the start of a block's data that are looked at first
STEP = 256 << 10  # bytes that are read at once while a block shows nothing but zeros
BATCH = 64  # blocks whose first bytes are in flight together
_ZEROS = bytes(STEP)


class Scanned(Protocol):
    """What is looked through."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def fetch(self, wanted: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer with what lies at its offset."""
        ...


@dataclass(frozen=True)
class Block:
    """A block that holds data, and where in the disk that data is."""

    number: int
    data: tuple[tuple[int, int], ...]  # offset, length


def blocks_with_data(extents: Iterable[Extent]) -> Iterator[Block]:
    """The blocks that a data run touches, ascending."""
    number, runs = -1, list[tuple[int, int]]()
    for extent in extents:
        if extent.kind == "zero":
            continue
        offset, end = extent.offset, extent.offset + extent.length
        while offset < end:
            stop = min(end, (offset // BLOCK_SIZE + 1) * BLOCK_SIZE)
            if offset // BLOCK_SIZE != number:
                if runs:
                    yield Block(number, tuple(runs))
                number, runs = offset // BLOCK_SIZE, []
            runs.append((offset, stop - offset))
            offset = stop
    if runs:
        yield Block(number, tuple(runs))


def nonzero_blocks(
    disk: Scanned,
    blocks: Iterator[Block],
    threads: int,
    stop: Cancellation,
    progress: Progress,
) -> Iterator[int]:
    """The numbers of the blocks that are not all zeros, ascending."""

    def keep(batch: tuple[Block, ...]) -> list[int]:
        stop.check()
        return _nonzero(disk, batch, stop)

    batches = iter(lambda: tuple(itertools.islice(blocks, BATCH)), ())
    with ThreadPoolExecutor(threads, thread_name_prefix="zero-scan") as pool:
        # A few batches at a time: the map of a huge disk is never in memory as a whole.
        while some := tuple(itertools.islice(batches, 4 * threads)):
            for numbers in pool.map(keep, some):
                yield from numbers
            progress((some[-1][-1].number + 1) * BLOCK_SIZE, disk.size)


def _nonzero(disk: Scanned, batch: tuple[Block, ...], stop: Cancellation) -> list[int]:
    probes = [(block.data[0][0], bytearray(min(PROBE, block.data[0][1]))) for block in batch]
    disk.fetch([(offset, memoryview(buffer)) for offset, buffer in probes])
    return [
        block.number
        for block, (_, buffer) in zip(batch, probes, strict=True)
        if not _is_zero(buffer) or not _all_zero(disk, block, stop)
    ]


def _all_zero(disk: Scanned, block: Block, stop: Cancellation) -> bool:
    buffer = bytearray(STEP)
    for offset, length in block.data:
        for start in range(0, length, STEP):
            stop.check()
            part = memoryview(buffer)[: min(STEP, length - start)]
            disk.fetch([(offset + start, part)])
            if not _is_zero(part):
                return False
    return True


def _is_zero(data: bytearray | memoryview) -> bool:
    return bytes(data) == _ZEROS[: len(data)]
