"""The comparison of a stored VHD's disk with the source's: what no checksum of ours would see."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.source import Extent
from pipeline.targets.comparison import DiskComparison, compare

BLOCK = 2 << 20
COUNT = 5
CONTAINER = {"format": "vhd", "variant": "dynamic", "virtual_size": COUNT * BLOCK}


class Bytes:
    """A reader, and a disk view that knows nothing of holes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        yield Extent(offset, self.size - offset if length is None else length, "data")


def made() -> tuple[Bytes, bytes]:
    """A disk whose blocks 1 and 3 hold data, and the VHD of it, put together here."""
    rng = random.Random(3)
    disk = bytearray(COUNT * BLOCK)
    for number in (1, 3):
        disk[number * BLOCK : (number + 1) * BLOCK] = rng.randbytes(BLOCK)
    bat = struct.pack(">5I", 0xFFFFFFFF, 4, 0xFFFFFFFF, 4 + 1 + 4096, 0xFFFFFFFF)
    footer = b"conectix" + struct.pack(">IIQ", 2, 0x10000, 512) + bytes(24 - 8)
    footer += struct.pack(">QQ", COUNT * BLOCK, COUNT * BLOCK)
    header = b"cxsparse" + struct.pack(">QQIII", (1 << 64) - 1, 1536, 0x10000, COUNT, BLOCK)
    front = footer.ljust(512, b"\0") + header.ljust(1024, b"\0") + bat.ljust(512, b"\0")
    blocks = b"".join(
        b"\xff" * 512 + disk[number * BLOCK : (number + 1) * BLOCK] for number in (1, 3)
    )
    return Bytes(bytes(disk)), front + blocks + footer.ljust(512, b"\0")


def seen(comparison: DiskComparison, data: bytes, step: int) -> str | None:
    for offset in range(0, len(data), step):
        said = comparison.see(offset, data[offset : offset + step])
        if said:
            return said
    return comparison.missing()


@settings(max_examples=15, deadline=None)
@given(st.integers(60_000, 9_000_000))
def test_the_same_disk_is_the_same_in_any_cuts(step: int):
    disk, vhd = made()
    comparison = compare(Bytes(vhd), CONTAINER, disk)
    assert comparison is not None
    assert seen(comparison, vhd, step) is None


@pytest.mark.parametrize("at", [2048 + 512, 2048 + 512 + BLOCK - 1, 2048 + 2 * 512 + BLOCK + 77])
def test_one_changed_byte_of_data_is_found(at: int):
    disk, vhd = made()
    changed = vhd[:at] + bytes([vhd[at] ^ 1]) + vhd[at + 1 :]
    comparison = compare(Bytes(changed), CONTAINER, disk)
    assert comparison is not None
    assert "differs from the source" in (seen(comparison, changed, 1 << 20) or "")


def test_swapped_blocks_are_found():
    disk, vhd = made()
    bat = struct.pack(">5I", 0xFFFFFFFF, 4 + 1 + 4096, 0xFFFFFFFF, 4, 0xFFFFFFFF)
    swapped = vhd[:1536] + bat + vhd[1536 + len(bat) :]
    comparison = compare(Bytes(swapped), CONTAINER, disk)
    assert comparison is not None
    assert seen(comparison, swapped, 1 << 20)


def test_data_that_the_vhd_leaves_out_is_found():
    disk, vhd = made()
    more = bytearray(disk.data)
    more[4 * BLOCK + 5] = 1
    comparison = compare(Bytes(vhd), CONTAINER, Bytes(bytes(more)))
    assert comparison is not None
    assert (
        seen(comparison, vhd, 1 << 20)
        == f"the source's data at {4 * BLOCK} of the disk is not in it"
    )


def test_the_place_is_told_to_four_mebibytes():
    disk = bytearray(12 << 20)
    disk[7 << 20] = 1

    told = DiskComparison([], len(disk), Bytes(bytes(disk))).missing()

    assert told == f"the source's data at {4 << 20} of the disk is not in it"


def test_a_disk_rounded_up_ends_with_zeros():
    disk, vhd = made()
    comparison = compare(Bytes(vhd), CONTAINER, Bytes(disk.data[: 4 * BLOCK + 512]))
    assert comparison is not None
    assert seen(comparison, vhd, 1 << 20) is None


def test_a_container_that_is_not_ours_to_read_is_not_compared():
    disk, _ = made()
    assert compare(disk, {"format": "qcow2", "virtual_size": 5}, disk) is None
