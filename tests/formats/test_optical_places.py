"""Where a disc's descriptors and their fields stand, to the byte, and with any bytes in front of the disc."""

from __future__ import annotations

import struct

import edges_others
import handmade
import pytest
import vhd_files
from handmade import Memory, patched

from pipeline.formats import optical
from pipeline.formats.optical import Optical

BASE = 0xFFFF1  # of a disc that is not alone in its file
VOLUME = handmade.volume(b"DISC")
SIERRA = handmade.high_sierra()[32768 : 32768 + 2048]


def disc(*sectors: tuple[int, bytes], base: int = 0, length: int = 300 * 2048) -> Optical | None:
    """What is found of sectors of 2048 bytes at their numbers, behind ``base`` other bytes."""
    pieces = {base + number * 2048: sector for number, sector in sectors}
    return optical.find(vhd_files.MemoryDisk(base + length, pieces), base)


def filled(sector: bytes, *places: tuple[int, int, bytes]) -> bytes:
    """Fields full of one letter, with other letters before and behind them."""
    for start, end, letter in places:
        sector = patched(sector, start - 1, b"<" + letter * (end - start) + b">")
    return sector


def test_names_end_where_their_fields_do() -> None:
    volume = filled(VOLUME, (8, 40, b"S"))
    assert getattr(disc((16, volume)), "system", None) == "S" * 32
    volume = filled(VOLUME, (40, 72, b"L"))
    assert getattr(disc((16, volume)), "label", None) == "L" * 32
    boot = filled(handmade.BOOT_RECORD, (7, 39, b"B"))
    boot = patched(boot, 6, b"\1")
    assert getattr(disc((16, VOLUME), (17, boot)), "boot_record", None) == "B" * 32
    sierra = filled(SIERRA, (48, 80, b"L"))
    assert getattr(disc((16, sierra)), "label", None) == "L" * 32
    sierra = filled(SIERRA, (16, 48, b"S"))
    assert getattr(disc((16, sierra)), "system", None) == "S" * 32


@pytest.mark.parametrize("base", [0, BASE])
@pytest.mark.parametrize("number", [16, 17, 47])
def test_a_disc_is_told_by_its_descriptor_s_bytes(base: int, number: int) -> None:
    for sector, kind in ((VOLUME, "iso9660"), (SIERRA, "high-sierra")):
        found = disc((number, sector), base=base)

        assert found is not None
        assert (found.kind, found.offset, found.length) == (kind, base + number * 2048, 2048)
        assert found.sector_size == 2048


@pytest.mark.parametrize("base", [0, BASE])
@pytest.mark.parametrize(
    ("size", "data_at"), [(2352, 16), (2352, 24), (2448, 16), (2448, 24), (2336, 8)]
)
@pytest.mark.parametrize("number", [16, 19, 31])
def test_a_raw_disc_is_told_by_its_descriptor_s_bytes(
    base: int, size: int, data_at: int, number: int
) -> None:
    sync = {} if size == 2336 else {base + 16 * size: b"\0" + b"\xff" * 10 + b"\0"}
    for sector, kind in ((VOLUME, "iso9660"), (SIERRA, "high-sierra")):
        place = base + number * size + data_at
        found = optical.find(vhd_files.MemoryDisk(base + 40 * size, {**sync, place: sector}), base)

        assert found is not None
        assert (found.kind, found.offset, found.length) == (kind, place, 2048)
        assert found.sector_size == size


@pytest.mark.parametrize("base", [0, BASE])
@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("anchored", [True, False])
def test_udf_behind_other_bytes(base: int, seen: bool, anchored: bool) -> None:
    image = bytes(base) + handmade.udf(recognised=seen, anchored=anchored)

    found = optical.find(Memory(image), base)

    if not seen and not anchored:
        assert found is None
        return
    assert found is not None
    assert found.label == ("UDFDISC" if anchored else None)
    place = (32768 + 2048, 7) if seen else (256 * 2048, 512)
    assert (found.offset - base, found.length) == place


@pytest.mark.parametrize("base", [0, BASE])
def test_what_stands_in_front_of_a_disc_is_looked_for_at_its_start(base: int) -> None:
    image = bytes(base) + handmade.iso(area=handmade.mbr() + b"EFI PART")

    found = optical.find(Memory(image), base)

    assert found is not None
    assert found.hybrid == ("mbr", "gpt")
    assert found.describe() == ("ISO 9660, volume label 'DISC', with MBR and GPT in front (hybrid)")


