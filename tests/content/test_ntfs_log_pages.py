"""The log of an NTFS, byte by byte: which page counts, what makes it closed, and where it is looked for.

Offsets and sizes are no round numbers and the bytes around each field are not zero, so that a field that is
read one byte too early, too late or too long is another one.
"""

from __future__ import annotations

import struct

import pytest

from pipeline.content import ntfs_log

CLUSTER, FIRST = 1536, 3  # bytes; the log's first cluster
START = CLUSTER * FIRST  # has bits in common with the sizes of pages
NOBODY = 0xFFFF


def attribute(kind: int, length: int = 40, *, elsewhere: int = 0, body: bytes = b"") -> bytes:
    """The head of an attribute, and what follows; with a name of one character."""
    head = struct.pack("<IIBBH", kind, length, elsewhere, 1, 0x4040)
    return (head + body).ljust(length, b"\xaa")


def data(first: int = FIRST, *, runs: int = 0x48, length: int = 0x60) -> bytes:
    """$DATA in runs: a hole-free one of 5 clusters from ``first`` on, told at byte ``runs``."""
    head = attribute(0x80, runs, elsewhere=1).ljust(runs, b"\xaa")
    head = head[:4] + struct.pack("<I", length) + head[8:32] + struct.pack("<HH", runs, 0xBBBB)
    packed = b"\x21\x05" + first.to_bytes(2, "little") + b"\x77\x77"
    return (head.ljust(runs, b"\xaa") + packed).ljust(length, b"\xaa")


def record(*attributes: bytes, at: int = 0x13C, size: int = 1024, magic: bytes = b"FILE") -> bytes:
    """The log's record; ``at``: where its attributes begin."""
    head = magic.ljust(20, b"\x99") + struct.pack("<HH", at, 0x0101)
    return (head.ljust(at, b"\x55") + b"".join(attributes)).ljust(size, b"\x55")


def area(lsn: int = 100, client: int = 0, flags: int = 0, *, begins: bytes = b"\0\0") -> bytes:
    """A restart area up to its flags."""
    return struct.pack("<Q2sHHH", lsn, begins, 0x1234, client, flags)


def page(
    part: bytes, *, size: int = 1024, at: int = 48, magic: bytes = b"RSTR", length: int = 512
) -> bytes:
    """The first sector of a restart page."""
    head = magic + b"\x1e\0\3\0" + b"\x88" * 8 + struct.pack("<II", size, 0x01010101)
    head += struct.pack("<HH", at, 0x0101)
    return (head.ljust(at, b"\x66") + part).ljust(length, b"\x66")


class Volume:
    """What the volume holds at some places, and what was asked for."""

    def __init__(self, parts: dict[int, bytes]) -> None:
        self.parts = parts
        self.asked: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return self.parts.get(offset, b"")[:length]


def clean(first: bytes, second: bytes = b"", *, size: int = 1024) -> bool | None:
    """What two pages say."""
    volume = Volume({START: first, START + size: second})
    return ntfs_log.clean(record(data()), CLUSTER, volume.read)


OPEN, CLOSED = area(client=0), area(client=NOBODY)


@pytest.mark.parametrize(
    ("part", "closed"),
    [
        (area(client=0), False),
        (area(client=NOBODY), True),
        (area(client=NOBODY, flags=1), True),
        (area(client=0x00FF), False),
        (area(client=0xFFFE), False),
        (area(client=0xFF00), False),
        (area(flags=1), False),
        (area(flags=2), True),
        (area(flags=3), True),
        (area(flags=0xFFFD), False),
        (area(flags=0x0200), False),
        (area(client=0x0202), False),
    ],
)
def test_a_log_is_closed_without_a_client_or_by_its_flag(part: bytes, closed: bool) -> None:
    assert clean(page(part)) is closed


@pytest.mark.parametrize(
    ("first", "second", "closed"),
    [
        (area(200), area(100, NOBODY), False),
        (area(100), area(200, NOBODY), True),
        (area(100, NOBODY), area(200), False),
        (area(150), area(150, NOBODY), False),  # of the same age: the first one
        (area(150, NOBODY), area(150), True),
        (area(0x0100), area(0x01FF, NOBODY), True),  # the lowest byte decides
        (area(1 << 56), area(5, NOBODY), False),  # the highest one does
        (area(5, NOBODY), area(1 << 56), False),
        (area(100, begins=b"\1\0"), area(200, NOBODY), True),  # what follows the number does not
    ],
)
def test_the_page_that_was_written_later_counts(first: bytes, second: bytes, closed: bool) -> None:
    assert clean(page(first), page(second)) is closed


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        (0, False),
        (511, False),
        (512, True),
        (1024, True),
        (4096, True),
        (65535, True),
        (65536, True),
        (65537, False),
        (0x01000200, False),
    ],
)
def test_the_second_page_lies_behind_the_first(size: int, seen: bool) -> None:
    volume = Volume({START + size: page(area(2, NOBODY)), START: page(area(1), size=size)})

    assert ntfs_log.clean(record(data()), CLUSTER, volume.read) is seen
    assert volume.asked == [(START, 512), *([(START + size, 512)] if seen else [])]


