"""The reader that counts: what it reads, how often, and where it stops."""

from __future__ import annotations

import struct

import pytest
from handmade import Memory

from pipeline.errors import ImgprepError
from pipeline.formats import labels
from pipeline.formats.bounded import HEAD, READ_BUDGET, TAIL, BoundedReader, padded

SIZE = HEAD + TAIL + 10_000


class Asked:
    """Bytes in memory, and what was read of them."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)
        self.asked: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return Memory(self.data).read(offset, length)


@pytest.mark.parametrize(
    ("size", "reads", "wanted"),
    [
        (SIZE, [(0, 1), (HEAD - 1, 1), (0, HEAD)], [(0, HEAD)]),
        (SIZE, [(0, HEAD + 1)], [(0, HEAD + 1)]),
        (SIZE, [(HEAD, 1), (HEAD - 1, 2)], [(HEAD, 1), (HEAD - 1, 2)]),
        (SIZE, [(SIZE - 1, 1), (SIZE - TAIL, TAIL), (SIZE - 5, 99)], [(SIZE - TAIL, TAIL)]),
        (SIZE, [(SIZE - TAIL - 1, 1), (SIZE - TAIL - 1, 2)],
         [(SIZE - TAIL - 1, 1), (SIZE - TAIL - 1, 2)]),
        (SIZE, [(-1, 5), (SIZE, 1), (SIZE + 1, 1), (0, 0), (5, -1)], []),
        (100, [(0, 1000), (99, 1)], [(0, 100)]),
    ],
)  # fmt: skip
def test_head_and_tail_are_read_once(
    size: int, reads: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    file = Asked(bytes(n % 251 for n in range(size)))
    reader = BoundedReader(file)

    for offset, length in reads:
        held = file.data[offset : offset + max(0, length)] if offset >= 0 else b""
        assert reader.read(offset, length) == held

    assert file.asked == wanted
    assert reader.bytes_read == sum(length for _, length in wanted)


def test_the_budget_to_its_last_byte() -> None:
    reader = BoundedReader(Memory(bytes(2 * READ_BUDGET)))
    assert READ_BUDGET == 4 << 20

    reader.read(HEAD, READ_BUDGET - 1)
    reader.read(HEAD, 1)
    with pytest.raises(ImgprepError, match="4194304 bytes are allowed") as caught:
        reader.read(HEAD, 1)

    assert caught.value.code == "read-budget"
    assert str(caught.value).startswith("a parser asked for 1 bytes at offset 65536 after 4194304")
    assert reader.bytes_read == READ_BUDGET


def test_what_lies_behind_the_end_is_zeros() -> None:
    assert padded(Memory(b"abc"), 1, 4) == b"bc\0\0"
    assert padded(Memory(b"abc"), 1, 2) == b"bc"


def test_the_places_of_partition_tables() -> None:
    disk = bytearray(70_000)
    for start in (0, 60_000):
        disk[start + 450], disk[start + 458] = 0x83, 1
        disk[start + 510 : start + 520] = b"\x55\xaaEFI PART"
        disk[start + 4096 : start + 4104] = b"EFI PART"

    for start in (0, 60_000):
        assert labels.label_places(Memory(bytes(disk)), start) == (
            ("mbr", start + 446, 66),
            ("gpt", start + 512, 8),
            ("gpt", start + 4096, 8),
        )
        assert labels.disk_labels(Memory(bytes(disk)), start) == ("mbr", "gpt")
    assert labels.disk_labels(Memory(bytes(disk)), 1) == ()


def _mbr(*entries: tuple[int, int, int], end: bytes = b"\x55\xaa") -> Memory:
    """A sector with up to four entries (mark, type, sectors), each of which begins somewhere."""
    table = b"".join(struct.pack("<B3xB3xII", mark, kind, 1 << 24, n) for mark, kind, n in entries)
    return Memory(bytes(446) + table.ljust(64, b"\0") + end)


@pytest.mark.parametrize(
    ("disk", "is_one"),
    [
        (_mbr((0, 0x83, 1)), True),
        (_mbr((0x80, 0x83, 1 << 31)), True),
        (_mbr((0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 7, 1)), True),
        (_mbr((0, 0x83, 0)), False),  # of no sectors, wherever it begins
        (_mbr((0, 0, 5)), False),
        (_mbr((0, 0, 5), (0, 0x83, 0)), False),
        (_mbr((0, 0x83, 1), (1, 0, 0)), False),
        (_mbr((0, 0x83, 1), (0, 0, 0), (0, 0, 0), (0x81, 0, 0)), False),
        (_mbr((0, 0x83, 1), end=b"\x55\xab"), False),
        (_mbr((0, 0x83, 1), end=b"\x55"), False),
        (Memory(b""), False),
    ],
)
def test_what_makes_a_boot_sector_a_partition_table(disk: Memory, is_one: bool) -> None:
    behind = Memory(disk.data.ljust(512, b"\0") + b"more") if disk.size == 512 else disk

    assert labels.disk_labels(behind) == (("mbr",) if is_one else ())
