"""Where each byte of an artifact comes from, and what of a stored one differs: exact values."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from vhd_files import Bytes, MemoryDisk

from pipeline.errors import ConversionFailed
from pipeline.formats.vhd_layout import Piece
from pipeline.model import Artifact
from pipeline.source import Extent, Place, Source
from pipeline.targets import (
    artifact,
    comparison,
)
from pipeline.targets.artifact import LaidOut, Stored
from pipeline.targets.linear import LinearLayout

MIB, GIB = 1 << 20, 1 << 30
BLOCK = 2 * MIB
ONE = UUID(int=1)

# --- comparison


def test_what_differs_is_told_by_its_place_on_the_disk() -> None:
    source = MemoryDisk(40, {0: bytes(range(1, 41))})
    places = [(100, 10, 10), (120, 0, 10), (200, 20, 20)]
    seen = comparison.DiskComparison(places, 40, source)

    assert seen.see(100, bytes(range(11, 21))) is None
    assert seen.see(90, bytes(10) + bytes(range(11, 16))) is None
    assert seen.see(110, bytes(10) + bytes(range(1, 11))) is None
    assert seen.see(99, b"x" + bytes(range(11, 21)) + b"y") is None
    assert seen.see(0, bytes(100)) is None
    assert seen.see(300, b"far") is None
    said = "between 14 and 20 of the disk it differs from the source"
    assert seen.see(104, bytes(range(15, 20)) + b"\0") == said
    assert seen.see(219, b"\x28") is None
    assert seen.see(219, b"\x29") == "between 39 and 40 of the disk it differs from the source"
    assert seen.missing() is None


@pytest.mark.parametrize(
    ("places", "found"),
    [
        ([], 5),
        ([(0, 0, 5)], 5),
        ([(0, 0, 6)], 9),
        ([(0, 5, 1)], 9),
        ([(0, 5, 5)], None),
        ([(0, 9, 1), (1, 5, 1)], None),
        ([(0, 5, 1), (0, 6, 3)], 9),
        ([(0, 0, 10), (0, 2, 1)], None),
    ],
)
def test_what_the_object_leaves_out(places: list[tuple[int, int, int]], found: int | None) -> None:
    source = MemoryDisk(20, {5: b"a", 9: b"b"})

    told = comparison.DiskComparison(places, 20, source).missing()

    assert told == (
        None if found is None else f"the source's data at {found} of the disk is not in it"
    )


def test_a_disk_that_is_rounded_up_has_zeros_behind_its_source() -> None:
    seen = comparison.DiskComparison([(0, 0, 8)], 16, MemoryDisk(6, {0: b"123456"}))

    assert seen.see(0, b"123456\0\0") is None
    assert seen.see(0, b"123456\0!") == "between 0 and 8 of the disk it differs from the source"
    assert seen.missing() is None


def test_what_is_compared() -> None:
    disk = MemoryDisk(4, {0: b"data"})

    for facts in ({"format": "raw"}, {"format": "vhd", "variant": "fixed"}):
        found = comparison.compare(Bytes(b""), {**facts, "virtual_size": 4}, disk)
        assert found is not None
        assert (found.see(0, b"data"), found.missing()) == (None, None)
    for facts in (
        {"format": "vhd", "variant": "differencing"},
        {"format": "qcow2", "variant": "dynamic"},
    ):
        assert comparison.compare(Bytes(b""), {**facts, "virtual_size": 4}, disk) is None
    assert comparison.compare(Bytes(b""), {"format": "raw", "virtual_size": None}, disk) is None


def test_the_last_block_of_a_vhd_may_end_behind_its_disk() -> None:
    """What stands there is nobody's: the disk ends before it."""
    size = BLOCK + 1536
    footer = b"conectix" + struct.pack(">IIQ", 2, 0x10000, 512) + bytes(16)
    footer = (footer + struct.pack(">QQ", size, size)).ljust(512, b"\0")
    header = b"cxsparse" + struct.pack(">QQIII", (1 << 64) - 1, 1536, 0x10000, 2, BLOCK)
    bat = struct.pack(">2I", 4 + 1 + 4096, 4).ljust(512, b"\0")
    last = b"\xff" * 512 + b"b" * 1536 + b"?" * (BLOCK - 1536)
    vhd = footer + header.ljust(1024, b"\0") + bat + last + b"\xff" * 512 + b"a" * BLOCK + footer
    source = MemoryDisk(size, {0: b"a" * BLOCK, BLOCK: b"b" * 1536})
    facts = {"format": "vhd", "variant": "dynamic", "virtual_size": size}

    found = comparison.compare(Bytes(vhd), facts, source)

    assert found is not None
    assert found.see(0, vhd) is None
    assert found.missing() is None
    at = 2048 + 512 + 1535
    said = f"between {BLOCK} and {size} of the disk it differs from the source"
    assert found.see(0, vhd[:at] + b"!" + vhd[at + 1 :]) == said


# --- artifact


class Tens:
    """A layout: five literal bytes, ten of the disk from its byte 20 on, five zeros, ten more from 0."""

    size, grid = 30, (0, 4096)
    all = (
        Piece(0, 5, "literal", data=b"HEAD!"),
        Piece(5, 10, "source", source_offset=20),
        Piece(15, 5, "zero"),
        Piece(20, 10, "source", source_offset=0),
    )

    def pieces(self, offset: int, length: int) -> Iterator[Piece]:
        for piece in self.all:
            low, high = max(offset, piece.offset), min(offset + length, piece.offset + piece.length)
            if low < high:
                cut = low - piece.offset
                data = piece.data[cut : cut + high - low]
                yield Piece(low, high - low, piece.kind, piece.source_offset + cut, data)