@pytest.mark.parametrize(
    ("at", "known"), [(0, False), (29, False), (30, True), (48, True), (494, True), (495, False)]
)
def test_the_restart_area_lies_within_the_first_sector(at: int, known: bool) -> None:
    assert clean(page(area(client=NOBODY), at=max(at, 28)) if at else bytes(512)) is (
        True if known else None
    )


@pytest.mark.parametrize(
    ("magic", "known"),
    [(b"RSTR", True), (b"CHKD", True), (b"RSTS", False), (b"RST\0", False), (b"BAAD", False)],
)
def test_a_page_begins_with_its_name(magic: bytes, known: bool) -> None:
    assert clean(page(CLOSED, magic=magic)) is (True if known else None)


def test_one_page_that_can_be_read_is_enough() -> None:
    assert clean(page(CLOSED), page(OPEN, magic=b"BAAD")) is True
    assert clean(page(OPEN, magic=b"BAAD"), page(CLOSED)) is True
    assert clean(b"", page(CLOSED)) is None


@pytest.mark.parametrize("length", [48, 63, 64])
def test_a_page_that_the_volume_cuts_says_nothing(length: int) -> None:
    assert clean(page(area(client=NOBODY, flags=2))[:length]) is (True if length == 64 else None)


@pytest.mark.parametrize(
    ("head", "closed"),
    [
        (b"\xff" * 512, True),
        (b"\xff" * 4 + b"\0" * 508, True),
        (b"\xff" * 3 + b"\xfe" + b"\xff" * 508, None),
        (b"\xff" * 3, None),
    ],
)
def test_a_log_that_nobody_wrote_to_is_closed(head: bytes, closed: bool | None) -> None:
    assert clean(head) is closed


def first_cluster(raw: bytes) -> int | None:
    """Where the log is looked for, in clusters."""
    volume = Volume({})
    ntfs_log.clean(raw, CLUSTER, volume.read)
    return volume.asked[0][0] // CLUSTER if volume.asked else None


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (record(data()), FIRST),
        (record(data(0x1234)), 0x1234),
        (record(attribute(0x10), data()), FIRST),
        (record(attribute(0x10, elsewhere=1), attribute(0x30), data(), at=56), FIRST),
        (record(attribute(0x70, elsewhere=1), data(), at=60), FIRST),
        (record(attribute(0x10, 24), data()), FIRST),
        (record(attribute(0x10, 23), data()), None),  # shorter than its own head
        (record(attribute(0x90, elsewhere=1)), None),  # the index of a directory
        (record(attribute(0x80), data(7), at=56), 7),  # what lies here is in no cluster
        (record(attribute(0x80), data(7), at=60), 7),
        (record(attribute(0xFF000080, elsewhere=1, body=b"\x21\5\7\0"), data()), FIRST),
        (record(attribute(0xFFFFFFFF), data()), None),
        (record(attribute(0x10)[:7] + b"\1" + attribute(0x10)[8:], data()), None),
        (record(data(), magic=b"FILF"), None),
        (record(data(), magic=b"BAAD"), None),
        (record(data(runs=0x160, length=0x180), at=0x118), FIRST),
        (record(data(runs=0x160, length=0x180), at=0x119), FIRST),
        (record(data(), at=1024 - 0x60), FIRST),
    ],
    ids=map(str, range(18)),
)
def test_the_first_data_that_lies_in_clusters_is_the_log(raw: bytes, found: int | None) -> None:
    assert first_cluster(raw) == found


@pytest.mark.parametrize(("behind", "found"), [(0, FIRST), (1, None), (32, None)])
def test_an_attribute_has_room_for_its_head(behind: int, found: int | None) -> None:
    """Its head is 64 bytes long; the runs may be told before its end."""
    body = b"\xaa" * 20 + struct.pack("<H", 50) + b"\xaa" * 16 + b"\x11\5\3"
    raw = attribute(0x80, 64, elsewhere=1, body=body)

    assert first_cluster(record(raw, at=1024 - 64 + behind)[:1024]) == found


@pytest.mark.parametrize("at", [1024 - 0x140, 1023 - 0x140, 2000])
def test_runs_beyond_the_record_are_none(at: int) -> None:
    whole = record(data(), at=0x140)
    raw = whole[: 0x140 + 32] + struct.pack("<H", at) + whole[0x140 + 34 :]
    assert first_cluster(raw[:1023] + b"\x08") is None


@pytest.mark.parametrize(
    ("packed", "found"),
    [
        (b"\x11\x05\x09\x0a", 9),
        (b"\x12\x05\x00\x09\x0a", 9),
        (b"\x1f" + b"\x05" * 15 + b"\x09\x0a", 9),
        (b"\x31\x05\x09\x08\x01\x0a", 0x10809),
        (b"\x01\x05\x09", None),  # a hole
        (b"\x00\x05\x09", None),
    ],
)
@pytest.mark.parametrize("at", [0x48, 0x49])
def test_a_run_tells_the_widths_of_its_numbers(packed: bytes, found: int | None, at: int) -> None:
    raw = data(runs=at)
    assert first_cluster(record(raw[:at] + packed.ljust(32, b"\xaa"))) == found
