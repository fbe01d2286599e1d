"""The converted image as something that can be read at any offset, and may never exist as a file.

    Artifact.plan (JSON)           open_artifact yields
    {"kind": "tap-vhd", …}   ─┐
    {"kind": "fixed-vhd", …} ─┼▶   LaidOut   headers from memory, data from the source's disk
    {"kind": "raw", …}       ─┘
    {"kind": "source"}      ──▶    Stored    the source itself: it already is what the cloud takes
    {"kind": "file", …}     ──▶    Stored    a file that a tool wrote

The plan alone decides the bytes, so another process, or the same one after a crash, makes them again:
segment 17 of an upload needs neither segments 1 to 16 nor a scratch copy.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

from pipeline.disk import GuestDisk
from pipeline.errors import ConversionFailed
from pipeline.formats import vhd_layout
from pipeline.formats.vhd_layout import Piece
from pipeline.model import Artifact, JsonObject
from pipeline.remote.view import view_of
from pipeline.source import DiskView, Extent, Place, Placed, Source, merged
from pipeline.targets.linear import EVEN_GRID, LinearLayout

WINDOW = 64 << 20  # bytes of the disk whose allocation is asked for and remembered at once
WINDOWS = 16  # windows that are remembered: enough for every reader to have its own
_ZEROS = memoryview(bytes(1 << 20))
_START = attrgetter("offset")


class OpenArtifact(Protocol):
    """The bytes of an artifact.  May be used from several threads at once."""

    @property
    def grid(self) -> tuple[int, int]:
        """Where ranges are best cut: at the first number, and every second number of bytes from there.

        Both are multiples of 4096, and nothing that belongs together is cut.
        """
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``offset`` on; the count, less than asked only at the end."""
        ...

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Runs of the artifact's own bytes: contiguous, ascending, covering the range.

        Zero runs are known without reading any data of the source.
        """
        ...

    def places(self, offset: int, length: int) -> Iterator[Place]:
        """Which bytes of a range lie in the disk's source as they are; see ``pipeline.source.Placed``."""
        ...


