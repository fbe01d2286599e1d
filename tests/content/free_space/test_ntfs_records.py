"""Records of the master file table: fixups, attributes and runs, each on both sides of its limits."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from pipeline.content.free_space.base import KeptError
from pipeline.content.free_space.ntfs_records import Attribute, Record, Run, _runs

END = b"\xff\xff\xff\xff"
CLUSTERS = 5000  # of the volume
FAULT = "record 7 of its MFT"


def resident(kind: int, value: bytes, *, named: int = 0, length: int | None = None) -> bytes:
    """An attribute that lies in its record, its value behind a head of 24 bytes and a name."""
    offset = 24 + 2 * named
    size = -(-(offset + len(value)) // 8) * 8
    head = struct.pack("<IIBBHHH", kind, length or size, 0, named, 0x1111, 0x1111, 0x1111)
    head += struct.pack("<IHH", len(value), offset, 0x1111)
    return (head + b"n\0" * named + value).ljust(size, b"\x22")


def in_runs(
    packed: bytes,
    lowest: int,
    highest: int,
    *,
    size: int = 0x0123456789AB,
    named: int = 0,
    offset: int = 0x48,
    length: int | None = None,
) -> bytes:
    """$DATA whose runs are told from byte ``offset`` on; ``length``: of all, else what is needed."""
    whole = -(-(offset + len(packed)) // 8) * 8 if length is None else length
    head = struct.pack("<IIBBHHH", 0x80, whole, 1, named, 0x1111, 0x1111, 0x1111)
    head += struct.pack("<qqHH", lowest, highest, offset, 0x1111).ljust(24, b"\x33")
    head = head.ljust(40, b"\x33") + struct.pack("<QQQ", 1 << 50, size, 1 << 51)
    return (head.ljust(offset, b"\x44") + packed).ljust(whole, b"\x55")[:whole]


def fixed_up(raw: bytes, at: int, number: bytes = b"\x05\x81") -> bytes:
    """With its fixups at byte ``at``; what they stand for is what is there."""
    data = bytearray(raw)
    data[at : at + 2] = number
    for index in range(1, len(raw) // 512 + 1):
        data[at + 2 * index : at + 2 * index + 2] = raw[512 * index - 2 : 512 * index]
        data[512 * index - 2 : 512 * index] = number
    return bytes(data)


def record(
    *attributes: bytes,
    size: int = 1024,
    fixups: int = 42,
    count: int | None = None,
    at: int = 0x138,
    end: int | None = None,
    flags: int = 1,
    base: int = 0,
    closed: bool = True,
) -> bytes:
    """A record with these attributes; ``end``: how many bytes it says that are in use."""
    body = b"".join(attributes) + (END if closed else b"")
    used = at + len(body) if end is None else end
    head = struct.pack("<4sHHQHHHHIIQ", b"FILE", fixups, size // 512 + 1 if count is None else count,
                       0x6666666666666666, 0x6666, 0x6666, at, flags, used, 0x66666666, base)  # fmt: skip
    raw = bytearray(size)
    raw[: len(head)] = head
    raw[at : at + len(body)] = body[: size - at]
    return fixed_up(bytes(raw), fixups)


def parse(raw: bytes) -> Record:
    found = Record.parse(raw, 7, CLUSTERS)
    assert found is not None
    return found


def refused(raw: bytes) -> str:
    """Why a record is not believed."""
    with pytest.raises(KeptError) as caught:
        Record.parse(raw, 7, CLUSTERS)
    return str(caught.value)


@pytest.mark.parametrize("at", [0, 3, 4, 1000, 1023])
def test_only_zeros_were_never_written(at: int) -> None:
    raw = bytes(at) + b"\1" + bytes(1023 - at)
    assert Record.parse(bytes(1024), 7, CLUSTERS) is None
    assert refused(raw) == f"{FAULT} is damaged"


@pytest.mark.parametrize("magic", [b"FILF", b"FIL\0", b"BAAD", b"INDX"])
def test_a_record_has_its_name(magic: bytes) -> None:
    assert refused(magic + record(flags=0)[4:]) == f"{FAULT} is damaged"


@pytest.mark.parametrize(
    ("flags", "used"), [(0, False), (1, True), (2, False), (3, True), (0x0102, False)]
)
def test_a_record_is_in_use_by_its_flag(flags: int, used: bool) -> None:
    found = parse(record(resident(0x10, b"x"), flags=flags))
    assert found.in_use is used
    assert len(found.attributes) == used


@pytest.mark.parametrize(
    ("reference", "base", "own"),
    [
        (0, 7, True),
        (9, 9, False),
        (0x1235_8000_0000_0001, 0x8000_0000_0001, False),
        (0xFFFE_7FFF_FFFF_FFFE, 0x7FFF_FFFF_FFFE, False),
        (1 << 48, 0, False),  # what extends the table itself
        (0x0101_0000_0000_0000, 0, False),
    ],
)
@pytest.mark.parametrize("flags", [0, 1])
def test_a_record_tells_what_it_extends(reference: int, base: int, own: bool, flags: int) -> None:
    found = parse(record(flags=flags, base=reference))
    assert found.is_base is own
    assert found.base == (base if flags or not own else 0)


LONG = bytes(range(256)) * 8


@pytest.mark.parametrize(
    ("size", "fixups", "at"),
    [(1024, 42, 56), (1536, 43, 56), (2048, 44, 56), (4096, 47, 96), (1024, 504, 512)],
)
def test_what_the_ends_of_sectors_held_is_put_back(size: int, fixups: int, at: int) -> None:
    value = LONG[: size - at - 40]
    found = parse(record(resident(0x10, value), size=size, fixups=fixups, at=at))
    assert [item.value for item in found.attributes] == [value]


@pytest.mark.parametrize(
    ("size", "fixups", "count"),
    [
        (1024, 41, None),
        (1024, 505, None),
        (1024, 42, 2),
        (1024, 42, 4),
        (1024, 42, 0),
        (1536, 503, None),
        (2048, 501, None),
        (2048, 42, 4),
        (2048, 42, 6),
    ],
)
def test_a_record_has_a_place_for_its_fixups(size: int, fixups: int, count: int | None) -> None:
    raw = record(size=size, fixups=fixups, count=count, at=512)
    assert refused(raw) == f"{FAULT} has no place for its fixups"


@pytest.mark.parametrize("sector", [1, 2, 4])
@pytest.mark.parametrize("number", [b"\x04\x81", b"\x06\x81", b"\x05\x80", b"\x05\x82"])
def test_each_sector_was_written_together_with_the_others(sector: int, number: bytes) -> None:
    raw = bytearray(record(size=2048))
    raw[512 * sector - 2 : 512 * sector] = number
    assert refused(bytes(raw)) == f"{FAULT} was written only in part"


DAMAGED, ENDLESS = f"{FAULT} is damaged", f"{FAULT} does not end"
ATTRIBUTE = f"{FAULT} has a damaged attribute"
FILLED = resident(0x10, bytes(24))  # 48 bytes


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (record(at=47), DAMAGED),
        (record(at=48), None),
        (record(at=0x138, end=0x137), DAMAGED),
        (record(at=0x138, end=0x138), ENDLESS),
        (record(at=0x138, end=0x13B), ENDLESS),
        (record(at=0x138, end=0x13C), None),
        (record(at=1020), None),
        (record(at=1020, end=1025), DAMAGED),
        (record(at=0x138, end=0x01000138), DAMAGED),
        (record(at=1021, end=1024), ENDLESS),
        (record(FILLED, at=56, end=56 + 23), ENDLESS),
        (record(FILLED, at=56, end=64), ENDLESS),
        (record(FILLED, at=56, end=56 + 24), ATTRIBUTE),
        (record(FILLED, at=56, end=56 + 47), ATTRIBUTE),
        (record(FILLED, at=56, end=56 + 48), ENDLESS),
        (record(FILLED, at=56, end=56 + 52), None),
        (record(FILLED, at=60, end=60 + 52), None),
        (record(FILLED, at=52, end=52 + 40), ATTRIBUTE),
        (record(resident(0x10, b"", length=16), at=56), ATTRIBUTE),
        (record(resident(0x10, b"", length=24), at=56), None),
        (record(resident(0x10, b"", length=28) + bytes(4), at=56), ATTRIBUTE),
        (record(resident(0x10, b"", length=0x01000018), at=56), ATTRIBUTE),
        (record(resident(0xFFFFFFFE, b""), at=56), None),
        (record(resident(0x10, bytes(8))[:16] + b"\x09\0\0\0\x18\0" + bytes(10)), ATTRIBUTE),
        (record(resident(0x10, bytes(8))[:16] + b"\x08\0\0\0\x18\0" + bytes(10)), None),
        (record(resident(0x10, bytes(8))[:16] + b"\x08\0\0\1\x18\0" + bytes(10)), ATTRIBUTE),
        (record(resident(0x10, bytes(8))[:16] + b"\0\0\0\0\x20\0" + bytes(10)), None),
        (record(resident(0x10, bytes(8))[:16] + b"\0\0\0\0\x21\0" + bytes(10)), ATTRIBUTE),
        (record(resident(0x10, bytes(8))[:16] + b"\0\0\0\0\x20\1" + bytes(10)), ATTRIBUTE),
    ],
    ids=map(str, range(29)),
)
def test_attributes_fill_what_is_in_use(raw: bytes, words: str | None) -> None:
    if words is None:
        assert parse(raw).in_use
    else:
        assert refused(raw) == words


@pytest.mark.parametrize("at", [48, 52, 60, 0x138])
def test_attributes_follow_one_another(at: int) -> None:
    found = parse(
        record(
            resident(0x30, b"a name"),
            resident(0x80, b"with a name", named=3),
            resident(0x90, b"an index"),
            resident(0x80, b"content" * 9),
            resident(0x80, b"more content"),
            in_runs(b"\x11\x02\x03\0", 0, 1),
            at=at,
        )
    )

    told = [(item.type, item.named, item.resident, item.value) for item in found.attributes]
    assert told == [
        (0x30, False, True, b"a name"),
        (0x80, True, True, b"with a name"),
        (0x90, False, True, b"an index"),
        (0x80, False, True, b"content" * 9),
        (0x80, False, True, b"more content"),
        (0x80, False, False, b""),
    ]
    assert all((item.lowest, item.size, item.runs) == (0, 0, ()) for item in found.attributes[:5])
    assert found.unnamed_data() is found.attributes[3]


@pytest.mark.parametrize("kinds", [(0x30, 0x90), (0x7F, 0x81), (0x8000, 0x80000)])
def test_a_file_may_have_no_content(kinds: Sequence[int]) -> None:
    found = parse(record(*(resident(kind, b"x") for kind in kinds), resident(0x80, b"", named=1)))
    assert found.unnamed_data() is None


def test_a_part_of_a_file_tells_its_size_only_at_its_begin() -> None:
    first = in_runs(b"\x22\x2c\x01\x10\x01\x01\x03\0", 0, 302, offset=0x4B)
    second = in_runs(b"\x12\x90\x01\x07\0", 0x0123456789, 0x0123456789 + 399, named=4)
    third = in_runs(b"\x11\x01\x07\0", 1, 1)

    runs = ((0x110, 300), (None, 3))
    assert parse(record(first, second, third)).attributes == (
        Attribute(0x80, False, False, b"", 0, 0x0123456789AB, runs),
        Attribute(0x80, True, False, b"", 0x0123456789, 0, ((7, 400),)),
        Attribute(0x80, False, False, b"", 1, 0, ((7, 1),)),
    )


LENGTHS = f"the runs of {FAULT} have wrong lengths"
THREE = b"\x12\x2c\x01\x03\0"  # 300 clusters from 3 on


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (in_runs(THREE, 0, 299), None),
        (in_runs(THREE, 0, 298), LENGTHS),
        (in_runs(THREE, 0, 300), LENGTHS),
        (in_runs(THREE, 5, 304), None),
        (in_runs(THREE, 300, 599), None),
        (in_runs(THREE, 300, 899), LENGTHS),
        (in_runs(THREE, 1, 299), LENGTHS),
        (in_runs(THREE, -1, 298), LENGTHS),
        (in_runs(b"\0", 0, -1), None),  # an empty file
        (in_runs(b"\0", 0, 0), LENGTHS),
        (in_runs(b"\0", 1, 0), None),
        (in_runs(b"\0", -1, -2), LENGTHS),
        (in_runs(THREE, 0, 299, offset=64), None),
        (in_runs(THREE, 0, 299, offset=63), ATTRIBUTE),
        (in_runs(THREE, 0, 299, offset=0x140), None),
        (in_runs(b"\0", 0, -1, offset=71, length=72), None),
        (in_runs(b"", 0, -1, offset=72, length=72), ATTRIBUTE),
        (in_runs(b"", 0, -1, offset=64, length=64), ATTRIBUTE),
        (in_runs(b"", 0, -1, offset=0x140, length=0x140), ATTRIBUTE),
        (in_runs(b"", 0, -1, offset=0x140, length=72)[:72], ATTRIBUTE),
        (in_runs(b"", 0, -1, offset=64, length=56), ATTRIBUTE),
        (in_runs(b"", 0, -1, offset=64, length=48), ATTRIBUTE),
        (in_runs(b"\x11\x05", 0, 4, length=74 + 6)[:74] + b"\x03\0" * 3, None),
    ],
    ids=map(str, range(23)),
)
def test_what_an_attribute_in_runs_tells_fits(item: bytes, words: str | None) -> None:
    if words is None:
        assert len(parse(record(item)).attributes) == 1
    else:
        assert refused(record(item)) == words


def runs(packed: bytes, clusters: int = CLUSTERS) -> list[Run] | str:
    """Runs, or why they are none."""
    try:
        return list(_runs(packed, FAULT, clusters))
    except KeptError as error:
        return str(error)


BROKEN, OUTSIDE = f"a run of {FAULT} is damaged", f"a run of {FAULT} leads outside"
OPEN = f"the runs of {FAULT} do not end"


@pytest.mark.parametrize(
    ("packed", "found"),
    [
        (b"\0", []),
        (b"", OPEN),
        (b"\x11\x05\x07\0", [(7, 5)]),
        (b"\x11\x05\x07", OPEN),
        (b"\x11\x05", BROKEN),
        (b"\x11\x05\x07\x11\x02\xfd\x11\x03\x10\0", [(7, 5), (4, 2), (20, 3)]),
        (b"\x21\x05\x07\x01\x12\x02\x01\xff\0", [(263, 5), (262, 258)]),
        (b"\x31\x05\x07\x01\x00\x21\x06\x00\x02\x01\x09\x11\x01\x01\0",
         [(263, 5), (775, 6), (None, 9), (776, 1)]),
        (b"\x01\x05\x02\x00\x01\0", [(None, 5), (None, 256)]),
        (b"\x88" + b"\x05" + bytes(7) + b"\x07" + bytes(7) + b"\0", [(7, 5)]),
        (b"\x08\x05" + bytes(7) + b"\0", [(None, 5)]),
        (b"\x09\x05" + bytes(8) + b"\0", BROKEN),
        (b"\x81\x05\x07" + bytes(7) + b"\0", [(7, 5)]),
        (b"\x91\x05\x07" + bytes(8) + b"\0", BROKEN),
        (b"\x10\x07\0", BROKEN),
        (b"\x11\x00\x07\0", BROKEN),
        (b"\x11\x01\x07\0", [(7, 1)]),
        (b"\x11\x80\x07\0", BROKEN),  # -128 clusters
        (b"\x01\x80\0", BROKEN),
        (b"\x11\x05\x00\0", [(0, 5)]),
        (b"\x11\x05\xff\0", OUTSIDE),
        (b"\x11\x05\x07\x11\x05\xf8\0", OUTSIDE),
        (b"\x11\x05\x07\x11\x05\xf9\0", [(7, 5), (0, 5)]),
    ],
)  # fmt: skip
def test_runs_are_told_by_steps(packed: bytes, found: list[Run] | str) -> None:
    assert runs(packed) == found


@pytest.mark.parametrize(
    ("first", "count", "clusters", "inside"),
    [(3, 3, 6, True), (3, 3, 5, False), (3, 3, 4, False), (0, 6, 6, True), (0, 7, 6, False)],
)
def test_runs_end_with_the_volume(first: int, count: int, clusters: int, inside: bool) -> None:
    packed = bytes([0x11, count, first, 0])
    assert runs(packed, clusters) == ([(first, count)] if inside else OUTSIDE)


def test_hundreds_of_runs_are_read_to_their_end() -> None:
    packed = b"\x11\x02\x03" * 100
    found: list[Run] = [(3 * number, 2) for number in range(1, 101)]

    assert runs(packed + b"\0") == found
    assert runs(packed) == OPEN
