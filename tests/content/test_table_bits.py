"""Partition tables, volume groups and archives whose numbers have bits in common, and their limits."""

import dataclasses
import struct
import zlib

import pytest
from handmade import Memory, gpt_disk, patched

from pipeline.content import cpio, disk, filesystems, lvm, partitions
from tests.content import test_every_superblock as superblocks
from tests.content.test_every_edge import _gpt, _mbr

# ------------------------------------------------------------------------------- partition tables


@pytest.mark.parametrize("field", [1024 + 56, 512 + 56])
@pytest.mark.parametrize("first", [False, True])
def test_a_backup_with_other_partitions_than_the_first(field, first):
    # given two disks whose partitions, or whose GUIDs, differ
    one = Memory(gpt_disk())
    other = one.also(field, b"X").also(
        superblocks._LAST * 512 + 56, b"X" if field < 1024 else one.read(568, 1)
    )
    images = [image.read(0, image.size) for image in (one, superblocks._all_sums(other))]
    front, back = images if first else images[::-1]

    found = partitions.parse(Memory(front[: 2 << 20] + back[2 << 20 :]))

    assert [problem.rule for problem in found.problems] == ["gpt-backup"]
    assert found.problems[0].detail == "it holds other partitions than the first one"
    assert partitions.parse(Memory(back)).problems == ()