class Layout(Protocol):
    """Where every byte of a planned artifact comes from."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """See ``OpenArtifact``."""
        ...

    def pieces(self, offset: int, length: int) -> Iterator[Piece]:
        """The runs that make up ``length`` bytes at ``offset``; fewer only at the end."""
        ...


_LAYOUTS: Mapping[str, Callable[[JsonObject], Layout]] = {
    "tap-vhd": vhd_layout.VhdLayout.from_plan,
    "fixed-vhd": LinearLayout.from_plan,
    "raw": LinearLayout.from_plan,
}


@contextlib.contextmanager
def open_artifact(artifact: Artifact, disk: GuestDisk) -> Iterator[OpenArtifact]:
    """Open the artifact of a disk: its local copy where there is one, else what its plan describes.

    Raises ``ConversionFailed`` when the plan is not one of ours, when a planned file is gone or
    another, or when the bytes to come would not be as many as were planned; ``ToolError`` when
    qemu-nbd does not start.  Reading raises ``ConversionFailed`` too.
    """
    plan = artifact.copy or artifact.plan
    kind = plan.get("kind")
    if kind in _LAYOUTS:
        yield LaidOut(_layout(artifact), disk.view(map_first=True))
    elif kind == "source":
        _require_size(artifact, disk.source.size, disk.source.name)
        yield Stored(disk.source, is_source=disk.source.is_file)
    elif kind == "file":
        path = str(plan.get("path"))
        with Source.open(path) as file:
            require_same_file(plan, file)
            _require_size(artifact, file.size, path)
            yield Stored(file)
    else:
        raise _bad_plan(f"its kind is {kind!r}")


def file_plan(path: Path) -> dict[str, Any]:
    """The plan of an artifact that is a file; it holds as long as the file is not touched."""
    found = os.stat(path)
    return {
        "kind": "file",
        "path": os.path.abspath(path),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
    }


def require_same_file(plan: JsonObject, file: Source) -> None:
    """Raise ``ConversionFailed`` unless ``file`` is the one of which ``file_plan`` was made."""
    found = file.identity()
    if (plan.get("size"), plan.get("mtime_ns")) == (found.size, found.mtime_ns):
        return
    raise ConversionFailed(
        "artifact-changed",
        f"{file.path} is not the file any more that was converted "
        f"(then {plan.get('size')} bytes, now {found.size})",
        hint="remove it and run the same command again",
    )


class LaidOut:
    """The bytes of a ``Layout``, its data fetched from the source's disk as it is asked for.

    Where the disk has a hole inside a block, zeros are given without asking the disk; so they are
    behind the disk's end, which the artifact's disk may exceed by what rounding added.
    """

    def __init__(self, layout: Layout, disk: DiskView) -> None:
        self.layout = layout
        self.size = layout.size
        self.grid = layout.grid
        self._disk = disk
        self._window = lru_cache(WINDOWS)(self._load_window)

    def read(self, offset: int, length: int) -> bytes:
        """See ``OpenArtifact``."""
        buffer = bytearray(max(0, min(length, self.size - offset)))
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """See ``OpenArtifact``.  Everything the range needs is in flight at once."""
        wanted: list[tuple[int, memoryview]] = []
        count = 0
        for piece in self.layout.pieces(offset, len(buffer)):
            part = buffer[count : count + piece.length]
            count += piece.length
            if piece.kind == "literal":
                part[:] = piece.data
            elif piece.kind == "zero":
                _fill_zeros(part)
            else:
                self._split(piece.source_offset, part, wanted)
        if wanted:
            self._disk.fetch(wanted)
        return count

    def _split(self, at: int, buffer: memoryview, wanted: list[tuple[int, memoryview]]) -> None:
        for extent in self._runs(at, len(buffer)):
            start = extent.offset - at
            part = buffer[start : start + extent.length]
            if extent.kind == "data":
                wanted.append((extent.offset, part))
            else:
                _fill_zeros(part)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """See ``OpenArtifact``."""
        end = self.size if length is None else min(self.size, offset + length)
        return merged(self._unmerged(offset, end - offset))

    def _unmerged(self, offset: int, length: int) -> Iterator[Extent]:
        for piece in self.layout.pieces(offset, length):
            if piece.kind == "source":
                shift = piece.offset - piece.source_offset
                for run in self._runs(piece.source_offset, piece.length):
                    yield Extent(run.offset + shift, run.length, run.kind)
            else:
                kind = "data" if piece.kind == "literal" else "zero"
                yield Extent(piece.offset, piece.length, kind)  # type: ignore[arg-type]

    def places(self, offset: int, length: int) -> Iterator[Place]:
        """See ``OpenArtifact``."""
        disk = self._disk
        for piece in self.layout.pieces(offset, length):
            known = max(0, min(piece.length, disk.size - piece.source_offset))
            if piece.kind != "source" or not isinstance(disk, Placed):
                known = 0
            elif known:
                shift = piece.offset - piece.source_offset
                for place in disk.places(piece.source_offset, known):
                    yield replace(place, offset=place.offset + shift)
            if known < piece.length:
                yield Place(piece.offset + known, piece.length - known, None)

    def _runs(self, offset: int, length: int) -> Iterator[Extent]:
        """Data and zero runs of the disk in a range, which may lie behind its end."""
        end = offset + length
        while offset < min(end, self._disk.size):
            window = self._window(offset // WINDOW)
            # A window may hold thousands of runs, and is asked for each of its blocks.
            index = bisect_right(window, offset, key=_START) - 1
            while index < len(window) and offset < end:
                extent = window[index]
                stop = min(end, extent.offset + extent.length)
                yield Extent(offset, stop - offset, extent.kind)
                offset, index = stop, index + 1
        if offset < end:
            yield Extent(offset, end - offset, "zero")

    def _load_window(self, number: int) -> tuple[Extent, ...]:
        return tuple(self._disk.extents(number * WINDOW, WINDOW))


class Stored:
    """A file's bytes as they are."""

    grid = EVEN_GRID

    def __init__(self, file: Source, *, is_source: bool = False) -> None:
        self.size = file.size
        self._view = view_of(file, file.size)
        self._is_source = is_source

    def read(self, offset: int, length: int) -> bytes:
        """See ``OpenArtifact``."""
        return self._view.read(offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """See ``OpenArtifact``."""
        count = max(0, min(len(buffer), self.size - offset))
        self._view.fetch([(offset, buffer[:count])])
        return count

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """See ``OpenArtifact``."""
        return self._view.extents(offset, length)

    def places(self, offset: int, length: int) -> Iterator[Place]:
        """See ``OpenArtifact``; a copy is not the disk's source."""
        yield Place(offset, length, offset if self._is_source else None)


def _fill_zeros(buffer: memoryview) -> None:
    for start in range(0, len(buffer), len(_ZEROS)):
        part = buffer[start : start + len(_ZEROS)]
        part[:] = _ZEROS[: len(part)]


def _layout(artifact: Artifact) -> Layout:
    try:
        layout = _LAYOUTS[artifact.plan["kind"]](artifact.plan)
    except ValueError as error:
        raise _bad_plan(str(error)) from error
    _require_size(artifact, layout.size, "what is planned")
    return layout


def _require_size(artifact: Artifact, size: int, name: str) -> None:
    if size != artifact.size:
        raise _bad_plan(f"{name} has {size} bytes, {artifact.size} were planned")


def _bad_plan(why: str) -> ConversionFailed:
    return ConversionFailed(
        "artifact-plan",
        f"the artifact's plan cannot be followed: {why}",
        hint="remove the job directory, or run with another --job-dir, to plan anew",
    )