class PlacedDisk(MemoryDisk):
    def places(self, offset: int, length: int) -> Iterator[Place]:
        yield Place(offset, length, 1000 + offset)


def laid_out(disk: MemoryDisk) -> LaidOut:
    return LaidOut(Tens(), disk)  # type: ignore[arg-type]


def test_an_artifact_is_put_together_at_any_offset() -> None:
    disk = MemoryDisk(26, {2: b"abc", 22: b"xyz"})
    made = laid_out(disk)
    whole = b"HEAD!" + b"\0\0xyz" + bytes(5) + bytes(5) + b"\0\0abc" + bytes(5)

    assert made.read(0, 99) == whole
    assert disk.asked == [(22, 3), (2, 3)]
    for offset in range(31):
        for length in (0, 1, 7, 40):
            assert made.read(offset, length) == whole[offset : offset + length]
    assert made.read_into(25, memoryview(bytearray(9))) == 5
    assert (made.size, made.grid) == (30, (0, 4096))


def test_the_runs_of_an_artifact() -> None:
    made = laid_out(MemoryDisk(26, {2: b"abc", 22: b"xyz"}))

    assert list(made.extents()) == [
        Extent(0, 5, "data"),
        Extent(5, 2, "zero"),
        Extent(7, 3, "data"),
        Extent(10, 12, "zero"),
        Extent(22, 3, "data"),
        Extent(25, 5, "zero"),
    ]
    assert list(made.extents(8, 4)) == [Extent(8, 2, "data"), Extent(10, 2, "zero")]
    assert list(made.extents(24)) == [Extent(24, 1, "data"), Extent(25, 5, "zero")]
    assert list(made.extents(28, 99)) == [Extent(28, 2, "zero")]


def test_where_the_bytes_of_an_artifact_lie() -> None:
    placed, other = laid_out(PlacedDisk(26, {})), laid_out(MemoryDisk(26, {}))

    assert list(placed.places(0, 30)) == [
        Place(0, 5, None),
        Place(5, 6, 1020),
        Place(11, 4, None),
        Place(15, 5, None),
        Place(20, 10, 1000),
    ]
    assert list(laid_out(PlacedDisk(20, {})).places(5, 10)) == [Place(5, 10, None)]
    assert {place.at for place in other.places(0, 30)} == {None}
    assert sum(place.length for place in other.places(0, 30)) == 30


def test_the_map_is_asked_for_a_window_at_a_time() -> None:
    class Counting(MemoryDisk):
        windows: list[tuple[int, int | None]]

        def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
            self.windows.append((offset, length))
            return super().extents(offset, length)

    size = 3 * artifact.WINDOW
    disk = Counting(size, {artifact.WINDOW - 3: b"abcdef"})
    disk.windows = []
    made = LaidOut(LinearLayout(size, size), disk)

    assert made.read(artifact.WINDOW - 4, 8) == b"\0abcdef\0"
    assert made.read(artifact.WINDOW - 4, 8) == b"\0abcdef\0"
    assert disk.windows == [(0, artifact.WINDOW), (artifact.WINDOW, artifact.WINDOW)]


def test_long_zeros() -> None:
    buffer = memoryview(bytearray(b"x" * (2 * MIB + 5)))

    artifact._fill_zeros(buffer)

    assert not any(buffer)


def test_a_stored_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    with Source.open(tmp_path / "f") as file:
        stored, own = Stored(file), Stored(file, is_source=True)
        buffer = bytearray(8)

        assert (stored.size, stored.read(3, 4), stored.read(8, 9)) == (10, b"3456", b"89")
        assert (stored.read_into(4, memoryview(buffer)), bytes(buffer)) == (6, b"456789\0\0")
        assert stored.read_into(11, memoryview(buffer)) == 0
        assert list(stored.extents()) == [Extent(0, 10, "data")]
        assert list(own.places(2, 5)) == [Place(2, 5, 2)]


def planned(**changes: Any) -> Artifact:
    plan = {"kind": "raw", "source_size": 512, "virtual_size": 512}
    return replace(Artifact("raw", virtual_size=512, size=512, suffix="", plan=plan), **changes)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (planned(plan={"kind": "x"}), "its kind is 'x'"),
        (planned(plan={"kind": "raw"}), "not the plan of a disk as it is"),
        (planned(size=513), "what is planned has 512 bytes, 513 were planned"),
        (planned(plan={"kind": "source"}, size=7), "disk has 5 bytes, 7 were planned"),
    ],
)
def test_a_plan_that_cannot_be_followed(made: Artifact, said: str) -> None:
    source = SimpleNamespace(size=5, name="disk", is_file=True)
    disk: Any = SimpleNamespace(source=source, view=lambda map_first: MemoryDisk(512, {}))

    with pytest.raises(ConversionFailed) as error, artifact.open_artifact(made, disk):
        pass

    assert error.value.code == "artifact-plan"
    assert said in error.value.message


def test_a_file_that_is_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_bytes(b"x" * 100)
    made = planned(size=100, copy=artifact.file_plan(path))

    with artifact.open_artifact(made, SimpleNamespace()) as opened:  # type: ignore[arg-type]
        assert opened.read(98, 9) == b"xx"
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    with (
        pytest.raises(ConversionFailed, match=r"then 100 bytes, now 100") as error,
        artifact.open_artifact(made, SimpleNamespace()),  # type: ignore[arg-type]
    ):
        pass
    assert error.value.code == "artifact-changed"