@pytest.mark.parametrize(
    ("first", "second"), [(7, 5), (16, 16), (33, 3), (100, 100), (255, 1), (255, 255)]
)
def test_a_logical_partition_counts_from_its_own_record(first, second):
    image = _mbr((0, 5, first, 900))
    image = image.also(first * 512, _mbr((0, 0x83, 3, 4), (0, 5, second, 40)).read(0, 512))
    image = image.also((first + second) * 512, _mbr((0, 0x82, second, 9)).read(0, 512))

    found = partitions.parse(image).partitions

    assert [(part.number, part.start // 512, part.size // 512) for part in found] == [
        (1, first, 900), (5, first + 3, 4), (6, first + 2 * second, 9)
    ]  # fmt: skip


def test_logical_partitions_of_two_extended_ones_are_numbered_on():
    image = _mbr((0, 5, 16, 40), (0, 15, 64, 40))
    for extended in (16, 64):
        first = _mbr((0, 0x83, 1, 1), (0, 5, 4, 4))
        second = _mbr((0, 0x83, 2, 1), (0, 5, 8, 4))
        for place, record in ((0, first), (4, second), (8, _mbr((0, 0x82, 1, 1)))):
            image = image.also((extended + place) * 512, record.read(0, 512))

    found = partitions.parse(image).partitions

    assert [(part.number, part.start // 512) for part in found] == [
        (1, 16), (2, 64), (5, 17), (6, 22), (7, 25), (8, 65), (9, 70), (10, 73)
    ]  # fmt: skip


def test_a_label_of_gpt_may_fill_its_field():
    entry = gpt_disk()[1024:1152]
    label = "".join(chr(0x410 + n) for n in range(36))
    header = partitions._Header(
        1, 2, bytes(16), 2, 1, 128, 0, entry[:56] + label.encode("utf-16-le")
    )

    (found,) = partitions._gpt_partitions(header, 512)

    assert found.name == label
    cut = dataclasses.replace(header, entries=header.entries[:127])
    assert list(partitions._gpt_partitions(cut, 512)) == []


@pytest.mark.parametrize("more", [0, 1, 256, 511])
def test_a_disk_that_ends_within_a_sector_has_a_guard(more):
    image = _gpt([("0FC63DAF-8483-4772-8E79-3D69D8477DE4", 400, 499)])

    assert partitions.parse(Memory(image.data + bytes(more))).protective_mbr == "standard"


# --------------------------------------------------------------------------------------- LVM, cpio


@pytest.mark.parametrize(("start", "stripe"), [(16, 9), (24, 3), (2048, 255), (2056, 257), (8, 1)])
def test_a_logical_volume_begins_behind_what_the_physical_one_keeps(start, stripe):
    text = superblocks._TEXT.replace(b"pe_start = 16", f"pe_start = {start}".encode())
    text = text.replace(b'stripes = ["pv0", 4]', f'stripes = ["pv0", {stripe}]'.encode())

    (data,) = [
        x for x in lvm.parse(Memory(superblocks._lvm(text)), 0).logical_volumes if x.name == "data"
    ]

    assert (data.offset, data.size) == (start * 512 + stripe * 4096, 4 * 4096)


@pytest.mark.parametrize(
    ("stripes", "linear"),
    [('"pv0", 4', True), ('"pv0"', False), ("", False), ('"pv0", 4, "pv1"', False),
     ('"pv0", 4, "pv1", 0', False)],
)  # fmt: skip
def test_a_volume_over_one_stripe_is_linear(stripes, linear):
    text = superblocks._TEXT.replace(b'"pv0", 4]', f"{stripes}]".encode())

    found = lvm.parse(Memory(superblocks._lvm(text)), 0)

    assert found.plain is linear
    assert (found.logical_volumes[1].places is not None) is linear


@pytest.mark.parametrize(
    ("areas", "name"),
    [
        (((20480, 0), None, (4096, 8192), None), "group"),
        ((None, (4096, 8192), None), "group"),
        (((20480, 0), (30000, 9), None, (4096, 8192), None), "group"),
        (((20480, 0), None, (16384, 8192), (4096, 8192), None), "group"),
        (((20480, 0), None, (4096, 8192), (16384, 8192), None), "group"),
        (((20480, 0), None, (16384, 8192), None, (4096, 8192), None), None),
        (((20480, 0), None, None, (4096, 8192), None), None),
        (((4096, 8192), None, None), None),
    ],
)
def test_areas_of_a_physical_volume(areas, name):
    pairs = b"".join(struct.pack("<QQ", *(area or (0, 0))) for area in areas)
    image = patched(superblocks._lvm(), 584, bytes(64))

    found = lvm.parse(Memory(patched(image, 584, pairs.ljust(128, b"\0"))), 0)

    assert (found and found.name) == name


@pytest.mark.parametrize(
    ("begin", "length", "size", "there"),
    [(512, 1 << 20, 2 << 20, True), (512, (1 << 20) + 1, 2 << 20, False), (512, 7680, 8192, True),
     (512, 7681, 8192, False), (8191, 7680, 8192, True), (8192, 7680, 8192, False), (511, 100, 8192, False),
     (512, 0, 8192, False), (7000, 1192, 8192, True), (7000, 1193, 8192, True)],
)  # fmt: skip
def test_how_long_the_text_of_a_group_may_be(begin, length, size, there):
    # given an area at an odd place, whose text is a comment and a name
    text = (b"a {}\n#" + b"x" * (length - 7) + b"\n") if length >= 7 else bytes(length)
    room = bytearray(size)
    for index in range(min(length, size - 512)):
        place = begin + index
        if place < size or begin < size:
            room[place if place < size else place - size + 512] = text[index]
    total = zlib.crc32(text, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    room[4:20] = b" LVM2 x[5A%r0N*>"
    room[40:60] = struct.pack("<QQI", begin, length, total)

    found = lvm._text(Memory(bytes(777) + bytes(room)), 777, size)

    assert (found is not None) is there
    if found:
        assert (found.text, found.intact) == (text.decode(), True)


@pytest.mark.parametrize(("count", "fits"), [(299, True), (300, True), (301, False), (310, False)])
def test_as_many_names_as_the_limit(monkeypatch, count, fits):
    monkeypatch.setattr(cpio, "MAX_NAMES", 300)
    data = b"".join(superblocks._file(b"n", b"") for _ in range(count))

    for read in (lambda: cpio.plain_part(Memory(data))[0], lambda: list(cpio.names(iter([data])))):
        if fits:
            assert read() == ["n"] * count
        else:
            with pytest.raises(cpio.NotReadableError, match="more than 300 names"):
                read()


@pytest.mark.parametrize("length", range(1, 10))
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5])
def test_names_and_data_of_every_length(length, size):
    name = "abcdefghi"[:length]
    data = superblocks._file(name.encode(), b"\1" * size) + superblocks._file(b"next", b"")

    assert cpio.plain_part(Memory(data)) == ([name, "next"], len(data))
    for cut in (1, 3, 111, 1000):
        pieces = (data[at : at + cut] for at in range(0, len(data), cut))
        assert list(cpio.names(pieces)) == [name, "next"]


def test_a_volume_without_segments_has_no_size():
    text = superblocks._TEXT.replace(b"hidden {", b'bare { status = ["VISIBLE"] } hidden {')

    found = lvm.parse(Memory(superblocks._lvm(text)), 0)

    (bare,) = [volume for volume in found.logical_volumes if volume.name == "bare"]
    assert (bare.size, bare.offset, bare.pieces) == (0, None, ())


@pytest.mark.parametrize(
    ("place", "size"), [(471, 64 * 1024), (472, 64 * 1024), (473, None), (512, None)]
)
def test_the_header_of_a_physical_volume_ends_with_its_sector(place, size):
    image = patched(superblocks._lvm(), 532, struct.pack("<I", place))
    header = image[544:584]

    found = lvm.device_size(Memory(image).also(512 + place, header), 0)

    assert found == size


def test_sector_0_is_no_header_of_gpt():
    # given a disk of one sector that looks like an MBR, and like a header of GPT
    head = struct.pack(
        "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 0, 0, 0, 0, bytes(16), 9, 0, 128, 0
    )
    head = patched(head, 16, struct.pack("<I", zlib.crc32(head)))
    guard = _mbr((0, 0xEE, 1, 0), size=512).read(446, 66)

    assert partitions.parse(Memory(head.ljust(446, b"\0") + guard)).scheme == "mbr"


@pytest.mark.parametrize(
    "line",
    [
        'id word "x"',
        'id ["x"]',
        'id > "x"',
        'id < "x"',
        'id | "x"',
        'id "x"',
        'id , "x"',
        "id }",
        'id ~ "x"',
    ],
)
def test_a_line_of_lvm_s_language_that_is_none(line):
    text = superblocks._TEXT.replace(b'id = "x"', line.encode())

    assert lvm.parse(Memory(superblocks._lvm()), 0) is not None
    assert lvm.parse(Memory(superblocks._lvm(text)), 0) is None


@pytest.mark.parametrize(("place", "mark"), [(512, b"LABELONE"), (536, b"LVM2 001")])
def test_the_label_of_lvm_byte_by_byte(place, mark):
    image = superblocks._lvm()
    assert filesystems.signature(Memory(image)) == "LVM2_member"

    for at in range(8):
        for change in (-1, 1):
            other = Memory(image).also(place + at, bytes([mark[at] + change]))
            assert filesystems.signature(other) is None
            assert lvm.identifier(other, 0) is None


@pytest.mark.parametrize(
    ("field", "value"), [(54, b"-0000001"), (94, b"-0000001"), (94, b"-0000009"), (94, b"00000000")]
)
def test_numbers_of_cpio_that_are_none(field, value):
    data = patched(superblocks._file(b"n", b"x"), field, value)

    for read in (lambda: cpio.plain_part(Memory(data)), lambda: list(cpio.names(iter([data])))):
        with pytest.raises(cpio.NotReadableError, match="a name of"):
            read()


@pytest.mark.parametrize("sectors", [0, 1, 7])
def test_the_guard_of_a_table_that_cannot_be_read(sectors):
    image = _mbr((0, 0xEE, 1, sectors)).also(512, b"EFI PART".ljust(512, b"\1"))

    assert partitions.parse(image).protective_mbr == "odd"


def test_what_a_disk_with_partitions_begins_with_is_not_its_content():
    image = _mbr((0, 0x83, 8, 8)).also(4086, b"SWAPSPACE2")

    assert filesystems.signature(image) == "swap"
    assert disk.inspect(image, is_file=True).content is None


def test_a_name_of_lvm_s_language_may_begin_with_any_sign():
    text = superblocks._TEXT.replace(b'id = "x"', b"~a = 1")

    assert lvm.parse(Memory(superblocks._lvm(text)), 0) is not None
