"""How much of what is free an image still holds: what leaving it out would save.

disk    ███ deleted ███ file ░hole░░░░░░ zeros ██
free        ▒▒▒▒▒▒▒          ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
stored      ▒▒▒▒▒▒▒                ▒▒▒▒▒▒▒▒▒▒▒▒     a map tells these without reading
deleted     ▒▒▒▒▒▒▒                                  samples tell deleted data from zeros
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.content.free_space import FreeSpace
from pipeline.source import Extent, Reader

_SAMPLES = 256  # reads, whatever the size
_SAMPLE = 4096  # bytes of each


def facts(view: Reader, free: FreeSpace, extents: Iterable[Extent]) -> dict[str, Any]:
    """The section ``disk.free_space``; ``extents``: of the whole disk."""
    return {
        "free": free.free,
        "runs": free.runs,
        "deleted": deleted(view, free, extents),
        "areas": [area.facts() for area in free.areas],
    }


def deleted(view: Reader, free: FreeSpace, extents: Iterable[Extent]) -> int:
    """Bytes of free space that hold something else than zeros, estimated from evenly spread samples.

    Raises ``ConversionFailed`` when the disk cannot be read.
    """
    stored, places = _stored(free, extents)
    held = sum(any(view.read(offset, length)) for offset, length in places)
    return stored * held // len(places) if places else 0


def _stored(free: FreeSpace, extents: Iterable[Extent]) -> tuple[int, list[tuple[int, int]]]:
    """Bytes of free space that the image stores, and (offset, length) of samples in them."""
    step = max(_SAMPLE, free.free // _SAMPLES)
    stored = following = 0
    places: list[tuple[int, int]] = []
    for extent in extents if free.free else ():
        if extent.kind == "zero":
            continue
        for low, high in free.between(extent.offset, extent.offset + extent.length):
            while following < stored + high - low:
                at = low + following - stored
                places.append((at, min(_SAMPLE, high - at)))
                following += step
            stored += high - low
    return stored, places
