"""Which bytes of a container are the guest's, by its own tables: every run of them, for each format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from test_every_field import QCOW2, VDI, VHD, VHDX, VMDK

from pipeline import formats
from tests import every_field
from tests.every_field import Changed, Structure

HERE = Path(__file__).parent
CONTAINERS: dict[str, Structure] = QCOW2 | VMDK | VDI | VHDX | VHD
STRUCTURES = ("places",)
STEP = 512


def runs(structure: Structure) -> Iterator[str]:
    """The runs of sectors that are stored, and whether the bytes at their edges are."""
    reader = Changed(structure.data)
    kind = next((each for each in formats.FORMATS if each.matches(reader)), formats.FORMATS[-1])
    step = max(STEP, reader.size >> 9)
    held = [kind.stores(reader, at, STEP) for at in range(0, reader.size, step)]
    edges = [n for n in range(1, len(held)) if held[n] != held[n - 1]]
    yield f"{kind.name}, {sum(held)} of {len(held)} places {step} bytes apart"
    for number in edges:
        at = number * step
        told = [kind.stores(reader, at + by, 8) for by in (-step, -8, -1, 0, 1)]
        yield f"{at}: {told}, and {kind.stores(reader, at, step)} for all up to the next"


def lines() -> Iterator[str]:
    """All that is stored."""
    for name in (each for each in CONTAINERS if "-text" not in each):
        yield f"=== {name}"
        yield from runs(CONTAINERS[name])


def compare(name: str) -> None:
    """With the table that is stored."""
    every_field.check(HERE / "said", name, lines())


def test_where_each_format_stores_the_guest_s_bytes() -> None:
    compare("places")
