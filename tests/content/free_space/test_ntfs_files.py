"""The files of an NTFS: the runs of its MFT and bitmap, clusters that somebody owns, a system that sleeps."""

from __future__ import annotations

import struct

import made_volumes as made
import pytest
from made_ntfs import (
    BITMAP,
    CLUSTER,
    INFO,
    LOG,
    MFT,
    PIECES,
    RECORD,
    USED,
    boot,
    data,
    look,
    records,
    volume,
    why,
)
from vhd_files import MemoryDisk

from pipeline.content.free_space import ntfs
from pipeline.content.free_space.base import NOT_COUNTED, Effort, KeptError
from pipeline.content.free_space.ntfs import Geometry, NtfsMap
from pipeline.content.free_space.ntfs_records import Attribute, Record, Run


@pytest.mark.parametrize(("number", "what"), [(0, "MFT"), (2, "log"), (6, "bitmap")])
def test_system_files_lie_in_clusters_from_their_first_one_on(number: int, what: str) -> None:
    words = f"its {what} is damaged"
    for item in (made.resident(0x80, b"here"), data((60, 3), lowest=1), made.name("none")):
        assert look(volume({number: made.record(number, item)})) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (7 * RECORD - 1, f"its MFT has {7 * RECORD - 1} bytes, too few for its system files"),
        (7 * RECORD, None),
        (12 * RECORD, None),
        (16 * RECORD, None),
        (16 * RECORD + 1, "its MFT is not whole"),
        (16 << 30, "its MFT is not whole"),
        ((16 << 30) + 1, f"its MFT has {(16 << 30) + 1} bytes, more than are read"),
    ],
)
def test_the_mft_is_as_long_as_it_says(size: int, words: str | None) -> None:
    mine = made.record(0, made.name("$MFT"), data(*PIECES[:2], size=size))
    assert why(look(volume({0: mine}))) == words


@pytest.mark.parametrize(
    ("size", "runs"),
    [
        (7 * RECORD, [(MFT, 4)]),
        (8 * RECORD, [(MFT, 4)]),
        (8 * RECORD + 1, [(MFT, 4), (20, 1)]),
        (12 * RECORD, PIECES[:2]),
        (12 * RECORD + 1, [*PIECES[:2], (22, 1)]),
        (16 * RECORD, PIECES),
    ],
)
def test_the_mft_s_runs_are_gathered(size: int, runs: list[Run]) -> None:
    mine = Record(True, 0, True, (Attribute(0x80, False, False, b"", 0, size, tuple(PIECES[:2])),))
    found = NtfsMap(volume(), INFO)
    assert found._whole_mft(mine, Effort()) == runs
    if runs == PIECES:
        assert found._whole_mft(mine, Effort(1000)) == PIECES[:2]  # what its own record tells


@pytest.mark.parametrize(
    ("item", "base", "whole"),
    [
        (data((22, 2), size=0, lowest=6), 1 << 48, True),
        (data((22, 2), size=0, lowest=5), 1 << 48, False),
        (data((22, 2), size=0, lowest=7), 1 << 48, False),
        (data((22, 2), size=0, lowest=6), 1 | 1 << 48, False),
        (data((22, 2), size=0, lowest=6), 0, False),
        (made.resident(0x80, b"here"), 1 << 48, False),
        (made.name("none"), 1 << 48, False),
    ],
    ids=map(str, range(7)),
)
def test_a_continuation_is_the_next_part_of_the_same_file(
    item: bytes, base: int, whole: bool
) -> None:
    found = look(volume({11: made.record(11, item, base=base)}))
    assert why(found) == (None if whole else "its MFT is not whole")


def test_a_continuation_may_begin_far_into_a_file() -> None:
    far = made.record(11, data((22, 2), size=0, lowest=300), base=1 << 48)
    found = NtfsMap(volume({11: far}), INFO)
    assert found._continuation(PIECES, 0, 300) == [(22, 2)]
    assert found._continuation(PIECES, 0, 299) == []


