"""A second signature counts only at bytes that the container does not account for."""

from __future__ import annotations

import struct
from pathlib import Path

import handmade
import pytest
import vhd_files as files
from hypothesis import given
from hypothesis import strategies as st

from pipeline import formats
from pipeline.formats.tables import covered
from pipeline.source import Source

MIB = 1 << 20


def rules(data: bytes) -> set[str]:
    return {item.rule for item in formats.identify(handmade.Memory(data)).problems}


def vhd_with_block_at(sector: int) -> bytes:
    """A dynamic VHD of 640 MiB by another writer: its table ends where the first block begins."""
    size = 640 * MIB
    whole = bytearray(handmade.vhd_dynamic(size))
    head, footer = whole[:1536], whole[-512:]
    table = struct.pack(">I", sector).ljust((sector - 3) * 512, b"\xff")
    block = handmade.gpt_disk(2 * MIB)
    return bytes(head + table + b"\xff" * 512 + block + footer)


def test_a_guest_s_gpt_at_byte_4096_of_a_vhd_is_the_guest_s() -> None:
    data = vhd_with_block_at(6)
    assert data.index(b"EFI PART") == 4096

    found = formats.identify(handmade.Memory(data))

    assert (found.container.format, found.matches) == ("vhd", ("vhd",))
    assert "polyglot" not in {item.rule for item in found.problems}


def test_a_gpt_in_the_gap_in_front_of_the_blocks_is_a_second_format() -> None:
    data = bytearray(vhd_with_block_at(40))
    data[4096:4104] = b"EFI PART"  # between the table and the first block

    assert "polyglot" in rules(bytes(data))


def test_a_gpt_where_a_block_that_is_not_stored_would_be_is_a_second_format() -> None:
    data = bytearray(vhd_with_block_at(6))
    data[1536:1540] = b"\xff" * 4

    assert "polyglot" in rules(bytes(data))


def test_a_gpt_where_the_bitmap_of_a_block_is_is_a_second_format() -> None:
    data = bytearray(vhd_with_block_at(6))
    data[3072 + 512 : 3072 + 1024] = data[3072 : 3072 + 512]
    data = data[:1536] + struct.pack(">I", 8) + data[1540:]  # its bitmap is at byte 4096 now

    assert "polyglot" in rules(bytes(data))


GUEST = handmade.gpt_disk(4 * MIB)


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("size", [512, 1024, 4096, 65536])
def test_a_qcow2_of_small_clusters_is_one_whatever_its_clusters_hold(
    tmp_path: Path, size: int
) -> None:
    # given a guest that is full of the mark, so that one lies where the file would have its own
    (tmp_path / "guest.raw").write_bytes(b"EFI PART".ljust(512, b"\1") * 2048 + bytes(MIB))
    made = tmp_path / "image.qcow2"
    files.qemu_img(
        "convert", "-O", "qcow2", "-o", f"cluster_size={size}", tmp_path / "guest.raw", made
    )

    with Source.open(made) as source:
        found = formats.identify(source)
        tried = source.read(4096, 8) == b"EFI PART"

    assert found.container.problems == ()
    assert found.matches == ("qcow2",)
    assert tried == (size == 512)


@pytest.mark.needs("qemu-img")
def test_a_disc_in_a_cluster_counts_for_such_a_file_can_be_made_on_purpose(tmp_path: Path) -> None:
    (tmp_path / "guest.raw").write_bytes(handmade.volume(b"A DISC") * 512 + bytes(MIB))
    made = tmp_path / "image.qcow2"
    files.qemu_img(
        "convert", "-O", "qcow2", "-o", "cluster_size=2048", tmp_path / "guest.raw", made
    )

    assert {"iso-image", "polyglot"} <= rules(made.read_bytes())


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("megabytes", [600, 641, 700, 768, 800])
def test_a_vdi_whose_data_begins_at_byte_3584(tmp_path: Path, megabytes: int) -> None:
    with (tmp_path / "guest.raw").open("wb") as file:
        file.write(GUEST[:MIB])
        file.truncate(megabytes * MIB)
    made = tmp_path / "image.vdi"
    files.qemu_img("convert", "-O", "vdi", tmp_path / "guest.raw", made)

    with Source.open(made) as source:
        found = formats.identify(source)
        tried = source.read(4096, 8) == b"EFI PART"

    assert found.matches == ("vdi",)
    assert tried == (640 < megabytes <= 768)


def test_a_vmdk_of_small_grains() -> None:
    # given grains of 512 bytes, the first of them at byte 4096
    head = bytearray(handmade.vmdk())
    struct.pack_into("<Q", head, 20, 1)
    struct.pack_into("<Q", head, 12, 512)
    descriptor = bytes(head[512 : 5 * 512])
    struct.pack_into("<QQ", head, 28, 1, 4)
    struct.pack_into("<Q", head, 56, 5)
    image = bytes(head[:512]) + descriptor + struct.pack("<I", 9).ljust(512, b"\0")
    image += bytes(2 * 512) + b"EFI PART".ljust(512, b"\0")
    for grain, matches in ((8, ("vmdk",)), (7, ("vmdk", "gpt"))):
        table = struct.pack("<I", grain).ljust(2048, b"\0")

        assert formats.identify(handmade.Memory(image + table)).matches == matches


def test_a_vhd_s_footer_at_the_end_of_a_qcow2_counts_wherever_it_stands() -> None:
    image = handmade.qcow2(bits=12)
    footer = handmade.vhd_footer(MIB)

    assert "polyglot" in rules(image[:-512] + footer)
    assert "polyglot" in rules(image + footer)


@pytest.mark.parametrize("zero", [0, 1])
def test_a_cluster_that_reads_as_zeros_accounts_for_nothing(zero: int) -> None:
    entries = (8 * 512 | 1 << 63 | zero,)
    image = handmade.qcow2(bits=9, size=32 * 1024, l2=entries, clusters=4)
    data = image[:4096] + b"EFI PART".ljust(512, b"\0")

    assert formats.identify(handmade.Memory(data)).matches == ("qcow2", "gpt")[: 1 + zero]


@given(
    st.lists(st.integers(0, 60), max_size=8, unique=True), st.integers(0, 70), st.integers(1, 40)
)
def test_covered_is_what_counting_bytes_says(starts: list[int], offset: int, length: int) -> None:
    apart = sorted(start * 10 for start in starts)
    held = {byte for start in apart for byte in range(start, start + 10)}

    assert covered(apart, 10, offset, length) == (set(range(offset, offset + length)) <= held)
