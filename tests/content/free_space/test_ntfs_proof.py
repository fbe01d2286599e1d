"""What must hold before anything of an NTFS is called free: system files, mirror, state and log."""

from __future__ import annotations

import struct

import made_volumes as made
import pytest
from made_ntfs import (
    CLUSTER,
    CLUSTERS,
    INFO,
    LOG,
    MFT,
    MIRROR,
    RECORD,
    USED,
    look,
    records,
    volume,
    why,
)
from vhd_files import MemoryDisk

from pipeline.content.free_space.base import KeptError, Span
from pipeline.content.free_space.ntfs import NtfsMap
from pipeline.content.free_space.ntfs_records import Attribute, Record


def test_what_nobody_owns_is_free() -> None:
    found = look(volume())
    assert isinstance(found, NtfsMap), found
    free = [number for number in range(CLUSTERS) if number not in USED]
    runs: list[Span] = []
    for number in free:
        low = runs.pop()[0] if runs and runs[-1][1] == number * CLUSTER else number * CLUSTER
        runs.append((low, (number + 1) * CLUSTER))
    assert list(found.between(0, CLUSTERS * CLUSTER)) == runs
    assert (found.free, found.runs) == (len(free) * CLUSTER, len(runs))
    assert found.end == CLUSTERS * CLUSTER


@pytest.mark.parametrize("number", range(7))
def test_system_files_are_there(number: int) -> None:
    words = f"its system file {number} is missing"
    assert look(volume({number: bytes(RECORD)})) == words
    assert look(volume({number: made.record(number, flags=2)})) == words
    damaged = b"BAAD" + records()[number][4:]
    assert look(volume({number: damaged})) == f"record {number} of its MFT is damaged"


@pytest.mark.parametrize("number", range(4))
def test_the_mirror_is_equal(number: int) -> None:
    words = f"record {number} of its MFT differs from the mirror's"
    mine = records()[number]
    (end,) = struct.unpack_from("<I", mine, 24)
    for at, same in ((0, False), (22, False), (end - 1, False), (end, True), (1021, True)):
        mirror = records()[:4]
        mirror[number] = mine[:at] + bytes([mine[at] ^ 1]) + mine[at + 1 :]
        assert why(look(volume(mirror=mirror))) == (None if same else words), at


@pytest.mark.parametrize(
    ("end", "at", "same"),
    [
        (0, 63, False),
        (0, 64, True),
        (64, 64, True),
        (65, 64, False),
        (65, 65, True),
        (0x0100, 200, False),
        (0x01000000, 1023, False),
        (1024, 1023, False),
    ],
)
def test_the_mirror_is_compared_as_far_as_records_are_used(end: int, at: int, same: bool) -> None:
    table = [bytes(24) + struct.pack("<I", end) + bytes(RECORD - 28) for _ in range(4)]
    parts = {MFT * CLUSTER: b"".join(table), MIRROR * CLUSTER: b"".join(table)}
    NtfsMap(MemoryDisk(90_000, parts), INFO)._require_mirror()
    table[2] = table[2][:at] + b"\xff" + table[2][at + 1 :]
    parts[MFT * CLUSTER] = b"".join(table)
    found = NtfsMap(MemoryDisk(90_000, parts), INFO)
    if same:
        found._require_mirror()
        return
    with pytest.raises(KeptError, match="record 2 of its MFT differs from the mirror's"):
        found._require_mirror()


def state(*values: bytes) -> str | None:
    """What is said of $Volume with these $VOLUME_INFORMATIONs."""
    items = [Attribute(0x60, False, True, b"name" * 9), Attribute(0x71, False, True, bytes(12))]
    items += [Attribute(0x70, False, True, value) for value in values]
    try:
        NtfsMap(volume(), INFO)._require_clean(Record(True, 3, True, tuple(items)))
    except KeptError as error:
        return str(error)
    return None


