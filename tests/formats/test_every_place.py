"""Which bytes of a container are the guest's, by its own tables: every run of them, for each format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import edges_vhd
import handmade
import pytest
from handmade import MIB, Memory
from test_every_field import COPIED, QCOW2, VDI, VHD, VHDX, VMDK, vhd_sums

from pipeline import formats
from pipeline.formats.bounded import BoundedReader
from tests import every_field
from tests.every_field import Structure, run

HERE = Path(__file__).parent
CONTAINERS: dict[str, Structure] = QCOW2 | VMDK | VDI | VHDX | VHD
STEP = 512


def runs(structure: Structure) -> Iterator[str]:
    """The runs of sectors that are stored, and whether the bytes at their edges are."""
    reader = Memory(structure.data)
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


PLACES = {
    "stores-qcow2": (
        Structure(
            handmade.qcow2(bits=9, size=64 << 10, l2=(5 << 9 | COPIED, 6 << 9, 8 << 9), clusters=4),
            (
                *run(4, 4),
                *run(20, 4, 8, 4, 4, 8, 8, 4),
                *run(72, 8),
                *run(96, 4, 4),
                *run(1536, 8),
                *run(2048, 8, 8, 8),
            ),
            cuts=(103, 104, 1535, 2048, 2560),
        ),
        (0, 2048, 2559, 2560, 3071, 3072, 3584, 4096, 4600),
    ),
    "stores-vmdk": (
        Structure(
            handmade.vmdk(),
            (*run(0, 4, 4, 4, 8, 8), *run(44, 4, 8, 8), *run(21 * 512, 4), *run(22 * 512, 4, 4, 4)),
            "little",
            cuts=(511, 512),
        ),
        (0, 65535, 65536, 131064, 131071, 131072, 196600, 196607),
    ),
    "stores-vdi": (
        Structure(
            handmade.vdi(),
            (*run(340, 4, 4), *run(360, 4), *run(368, 8, 4, 4, 4, 4), *run(512, 4, 4, 4)),
            "little",
            cuts=(511, 512, 527, 528),
        ),
        (1016, 1023, 1024, MIB + 1023, MIB + 1024, 2 * MIB + 1016, 2 * MIB + 1023),
    ),
    "stores-vhd": (
        Structure(
            edges_vhd.small(),
            (
                *run(0, 8),
                *run(16, 8),
                *run(60, 4),
                *run(512, 8),
                *run(528, 8),
                *run(540, 4, 4),
                *run(1540, 4, 4, 4),
            ),
            mend=vhd_sums,
            cuts=(511, 512, 1535, 1536),
        ),
        tuple(
            edges_vhd.FIRST + n * edges_vhd.STRIDE + by
            for n in range(3)
            for by in (511, 512, 4600, 4601)
        ),
    ),
}


def held(places: tuple[int, ...]) -> every_field.Telling:
    """Which of these places' 8 bytes are stored."""

    def tell(reader: Memory) -> dict[str, bool]:
        bounded = BoundedReader(reader)
        kind = next(
            (each for each in formats.FORMATS if each.matches(bounded)), formats.FORMATS[-1]
        )
        return {str(at): kind.stores(bounded, at, 8) for at in places}

    return tell


def compare(name: str) -> None:
    """With the table that is stored."""
    if name == "places":
        every_field.check(HERE / "said", name, lines())
    else:
        structure, places = PLACES[name]
        every_field.check(HERE / "said", name, every_field.table(structure, held(places)))


STRUCTURES = ("places", *PLACES)


@pytest.mark.parametrize("name", STRUCTURES)
def test_where_each_format_stores_the_guest_s_bytes(name: str) -> None:
    compare(name)