@pytest.mark.parametrize("length", [131, 132, 2047])
def test_a_descriptor_that_the_file_cuts_counts_with_its_numbers(length: int) -> None:
    whole = 32768 + length

    assert (disc((16, VOLUME), length=whole) is not None) is (length >= 132)
    sierra = patched(SIERRA, 0, (16).to_bytes(4, "little") + (16).to_bytes(4, "big"))
    assert (disc((16, sierra), length=whole) is not None) is (length >= 132)


@pytest.mark.parametrize(
    ("flags", "length", "block", "is_one"),
    [
        (2, 34, 2048, True),
        (3, 34, 512, True),
        (2, 34, 1024, True),
        (0, 34, 2048, False),
        (6, 34, 2048, False),
        (2, 33, 2048, False),
        (2, 35, 2048, False),
        (2, 34, 4096, False),
        (2, 34, 256, False),
    ],
)
def test_linux_goes_by_the_root_directory_alone(
    flags: int, length: int, block: int, is_one: bool
) -> None:
    # given a volume descriptor of version 0, whose big-endian numbers are wrong
    sector = patched(patched(VOLUME, 6, b"\0"), 80, bytes(8))
    sector = patched(sector, 128, block.to_bytes(2, "little") + b"\7\7")
    sector = patched(sector, 155, b"\x09" + bytes([length, 9]))
    sector = patched(sector, 180, bytes([9, flags, 9]))

    assert (disc((16, sector)) is not None) is is_one


@pytest.mark.parametrize(
    ("at", "number", "is_one"),
    [
        (80, b"\1\2\3\4" + b"\4\3\2\1", True),
        (80, b"\1\2\3\4" + b"\4\3\2\2", False),
        (80, b"\0\0\0\1" + b"\1\0\0\0", True),
        (80, bytes(8), False),
        (128, b"\1\2" + b"\2\1", True),
        (128, b"\1\2" + b"\1\2", False),
        (128, bytes(4), False),
    ],
)
def test_a_number_in_both_orders_makes_a_volume(at: int, number: bytes, is_one: bool) -> None:
    sector = patched(patched(VOLUME, 80, bytes(8)), 128, bytes(4))

    assert (disc((16, patched(sector, at, number))) is not None) is is_one


def test_of_volumes_the_primary_one_s_names_count() -> None:
    second, third = handmade.volume(b"JOLIET", kind=2), handmade.volume(b"LATER")
    for sectors, label, at in (
        ([second, VOLUME, third], "DISC", 17),
        ([VOLUME, second, third], "DISC", 16),
        ([second, second], "JOLIET", 16),
        ([handmade.TERMINATOR, VOLUME], None, None),
        ([second, handmade.TERMINATOR, VOLUME], "JOLIET", 16),
        ([patched(VOLUME, 0, b"\3"), VOLUME], "DISC", 17),  # behind a volume's partition
        ([patched(handmade.BOOT_RECORD, 6, b"\2"), VOLUME], "DISC", 17),
    ):
        found = disc(*enumerate(sectors, 16))

        assert getattr(found, "label", None) == label
        assert getattr(found, "offset", None) == (at and at * 2048)


@pytest.mark.parametrize(
    ("first", "run", "seen"),
    [(16, 84, True), (16, 85, False), (47, 10, True), (48, 1, False), (47, 53, True), (47, 54, False)],
)  # fmt: skip
def test_far_from_the_start_a_volume_counts_in_an_unbroken_run(
    first: int, run: int, seen: bool
) -> None:
    sectors = [(first + n, handmade.BOOT_RECORD) for n in range(run - 1)]

    assert (disc(*sectors, (first + run - 1, VOLUME)) is not None) is seen