UNTOLD = "its state is not told"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], UNTOLD),
        ([b"\x77" * 8 + b"\3\1\0\0"], None),
        ([b"\x77" * 8 + b"\3\1\0\0\x77"], None),
        ([b"\x77" * 8 + b"\3\1\0"], UNTOLD),
        ([b"\x77" * 8 + b"\3\1\0\0"] * 2, UNTOLD),
        ([b"\x77" * 8 + b"\1\2\0\0"], None),
        ([b"\x77" * 8 + b"\3\0\0\0"], None),
        ([b"\x77" * 8 + b"\1\1\0\0"], "it has the unknown version 1.1"),
        ([b"\x77" * 8 + b"\1\3\0\0"], "it has the unknown version 1.3"),
        ([b"\x77" * 8 + b"\2\0\0\0"], "it has the unknown version 2.0"),
        ([b"\x77" * 8 + b"\0\1\0\0"], "it has the unknown version 0.1"),
        ([b"\x77" * 8 + b"\3\2\0\0"], "it has the unknown version 3.2"),
        ([b"\x77" * 8 + b"\4\1\0\0"], "it has the unknown version 4.1"),
        ([b"\x77" * 8 + b"\3\1\1\0"], "its dirty flag is set"),
        ([b"\x77" * 8 + b"\3\1\1\x40"], "its dirty flag is set"),
        ([b"\x77" * 8 + b"\3\1\0\x40"], "a check of it was not finished"),
        ([b"\x77" * 8 + b"\3\1\xfe\xbf"], None),
    ],
)
def test_a_volume_tells_that_it_was_left_in_order(values: list[bytes], words: str | None) -> None:
    assert state(*values) == words


def page(
    clients: int = 0xFFFF,
    flags: int = 0,
    *,
    size: int = 512,
    area: int = 48,
    magic: bytes = b"RSTR",
    room: int | None = None,
) -> bytes:
    """A restart page; what is around its fields is not zero."""
    head = magic.ljust(16, b"\x35") + struct.pack("<II", size, 0x35353535)
    head = (head + struct.pack("<HH", area, 0x3535)).ljust(area, b"\x35")
    body = head + b"\x35" * 12 + struct.pack("<HHH", clients, flags, 0x3535)
    return body.ljust(size if room is None else room, b"\x35")


UNWRITTEN = "its log may hold changes that were not written back"
TORN = "its log is damaged"
FULL = b"\xff" * 4096


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (FULL, None),
        (FULL[:-1] + b"\xfe", TORN),
        (b"\xfe" + FULL[1:], TORN),
        (b"\0" + FULL[1:], TORN),
        (page() * 2, None),
        (page(0) + page(), UNWRITTEN),
        (page() + page(0), UNWRITTEN),
        (page(0xFFFE) * 2, UNWRITTEN),
        (page(0xFF) * 2, UNWRITTEN),
        (page(0, 2) * 2, None),
        (page(0, 2) + page(0, 1), UNWRITTEN),
        (page(0, 0xFF) * 2, None),
        (page(0, 0xFFFD) * 2, UNWRITTEN),
        (page(0, 0x0200) * 2, UNWRITTEN),
        (page() + page(magic=b"RSTS"), TORN),
        (page() + page(magic=b"RCRD"), TORN),
        (page(magic=b"RSTQ") + page(), TORN),
        (page(magic=b"CHKD") * 2, TORN),
        (page(area=494) * 2, None),
        (page() + page(area=495), TORN),
        (page(area=495) + page(), TORN),
        (page(area=0x0130) * 2, None),
        (page(size=511, room=512) * 2, TORN),
        (page(size=0, room=512) * 2, TORN),
        (page(size=520) * 2, TORN),
        (page(size=768) * 2, TORN),
        (page(size=1024) * 2, None),
        (page(size=1024) + page(0, size=1024), UNWRITTEN),
        (page(size=0x6000) * 2, None),
        (page(size=65536) * 2, None),
        (page(size=65536) + page(0, size=65536), UNWRITTEN),
        (page(size=65536 + 512) * 2, TORN),
        (page(size=0x01000200, room=512) * 2, TORN),
        (page(size=65536), "its log ends too early"),
    ],
    ids=map(str, range(34)),
)
def test_a_log_was_closed(log: bytes, words: str | None) -> None:
    clusters = max(2, -(-len(log) // CLUSTER))
    clusters -= len(log) == 65536  # where its second page is not there
    disk = MemoryDisk(200 * CLUSTER, {0: b"RSTR", LOG * CLUSTER: log})
    found = NtfsMap(disk, INFO)
    if words is None:
        found._require_closed([(LOG, clusters + 1)])
        return
    with pytest.raises(KeptError, match=words):
        found._require_closed([(LOG, clusters)])


def test_the_log_of_a_volume_is_looked_at() -> None:
    also = {LOG * CLUSTER: page(0) * 2}
    assert look(volume(also=also)) == UNWRITTEN
