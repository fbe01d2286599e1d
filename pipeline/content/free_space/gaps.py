"""Space of a disk that no partition has.

    |MBR, GPT, boot loader ┊ partition 1 |░ gap ░| partition 2 |░░░ rest ░░░|1 MiB ┊ GPT's backup|
     kept                                  free                   free        kept

Boot loaders live before the first partition, RAID and Windows' logical disk manager in the last
sectors, extended boot records between logical partitions; a gap that is smaller than a MiB is not
worth a doubt.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.content.free_space.base import KeptError, Span, clipped, require, totals
from pipeline.content.partitions import Partition, PartitionTable

SMALLEST = 1 << 20  # bytes of a gap
AT_END = 1 << 20  # bytes of the disk's end that are kept in any case
_EXTENDED = ("0x05", "0x0f", "0x85")
_DYNAMIC = "0x42"  # Windows' logical disk manager lays its volumes out without regard to partitions


class GapMap:
    """``FreeMap`` of a disk without its partitions."""

    def __init__(self, spans: tuple[Span, ...], size: int) -> None:
        self.spans = spans
        self.end = size
        self.free, self.runs = totals(spans)

    def between(self, low: int, high: int) -> Iterator[Span]:
        """See ``FreeMap``."""
        return clipped(self.spans, low, high)


def look(table: PartitionTable, size: int) -> GapMap:
    """The space that no partition of a disk of ``size`` bytes has.  Raises ``KeptError``."""
    require_sound(table)
    if table.protective_mbr not in (None, "standard", "odd"):
        raise KeptError("its two partition tables may disagree")
    taken = sorted((part.start, part.end) for part in table.partitions)
    return GapMap(tuple(_gaps(taken, size)), size)


def require_sound(table: PartitionTable) -> None:
    """Raise ``KeptError`` when it is not certain what the partitions are."""
    for problem in table.problems:
        raise KeptError(f"its partition table is in doubt: {problem.detail}")
    dynamic = any(part.type == _DYNAMIC for part in table.partitions)
    require(not dynamic, "Windows' logical disk manager uses it")


def is_extended(partition: Partition) -> bool:
    """Whether it only holds other partitions."""
    return partition.type in _EXTENDED


def _gaps(taken: list[Span], size: int) -> Iterator[Span]:
    at = taken[0][0] if taken else size
    for start, end in [*taken, (size - AT_END, size)]:
        if start - at >= SMALLEST:
            yield at, start
        at = max(at, end)
