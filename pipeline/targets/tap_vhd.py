"""The dynamic VHD of XenServer: planning which blocks of the disk it must hold.

    allocation map   ██░░░░██████░░░░░░█░░   known without reading data; unknown counts as data
    blocks           [ 0 ][ 1 ][ 2 ][ 3 ]
    zero scan        data  —    zero  data   a look at the first bytes of each, more where they are zero
    plan             0, 3

The zero scan costs one read of 4 KiB a block, and reads a block to its end only as long as it finds
nothing but zeros; such a block is then never read again, neither by the conversion nor by the upload.
Without it, a fully allocated raw image of a half empty disk would be stored with all its zeros.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from uuid import UUID

from pipeline.facts import ContainerFacts
from pipeline.formats.vhd_bytes import BLOCK_SIZE
from pipeline.formats.vhd_layout import VhdLayout, target_size
from pipeline.model import Artifact, Target
from pipeline.source import DiskView, Extent
from pipeline.stage import Cancellation
from pipeline.targets.base import Making, Progress

PROBE = 4096  # bytes at the start of a block's data that are looked at first
STEP = 256 << 10  # bytes that are read at once while a block shows nothing but zeros
BATCH = 64  # blocks whose first bytes are in flight together
_ZEROS = bytes(STEP)


class TapVhd:
    """The way of making it."""

    planned = True

    def conforms(self, container: ContainerFacts, _target: Target) -> bool:
        """See ``Driver``."""
        size, wanted = container["virtual_size"], ("vhd", "dynamic", "tap", BLOCK_SIZE)
        block_size = container["details"].get("block_size")
        seen = (container["format"], container["variant"], container["creator"], block_size)
        return seen == wanted and not container["problems"] and size == target_size(size or 0)

    def make(self, target: Target, making: Making) -> Artifact:
        """See ``Driver``."""
        artifact = plan_vhd(
            making.disk.view(map_first=True),
            uuid=making.unique_id,
            timestamp=making.timestamp,
            zero_scan=making.zero_scan,
            cancellation=making.cancellation,
            progress=making.progress,
        )
        return replace(artifact, suffix=target.suffix)


@dataclass(frozen=True)
class Block:
    """A block that holds data, and where in the disk that data is."""

    number: int
    data: tuple[tuple[int, int], ...]  # offset, length


def plan_vhd(
    disk: DiskView,
    *,
    uuid: UUID,
    timestamp: int,
    zero_scan: bool = True,
    threads: int = 4,
    cancellation: Cancellation | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Lay out the VHD of a disk.

    ``timestamp``: seconds since 2000.  Raises ``ConversionFailed`` when the disk is larger than a
    VHD can be or cannot be read, ``Interrupted`` when ``cancellation`` is set.
    """
    size = target_size(disk.size)
    stop = cancellation or Cancellation()
    blocks = blocks_with_data(disk.extents())
    if zero_scan:
        numbers = _scanned(disk, blocks, threads, stop, progress or (lambda _done, _total: None))
    else:
        numbers = (block.number for block in blocks)
    layout = VhdLayout(size, numbers, uuid, timestamp)
    return Artifact(
        "vhd", variant="dynamic", virtual_size=size, size=layout.size, plan=layout.plan()
    )


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


def _scanned(
    disk: DiskView,
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


def _nonzero(disk: DiskView, batch: tuple[Block, ...], stop: Cancellation) -> list[int]:
    probes = [(block.data[0][0], bytearray(min(PROBE, block.data[0][1]))) for block in batch]
    disk.fetch([(offset, memoryview(buffer)) for offset, buffer in probes])
    return [
        block.number
        for block, (_, buffer) in zip(batch, probes, strict=True)
        if not _is_zero(buffer) or not _all_zero(disk, block, stop)
    ]


def _all_zero(disk: DiskView, block: Block, stop: Cancellation) -> bool:
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