@pytest.mark.parametrize(
    ("size", "pieces", "words"),
    [
        (37, [(BITMAP, 1)], "its bitmap is too short"),
        (38, [(BITMAP, 1)], None),
        (39, [(BITMAP, 1)], None),
        (2048, [(BITMAP, 1)], None),
        (2049, [(BITMAP, 1)], "its bitmap is not whole"),
        (38, [(None, 1)], "its bitmap has holes"),
    ],
)
def test_the_bitmap_is_whole(size: int, pieces: list[Run], words: str | None) -> None:
    mine = made.record(6, made.name("$Bitmap"), data(*pieces, size=size))
    assert why(look(volume({6: mine}))) == words


def test_the_bitmap_s_runs_are_gathered() -> None:
    mine = Attribute(0x80, False, False, b"", 0, 5 * CLUSTER + 1, ((BITMAP, 2),))
    more = {
        9: made.record(9, data((44, 1), size=0, lowest=5), base=6 | 1 << 48),
        10: made.record(10, data((46, 3), size=0, lowest=2), base=6 | 1 << 48),
    }
    found = NtfsMap(volume(more), INFO)
    runs = found._runs_of_bitmap(Record(True, 6, True, (mine,)), PIECES)
    assert runs == [(BITMAP, 2), (46, 3), (44, 1)]


@pytest.mark.parametrize("missing", [60, 62, 70, 298, 299, 22, 23, 5, BITMAP, LOG])
def test_a_cluster_of_a_file_is_not_free(missing: int) -> None:
    owners = {60: (4, 60), 62: (4, 60), 70: (4, 70), 298: (15, 298), 299: (15, 298), 5: (0, 5),
              22: (11, 22), 23: (11, 22), BITMAP: (6, BITMAP), LOG: (2, LOG)}  # fmt: skip
    number, first = owners[missing]
    words = f"file {number} owns clusters from {first} on, which the bitmap calls free"
    found = look(volume(used=USED - {missing}))
    assert found == words


def test_an_effort_ends_with_the_records_that_it_allows() -> None:
    """A part of the MFT costs 20, and a record that is looked up; a page of the bitmap 300."""
    torn = {9: b"BAAD" + bytes(RECORD - 4)}
    for most, words in ((220, None), (221, "record 9 of its MFT is damaged")):
        assert why(look(volume(torn), Effort(most))) == words
    assert look(volume(), Effort(75)) == NOT_COUNTED
    assert isinstance(look(volume(), Effort(76)), NtfsMap)


