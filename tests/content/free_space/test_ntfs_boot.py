"""The boot sector of an NTFS: which numbers are possible, and what is taken from them."""

from __future__ import annotations

import pytest
from made_ntfs import boot

from pipeline.content.free_space import ntfs
from pipeline.content.free_space.base import KeptError
from pipeline.content.free_space.ntfs import Geometry

MIB = 1 << 20


class Beginning:
    """A volume of which only the boot sector is there."""

    def __init__(self, raw: bytes, size: int) -> None:
        self.raw, self.size = raw, size

    def read(self, offset: int, length: int) -> bytes:
        assert offset == 0
        return self.raw[:length]


def told(size: int = 700_000, **fields: int | bytes) -> Geometry | str:
    """Its numbers, or why they are not believed."""
    try:
        return ntfs._geometry(Beginning(boot(**fields), size))  # type: ignore[arg-type]
    except KeptError as error:
        return str(error)


def test_its_numbers_are_taken_from_their_places() -> None:
    assert told() == Geometry(2048, 300, 1024, 5, 10)
    far = told(1 << 60, sectors=0x0102030405060708 >> 8, mft=0x010203040506, mirror=0x0A0B0C0D0E)
    assert far == Geometry(2048, 0x01020304050607 // 4, 1024, 0x010203040506, 0x0A0B0C0D0E)


@pytest.mark.parametrize("name", [b"NTFS   ", b"NTFS   !", b"MTFS    ", b"OTFS    ", b"EXFAT   "])
def test_it_has_its_name(name: bytes) -> None:
    assert told(name=name.ljust(8, b"\0")) == "its boot sector has no name"


def test_it_is_a_whole_sector() -> None:
    assert ntfs._geometry(Beginning(boot(), 700_000)).clusters == 300
    with pytest.raises(KeptError, match="its boot sector would lie at byte 0, outside of it"):
        ntfs._geometry(Beginning(boot()[:511], 700_000))


@pytest.mark.parametrize(
    ("sector", "possible"),
    [(0, False), (128, False), (255, False), (256, True), (257, False), (512, True),
     (513, False), (1024, True), (2048, True), (4096, True), (4097, False), (8192, False)],
)  # fmt: skip
def test_sectors_have_a_possible_size(sector: int, possible: bool) -> None:
    found = told(8 * MIB, sector=sector)
    fits = Geometry(4 * sector, 300, 1024, 5, 10)
    assert found == (fits if possible else "its sector size is not possible")


@pytest.mark.parametrize(
    ("factor", "cluster"),
    [(0, None), (1, 512), (2, 1024), (3, None), (5, None), (64, 32768), (127, None), (128, 65536),
     (129, None), (0xF3, None), (0xF4, 2 * MIB), (0xF5, MIB), (0xF9, 65536), (0xFE, 2048),
     (0xFF, 1024)],
)  # fmt: skip
def test_clusters_are_a_power_of_two_of_sectors(factor: int, cluster: int | None) -> None:
    sectors = 15 * 4096 + 7
    found = told(sectors * 512, factor=factor, sectors=sectors)
    if cluster is None:
        assert found == "its cluster size is not possible"
    else:
        assert found == Geometry(cluster, sectors * 512 // cluster, 1024, 5, 10)


@pytest.mark.parametrize(
    ("record", "factor", "size"),
    [(-9, 4, None), (-10, 4, 1024), (-11, 4, 2048), (-12, 4, 4096), (-13, 4, None),
     (-128, 4, None), (0, 4, None), (1, 4, 2048), (2, 4, 4096), (3, 4, None), (1, 2, 1024),
     (1, 1, None), (2, 1, 1024), (8, 1, 4096), (16, 1, None), (127, 1, None)],
)  # fmt: skip
def test_records_have_a_possible_size(record: int, factor: int, size: int | None) -> None:
    found = told(record=record, factor=factor)
    if size is None:
        assert found == "the size of its MFT's records is not possible"
    else:
        assert found == Geometry(512 * factor, 1203 // factor, size, 5, 10)


def test_it_fits_into_its_place() -> None:
    assert isinstance(told(1203 * 512), Geometry)
    assert isinstance(told(1203 * 512 + 1), Geometry)
    words = f"it says that it has {1203 * 512} bytes, in a place of {1203 * 512 - 1}"
    assert told(1203 * 512 - 1) == words
    assert told(sectors=1 << 63) == f"it says that it has {512 << 63} bytes, in a place of 700000"


@pytest.mark.parametrize(
    ("mft", "mirror", "inside"),
    [(1, 2, True), (2, 1, True), (0, 2, False), (1, 0, False), (299, 1, True), (1, 299, True),
     (300, 1, False), (1, 300, False), (301, 1, False), (1, 301, False), (7, 7, False),
     (270, 270, False), (270, 271, True)],
)  # fmt: skip
def test_the_mft_and_its_mirror_lie_in_different_places(
    mft: int, mirror: int, inside: bool
) -> None:
    found = told(mft=mft, mirror=mirror)
    fits = Geometry(2048, 300, 1024, mft, mirror)
    assert found == (fits if inside else "its MFT lies outside")
