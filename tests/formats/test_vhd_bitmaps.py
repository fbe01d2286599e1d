"""The sector bitmaps of a dynamic VHD: every stored block's, on real files with holes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import handmade
import pytest
import vhd_files as files
from hypothesis import given
from hypothesis import strategies as st
from vhd_files import entry, ours

from pipeline.formats.vhd_bitmaps import clear_runs
from pipeline.source import Source
from stages.identify import container_facts

MIB = 1 << 20
SMALL = 4096
BLOCKS = 200  # more than the 64 that a reader of bitmaps is given at a time


def with_clear(
    data: bytearray, number: int, first: int, after: int, fill: bytes | None = None
) -> bytearray:
    """Clear the bits of some sectors of a stored block, and perhaps write over the sectors."""
    at = entry(data, number) * 512
    for sector in range(first, after):
        data[at + sector // 8] &= ~(0x80 >> sector % 8)
        if fill is not None:
            data[at + 512 + sector * 512 : at + 1024 + sector * 512] = fill * 512
    return data


def problems(path: Path, data: bytes) -> list[dict[str, object]]:
    with path.open("wb") as file:  # zeros become holes, as a file system stores them
        for at in range(0, len(data), 4096):
            if any(data[at : at + 4096]):
                file.seek(at)
                file.write(data[at : at + 4096])
        file.truncate(len(data))
    with Source.open(path) as source:
        found = container_facts(source, name=path.name)["problems"]
    return [item for item in found if item["rule"] in ("vhd-sector-bitmap", "vhd-batmap")]


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A VHD of small blocks without a batmap, all stored, each with data in its first sector."""
    made = files.set_header(ours(BLOCKS * files.BLOCK, []), block_size=SMALL)
    files.set_footer(made, current_size=BLOCKS * SMALL, original_size=BLOCKS * SMALL)
    out, footer = made[:-512], made[-512:]
    for number in range(BLOCKS):
        files.set_entry(out, number, len(out) // 512)
        out += b"\xff" * 512 + b"D" * 512 + bytes(SMALL - 512)
    at = out.index(b"tdbatmap")
    out[at : at + 8] = bytes(8)
    return bytes(out + footer)


def test_bits_that_are_set_are_no_problem(tmp_path: Path, whole: bytes) -> None:
    assert problems(tmp_path / "a.vhd", whole) == []


def test_zeros_behind_clear_bits_are_the_same_disk_to_everybody(
    tmp_path: Path, whole: bytes
) -> None:
    data = with_clear(bytearray(whole), 3, 1, 8)

    assert problems(tmp_path / "a.vhd", data) == []


@pytest.mark.parametrize("number", [0, 63, 64, 101, BLOCKS - 1])
@pytest.mark.parametrize("sector", [1, 7])
def test_data_behind_a_clear_bit_is_found_in_every_block(
    tmp_path: Path, whole: bytes, number: int, sector: int
) -> None:
    data = with_clear(bytearray(whole), number, sector, sector + 1, b"\x01")

    (found,) = problems(tmp_path / "a.vhd", data)

    assert found["rule"] == "vhd-sector-bitmap"
    assert f"sector {sector} of block {number} " in str(found["detail"])
    assert found["offset"] == entry(data, number) * 512 + 512 + sector * 512


def test_a_block_that_the_batmap_calls_full_may_have_no_clear_bit(tmp_path: Path) -> None:
    data = with_clear(ours(40 * MIB, [1, 3, 4]), 3, 0, 1)

    found = {item["rule"] for item in problems(tmp_path / "a.vhd", bytes(data))}

    assert found == {"vhd-batmap", "vhd-sector-bitmap"}


def test_another_writer_s_vhd_has_no_clear_bit_either(tmp_path: Path) -> None:
    assert problems(tmp_path / "a.vhd", handmade.vhd_dynamic(4 * MIB)) == []


def test_bits_behind_a_block_s_last_sector_mean_nothing(tmp_path: Path, whole: bytes) -> None:
    data = bytearray(whole)
    for number in range(BLOCKS):  # eight sectors each, and data of the next block behind them
        at = entry(data, number) * 512
        data[at + 1 : at + 512] = bytes(511)

    assert problems(tmp_path / "a.vhd", data) == []


@given(st.binary(min_size=1, max_size=40), st.integers(1, 320))
def test_runs_are_the_sectors_whose_bit_is_clear(bitmap: bytes, used: int) -> None:
    used = min(used, 8 * len(bitmap))
    clear = [at for at in range(used) if not bitmap[at // 8] & 0x80 >> at % 8]

    runs = clear_runs(bitmap, used)

    assert [at for low, high in runs for at in range(low, high)] == clear
    assert all(high < low for (_, high), (low, _) in pairwise(runs))
