"""How a disk's data is spread over it: a row of cells, each with the share that is not known to be zeros.

    disk   |data|.......|data data|......................|data|
    cells   100   0  12   100  88    0   0   0   0   0    40      percent

Made for looking at.  A disk that is larger, or more scattered, than it may cost to ask about has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.source import Extent

CELLS = 256
MOST_EXTENTS = 20_000
MOST_BYTES = 2 << 40
"""Where the disk lies behind a server each GiB is a question."""


class TooScattered(Exception):
    """The allocation is not worth its cost; the message says why."""


def of(extents: Iterable[Extent], size: int) -> dict[str, Any]:
    """The fact ``disk.allocation``: bytes of a cell, and percent of data in each.

    ``extents`` are in order and cover the disk.  Raises ``TooScattered``.
    """
    cell = max(-(-size // CELLS), 1)
    held = [0] * (-(-size // cell))
    for number, extent in enumerate(extents):
        if number >= MOST_EXTENTS:
            raise TooScattered(f"its data lies in more than {MOST_EXTENTS} pieces")
        if extent.kind == "data":
            _add(held, cell, extent.offset, extent.offset + extent.length)
    return {"cell": cell, "data": [_percent(count, cell) for count in held]}


def _add(held: list[int], cell: int, start: int, end: int) -> None:
    for index in range(start // cell, min(-(-end // cell), len(held))):
        held[index] += min(end, (index + 1) * cell) - max(start, index * cell)


def _percent(count: int, cell: int) -> int:
    """Rounded, but what is there is seen."""
    return max(round(100 * count / cell), 1) if count else 0
