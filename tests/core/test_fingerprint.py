"""The identity of content: the same bytes have the same, wherever and however they lie."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import fingerprint
from pipeline.errors import SourceError
from pipeline.fileview import FileView
from pipeline.fingerprint import CHUNK, content_id
from pipeline.source import Extent, Source


def write(path: Path, size: int, runs: dict[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in runs.items():
            file.seek(offset)
            file.write(data)
    return path


def fingerprint_of(path: Path) -> str:
    with Source.open(path) as source:
        return fingerprint.fingerprint(FileView(source, source.size))


def test_holes_and_stored_zeros_are_the_same(tmp_path: Path):
    data = random.Random(1).randbytes(100_000)
    runs = {5: data, 3 * CHUNK - 7: data, 9 * CHUNK: b"x"}
    sparse = write(tmp_path / "sparse", 12 * CHUNK + 123, runs)
    full = tmp_path / "full"
    full.write_bytes(sparse.read_bytes())
    assert full.stat().st_blocks > sparse.stat().st_blocks

    assert fingerprint_of(sparse) == fingerprint_of(full)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 255)), max_size=6), st.integers(1, 99))
def test_the_map_makes_no_difference_and_every_byte_does(changes: list, size_more: int):
    size = 4 * CHUNK + size_more
    content = bytearray(size)
    for chunk, value in changes:
        content[min(chunk * CHUNK + value, size - 1)] = value

    class View:
        def __init__(self, data: bytes, whole: bool) -> None:
            self.data, self.whole, self.size = data, whole, len(data)

        def read(self, offset: int, length: int) -> bytes:
            return self.data[offset : offset + length]

        def extents(self):
            if self.whole:
                yield Extent(0, self.size, "data")
                return
            for offset in range(0, self.size, 512):
                part = self.data[offset : offset + 512]
                yield Extent(offset, len(part), "data" if any(part) else "zero")

    one = fingerprint.fingerprint(View(bytes(content), True))
    assert one == fingerprint.fingerprint(View(bytes(content), False))
    other = bytearray(content)
    other[size_more] ^= 1
    assert one != fingerprint.fingerprint(View(bytes(other), True))
    assert one != fingerprint.fingerprint(View(bytes(content) + b"\0", True))


def test_a_copy_has_the_same_id_and_a_change_another(tmp_path: Path):
    first = write(tmp_path / "a", 3 * CHUNK, {100: b"data"})
    copy = Path(shutil.copy(first, tmp_path / "b"))

    def identify(path: Path) -> str:
        with Source.open(path) as source:
            return content_id(source, tmp_path / "cache")

    before = identify(first)
    assert before.startswith("content:sha256:")
    assert identify(copy) == before
    with copy.open("r+b") as file:
        file.write(b"y")
    assert identify(copy) != before


def test_it_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "a", CHUNK, {0: b"data"})
    with Source.open(path) as source:
        first = content_id(source, tmp_path / "cache")
        monkeypatch.setattr(FileView, "read", None)
        assert content_id(source, tmp_path / "cache") == first
        (kept,) = (tmp_path / "cache" / "content").iterdir()
        kept.write_text("torn")
        monkeypatch.undo()
        assert content_id(source, tmp_path / "cache") == first


def test_a_file_that_changes_meanwhile_has_no_id(tmp_path: Path):
    path = write(tmp_path / "a", CHUNK, {0: b"data"})
    with Source.open(path) as source, pytest.raises(SourceError):
        content_id(source, tmp_path / "cache", check=lambda: os.utime(path))
    assert not (tmp_path / "cache").exists()
