"""Which blocks hold data, and the bytes of tar and gzip: exact values."""

from __future__ import annotations

import random
import tarfile
import zlib
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from notebooks import MemoryNotebook
from vhd_files import Bytes, MemoryDisk

from pipeline.source import Extent
from pipeline.stage import Cancellation
from pipeline.targets import (
    packing,
    sparse_tar,
    zero_scan,
)

MIB, GIB = 1 << 20, 1 << 30
BLOCK = 2 * MIB
ONE = UUID(int=1)

# --- scan, tar, packing


def test_the_blocks_that_data_touches() -> None:
    extents = [
        Extent(0, 5, "zero"),
        Extent(5, 10, "data"),
        Extent(15, BLOCK - 20, "zero"),
        Extent(BLOCK - 5, 10, "data"),
        Extent(BLOCK + 5, 2 * BLOCK, "zero"),
        Extent(3 * BLOCK + 5, 2 * BLOCK, "data"),
    ]

    assert [(block.number, block.data) for block in zero_scan.blocks_with_data(extents)] == [
        (0, ((5, 10), (BLOCK - 5, 5))),
        (1, ((BLOCK, 5),)),
        (3, ((3 * BLOCK + 5, BLOCK - 5),)),
        (4, ((4 * BLOCK, BLOCK),)),
        (5, ((5 * BLOCK, 5),)),
    ]
    assert list(zero_scan.blocks_with_data([])) == []


@pytest.mark.parametrize(
    ("data", "numbers", "read"),
    [
        ({0: b"a"}, [0], [(0, 4096)]),
        ({BLOCK - 1: b"a"}, [0], [(0, 4096), *((n << 18, 1 << 18) for n in range(8))]),
        ({(1 << 18) - 1: b"a"}, [0], [(0, 4096), (0, 1 << 18)]),
        ({}, [], [(0, 4096), *((n << 18, 1 << 18) for n in range(8))]),
    ],
)
def test_a_block_is_read_as_long_as_it_shows_nothing(
    data: dict[int, bytes], numbers: list[int], read: list[tuple[int, int]]
) -> None:
    disk = MemoryDisk(BLOCK, data, allocated=True)
    told: list[tuple[int, int]] = []

    found = zero_scan.nonzero_blocks(
        disk,
        zero_scan.blocks_with_data(disk.extents()),
        1,
        Cancellation(),
        lambda *at: told.append(at),
    )

    assert list(found) == numbers
    assert disk.asked == read
    assert told == [(BLOCK, BLOCK)]


def test_many_blocks_in_order() -> None:
    size = 300 * BLOCK
    disk = MemoryDisk(size, {n * BLOCK: b"x" for n in range(0, 300, 3)}, allocated=True)
    small = zero_scan.blocks_with_data([Extent(n * BLOCK, 9, "data") for n in range(300)])
    told: list[int] = []

    found = zero_scan.nonzero_blocks(disk, small, 1, Cancellation(), lambda at, _: told.append(at))

    assert list(found) == list(range(0, 300, 3))
    assert told == [256 * BLOCK, 300 * BLOCK]  # four batches of 64, and the rest
    assert set(disk.asked) == {(n * BLOCK, 9) for n in range(300)}


def entries(header: bytes) -> list[tuple[int, int]]:
    """The entries of an old GNU sparse header, read here."""
    found = [header[at : at + 24] for at in range(386, 386 + 4 * 24, 24)]
    more, at = header[482], 512
    while more:
        found += [header[at + n : at + n + 24] for n in range(0, 504, 24)]
        more, at = header[at + 504], at + 512
    assert at == len(header)
    pairs = [(_octal(item[:12]), _octal(item[12:])) for item in found]
    while pairs and pairs[-1] == (0, 0):
        pairs.pop()
    return pairs