def test_every_page_of_the_bitmap_is_counted() -> None:
    """64 KiB of it at a time, each of which costs 300; a run that goes over the border counts twice."""
    page, more = 8 << 16, 1003
    bits = bytearray(b"\xff" * -(-(page + more) // 8))
    free = [*range(210, 220), *range(page - 8, page + 2), *range(page + more - 3, page + more)]
    for number in free:
        bits[number // 8] &= ~(1 << number % 8)
    sound = volume(
        {6: made.record(6, made.name("$Bitmap"), data((1000, 33), size=len(bits)))},
        also={0: boot(sectors=4 * (page + more)), 1000 * CLUSTER: bytes(bits)},
    )
    disk = MemoryDisk((page + more) * CLUSTER, sound.data)
    for effort in (Effort(), Effort(151)):
        found = look(disk, effort)
        assert isinstance(found, NtfsMap), found
        assert (found.free, found.runs) == (len(free) * CLUSTER, 4)
    assert look(disk, Effort(150)) == NOT_COUNTED


def test_records_are_read_a_mib_at_a_time() -> None:
    size = (1 << 20) + 5 * CLUSTER + 512
    table = bytearray(b"".join(records()[:1]).ljust(size, b"\0"))
    for number in (3, 1023, 1024, 1029, 1033):
        table[number * RECORD : (number + 1) * RECORD] = made.record(number)
    runs: list[Run] = [(2, 512), (600, 6)]
    parts = {2 * CLUSTER: bytes(table[: 1 << 20]), 600 * CLUSTER: bytes(table[1 << 20 :])}
    disk = MemoryDisk(700 * CLUSTER, parts)
    info = Geometry(CLUSTER, 700, RECORD, 2, 1)
    found = NtfsMap(disk, info)
    numbers = [number for number, _ in found._records(runs, Effort())]
    assert numbers == [0, 3, 1023, 1024, 1029, 1033]
    assert [number for number, _ in found._records(runs, Effort(20 * 1026 + 1))] == [0, 3, 1023]
    disk.data[600 * CLUSTER + 9 * RECORD] = b"BAAD"
    with pytest.raises(KeptError, match="record 1033 of its MFT is damaged"):
        list(found._records(runs, Effort()))


def test_a_part_of_a_record_at_the_mft_s_end_is_none() -> None:
    """Clusters of 512 bytes, of which the table has an odd number."""
    raw = made.record(0) + made.record(1) + made.record(2)[:512]
    found = NtfsMap(MemoryDisk(90_000, {512 * 9: raw}), Geometry(512, 170, RECORD, 9, 1))
    assert [number for number, _ in found._records([(9, 5)], Effort())] == [0, 1]


def name(text: str, parent: int = 5, *, length: int | None = None, more: bytes = b"") -> Attribute:
    """A $FILE_NAME."""
    head = struct.pack("<Q56xBB", parent, len(text) if length is None else length, 3)
    return Attribute(0x30, False, True, head + text.encode("utf-16-le") + more)


@pytest.mark.parametrize(
    ("item", "sleeps"),
    [
        (name("hiberfil.sys"), True),
        (name("HiberFil.SYS"), True),
        (name("hiberfil.sys", 5 | 0xFFFF << 48), True),
        (name("hiberfil.sys", 5 | 1 << 47), False),
        (name("hiberfil.sys", 4), False),
        (name("hiberfil.sys", 6), False),
        (name("hiberfil.sys", 5 | 5 << 8), False),
        (name("hiberfil.sys", more=b"x\0"), True),
        (name("hiberfil.sysx", length=12), True),
        (name("hiberfil.sy"), False),
        (name("hiberfil.sysx"), False),
        (name("aiberfil.sys"), False),
        (name("ziberfil.sys"), False),
        (name(""), False),
        (Attribute(0x30, False, True, name("").value[:65]), False),
        (Attribute(0x30, False, True, b""), False),
    ],
    ids=map(str, range(16)),
)
def test_a_hibernation_file_has_its_name_in_the_root(item: Attribute, sleeps: bool) -> None:
    assert ntfs._is_hibernation(item) is sleeps


ASLEEP = "a system is hibernated in it"


@pytest.mark.parametrize(
    ("content", "head", "words"),
    [
        (data((200, 9)), b"hibr", ASLEEP),
        (data((200, 9)), b"HIBR", ASLEEP),
        (data((200, 9)), b"wake", None),
        (data((200, 9)), b"WAKE", None),
        (data((200, 9)), b"Wake", ASLEEP),
        (data((200, 9)), bytes(4), None),
        (data((200, 9)), b"\0\0\0\1", ASLEEP),
        (data((200, 9), size=4096), b"hibr", ASLEEP),
        (data((200, 9), size=4097), b"hibr", ASLEEP),
        (data((200, 9), size=4095), b"hibr", None),
        (data((None, 1), (200, 9)), b"hibr", "its hibernation file has holes"),
        (made.resident(0x80, b"hibr"), b"hibr", None),
        (b"", b"hibr", "a system may be hibernated in it"),
        (data(size=4096), b"hibr", "a system may be hibernated in it"),
    ],
    ids=map(str, range(14)),
)
def test_no_system_sleeps_in_it(content: bytes, head: bytes, words: str | None) -> None:
    also = {200 * CLUSTER: head + b"\x35" * 4}
    sleeper = {8: made.record(8, made.name("hiberfil.sys"), content)}
    assert why(look(volume(sleeper, used=USED | {*range(200, 209)}, also=also))) == words
    other = {8: made.record(8, made.name("hiberfil.sys", 64), content)}
    assert why(look(volume(other, used=USED | {*range(200, 209)}, also=also))) is None
