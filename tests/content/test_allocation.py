"""Where a disk's data lies, as a row of cells."""

import pytest

from pipeline.content import allocation
from pipeline.source import Extent

MIB = 1 << 20


def test_each_cell_tells_its_share_and_what_is_there_is_seen():
    size = 256 * MIB
    extents = [
        Extent(0, 1, "data"),
        Extent(1, 3 * MIB - 1, "zero"),
        Extent(3 * MIB, MIB + MIB // 2, "data"),
        Extent(4 * MIB + MIB // 2, size - 4 * MIB - MIB // 2, "zero"),
    ]

    found = allocation.of(extents, size)

    assert found["cell"] == MIB
    assert found["data"][:6] == [1, 0, 0, 100, 50, 0]
    assert len(found["data"]) == 256


@pytest.mark.parametrize("size", [1, 511, 512, 256 * 512 + 1, (2 << 40) - 512])
def test_every_size_of_a_disk_is_covered_by_its_cells(size):
    found = allocation.of([Extent(0, size, "data")], size)

    assert len(found["data"]) <= allocation.CELLS
    assert found["cell"] * len(found["data"]) >= size
    assert set(found["data"][:-1]) <= {100}
    assert found["data"][-1] > 0


def test_a_disk_in_endless_pieces_is_given_up():
    pieces = (Extent(2 * at, 1, "data") for at in range(10**9))

    with pytest.raises(allocation.TooScattered, match="pieces"):
        allocation.of(pieces, 1 << 31)