def _octal(field: bytes) -> int:
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    return int(field.rstrip(b"\0") or b"0", 8)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 15, 16, 17, 24, 25, 26, 45, 46, 47])
@pytest.mark.parametrize("hole_at_end", [True, False])
def test_the_entries_of_a_sparse_tar(count: int, hole_at_end: bool) -> None:
    runs = [(1024 * n + 512, 512) for n in range(count)]
    size = 1024 * count + (512 if hole_at_end else 0)

    tar = sparse_tar.SparseTar(MemoryDisk(size, {}), runs)  # type: ignore[arg-type]

    assert entries(tar.header) == runs + ([(size, 0)] if hole_at_end else [])
    assert (tar.header[156:157], tar.header[257:265]) == (b"S", b"ustar  \0")
    assert (_octal(tar.header[124:136]), _octal(tar.header[483:495])) == (512 * count, size)
    assert tar.header[100:108] == b"0000644\0"
    assert _octal(tar.header[148:154]) == sum(tar.header[:148] + b" " * 8 + tar.header[156:512])
    records = len(tar.header) + 512 * count + 1024
    assert tar.size == -(-records // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def test_a_number_that_octal_has_no_room_for() -> None:
    assert sparse_tar._number(8**11 - 1) == b"77777777777\0"
    assert sparse_tar._number(8**11) == b"\x80\0\0\0\0\0\0\x02\0\0\0\0"


def test_a_tar_at_every_offset() -> None:
    disk = MemoryDisk(4096, {n: bytes([1 + n % 250]) for n in range(4096)})
    tar = sparse_tar.SparseTar(disk, [(0, 700), (1000, 1), (3000, 1096)])  # type: ignore[arg-type]
    whole = tar.header + disk.read(0, 700) + disk.read(1000, 1) + disk.read(3000, 1096)
    whole = whole.ljust(tar.size, b"\0")

    for offset in (
        0,
        511,
        512,
        600,
        1211,
        1212,
        1213,
        1214,
        2308,
        2309,
        2310,
        tar.size - 1,
        tar.size,
    ):
        for length in (0, 1, 2, 703, 10_240):
            assert tar.read(offset, length) == whole[offset : offset + length]


def test_a_tar_without_holes_is_an_ordinary_one() -> None:
    tar = sparse_tar.SparseTar(MemoryDisk(700, {}))  # type: ignore[arg-type]

    assert (len(tar.header), tar.header[156:157], tar.size) == (512, b"0", tarfile.RECORDSIZE)


def test_a_member_is_gzip_without_a_name_or_a_time() -> None:
    zeros = packing.member(bytes(packing.BLOCK))

    for data, member in ((bytes(packing.BLOCK), zeros), (b"abc", packing.member(b"abc"))):
        assert member[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
        assert zlib.decompress(member[10:-8], -15) == data
        assert member[-8:] == (zlib.crc32(data)).to_bytes(4, "little") + len(data).to_bytes(
            4, "little"
        )
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    assert packing.member(b"abc" * 999)[10:-8] == packer.compress(b"abc" * 999) + packer.flush()


def packed(path: Path, notebook: MemoryNotebook, members: int) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    stream = Bytes(bytes(members * packing.BLOCK - 5))
    packing.pack(
        stream,
        path,
        notebook=notebook,
        key="".join(("the ", "content")),  # as it is after a kill: equal, and another object
        threads=1,
        cancellation=Cancellation(),
        progress=lambda *at: told.append(at),
    )
    return told


def test_a_member_holds_four_mebibytes_packed_as_gzip_packs_them() -> None:
    rng = random.Random(1)
    words = [rng.randbytes(rng.randrange(2, 4)) for _ in range(40)]
    text = b"".join(rng.choice(words) for _ in range(30_000))
    bodies = []
    for level in range(1, 10):
        packer = zlib.compressobj(level, zlib.DEFLATED, -15)
        bodies.append(packer.compress(text) + packer.flush())

    assert [
        level for level, body in enumerate(bodies, 1) if packing.member(text)[10:-8] == body
    ] == [6]
    assert packing.BLOCK == 4 * MIB


def test_what_is_told_and_noted_while_it_is_packed(tmp_path: Path) -> None:
    notebook, path = MemoryNotebook(), tmp_path / "p"

    told = packed(path, notebook, 66)

    total = 66 * packing.BLOCK - 5
    assert told == [(min(n * packing.BLOCK, total), total) for n in range(1, 67)]
    one = len(packing.member(bytes(packing.BLOCK)))
    assert notebook.load("pack") == {
        "key": "the content",
        "members": 64,
        "offset": 64 * one,
    }
    assert path.stat().st_mode & 0o777 == 0o600
    whole = path.read_bytes()
    path.write_bytes(whole + b"rest of a longer one")
    assert len(packed(path, notebook, 66)) == 2  # the two behind the note
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "note",
    [
        None,
        [],
        {"key": "other", "members": 1, "offset": 1},
        {"key": "k", "members": "1", "offset": 1},
        {"key": "k", "members": 1, "offset": None},
        {"key": "k", "members": 1, "offset": 11},
    ],
)
def test_notes_that_are_not_believed(tmp_path: Path, note: Any) -> None:
    (tmp_path / "p").write_bytes(b"0123456789")
    notebook = MemoryNotebook()
    notebook.save("pack", note)

    assert packing._continued(tmp_path / "p", notebook, "k") == (0, 0)
    notebook.save("pack", {"key": "k", "members": 1, "offset": 10})
    assert packing._continued(tmp_path / "p", notebook, "k") == (1, 10)
    assert packing._continued(tmp_path / "none", notebook, "k") == (0, 0)


def test_only_a_tar_is_made_of_what_is_no_artifact() -> None:
    disk: Any = MemoryDisk(512, {})

    assert packing.stream_of(disk, "gzip", threads=1, cancellation=Cancellation()) is disk