@pytest.mark.parametrize("blocks", [1, 2, 15, 16, 17])
@pytest.mark.parametrize("size", [512, 2048, 4096])
@pytest.mark.parametrize("at", [300, (3 << 24) + 300])
def test_the_label_is_looked_for_in_as_many_descriptors_as_the_anchor_tells(
    size: int, blocks: int, at: int
) -> None:
    # given a label in the last block of the descriptors, behind others
    base = BASE
    tag = edges_others._tag
    label = tag(6, at + blocks - 1, bytes(68) + (b"\x08NAME").ljust(127, b"\0") + b"\5")
    pieces = {
        base + 256 * size: tag(2, 256, struct.pack("<II", blocks * size, at)).ljust(512, b"\0"),
        **{base + (at + n) * size: tag(1, at + n, bytes(496)) for n in range(blocks - 1)},
        base + (at + blocks - 1) * size: label.ljust(512, b"\0"),
    }

    found = optical.find(vhd_files.MemoryDisk((at + 20) * size + base, pieces), base)

    assert found is not None
    assert (found.kind, found.offset) == ("udf", base + 256 * size)
    assert found.label == ("NAME" if blocks <= 16 else None)


def recognised(*names: bytes, step: int = 2048, cut: int = 0, kind: int = 0) -> bool:
    """Whether these descriptors make UDF; of the last one so many bytes are cut off, version and all."""
    marks = [bytes([kind]) + name + b"\1" for name in names]
    size = 32768 + step * (len(marks) - 1) + 7 - cut
    pieces = {32768 + n * step: mark for n, mark in enumerate(marks)}
    found = optical.find(vhd_files.MemoryDisk(size, pieces))
    assert found is None or (found.offset, found.length) == (size - 7, 7)
    return found is not None


@pytest.mark.parametrize("step", [2048, 4096, 8192, 16384, 32768])
def test_udf_is_recognised_in_an_unbroken_run_of_descriptors(step: int) -> None:
    assert recognised(b"NSR02", step=step)
    assert recognised(b"BEA01", b"NSR03", step=step)
    assert recognised(b"CD001", b"BEA01", b"BOOT2", b"NSR02", step=step)
    assert recognised(b"OTHER", b"NSR02", step=step)
    assert not recognised(b"BEA01", b"BOOT2", b"OTHER", b"NSR02", step=step)
    assert not recognised(b"BEA01", b"NSR04", step=step)
    assert not recognised(b"BEA01", b"NSR02", step=step, cut=1)
    assert not recognised(b"BEA01", b"NSR02", step=step, kind=1)


@pytest.mark.parametrize("block", [255, 256, 257, 256 | 1 << 16, 256 | 1 << 24, 1 << 24])
def test_an_anchor_says_that_it_is_block_256(block: int) -> None:
    tag = edges_others._tag(2, block, struct.pack("<II", 2048, 260))
    reader = vhd_files.MemoryDisk(300 * 2048, {256 * 2048: tag})

    assert (optical.find(reader) is not None) is (block == 256)


@pytest.mark.parametrize("kind", [1, 2, 3, 258, 0x200])
def test_a_tag_s_kind_has_two_bytes(kind: int) -> None:
    tag = edges_others._tag(kind, 256, struct.pack("<II", 2048, 260))
    reader = vhd_files.MemoryDisk(300 * 2048, {256 * 2048: tag})

    assert (optical.find(reader) is not None) is (kind == 2)


@pytest.mark.parametrize("length", [2048, 1 << 16, 1 << 24, 3 << 30])
def test_the_descriptors_are_as_long_as_the_anchor_says(length: int) -> None:
    # given that another extent's length and place stand behind
    image = bytearray(handmade.udf())
    anchor = edges_others._tag(2, 256, struct.pack("<IIII", length, 260, 77, 88))
    image[256 * 2048 : 256 * 2048 + 32] = anchor

    assert getattr(optical.find(Memory(bytes(image))), "label", None) == "UDFDISC"


def test_a_label_ends_where_its_last_byte_says() -> None:
    for length, label in ((1, None), (2, "N"), (5, "NAME"), (8, "NAME IS")):
        field = (b"\x08NAME IS LONGER").ljust(127, b"x") + bytes([length])
        image = bytearray(handmade.udf())
        image[260 * 2048 : 260 * 2048 + 212] = edges_others._tag(6, 260, bytes(68) + field)

        assert getattr(optical.find(Memory(bytes(image))), "label", None) == label
        cut = Memory(bytes(image[: 260 * 2048 + 84]))  # in front of its label
        assert getattr(optical.find(cut), "label", None) is None
