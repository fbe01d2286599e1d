"""A remote image as a file in scratch, for tools: what is zeros becomes a hole.

by ranges   8 requests of 8 MiB in flight, each repeated by itself
otherwise   one request for all of it, from the start again when the line breaks
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pipeline.errors import EnvironmentFailed
from pipeline.pool import Pool
from pipeline.remote.source import RemoteSource
from pipeline.text import size

RESERVE = 512 << 20
"""Bytes of free space that are left to others on the scratch file system."""

_PIECE = 8 << 20
_AT_ONCE = 8
_BLOCK = 64 << 10
_ZEROS = bytes(_BLOCK)


def copy_of(source: RemoteSource, scratch: Path, tell: Callable[[int], None]) -> Path:
    """All of it under its own name in a new directory of ``scratch``.

    ``tell`` gets bytes done, and may raise to stop.  Raises ``EnvironmentFailed`` (no-space), and
    what ``Origin`` raises.
    """
    directory = scratch / "fetched"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished, path = directory / ".partial", directory / (source.name or "disk")
    _require_space(source, directory, source.size)

    def told(done: int) -> None:
        _require_space(source, directory, 0)
        tell(done)

    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        take = partial(_write, handle, told)
        if source.origin.by_ranges:
            take(_by_ranges(source))
        else:
            source.origin.whole(source.identity(), take)
        os.fsync(handle)
        unfinished.replace(path)
    finally:
        os.close(handle)
        unfinished.unlink(missing_ok=True)
    return path


def _by_ranges(source: RemoteSource) -> Iterator[bytes]:
    pool = Pool(_AT_ONCE)
    return pool.ahead(lambda at: source.read(at, _PIECE), range(0, source.size, _PIECE))


def _write(handle: int, told: Callable[[int], None], pieces: Iterator[bytes]) -> None:
    os.ftruncate(handle, 0)
    at = 0
    for piece in pieces:
        for start in range(0, len(piece), _BLOCK):
            block = piece[start : start + _BLOCK]
            if block != _ZEROS[: len(block)]:
                _write_all(handle, block, at + start)
        at += len(piece)
        told(at)
    os.ftruncate(handle, at)


def _write_all(handle: int, data: bytes, offset: int) -> None:
    while data:
        done = os.pwrite(handle, data, offset)
        data, offset = data[done:], offset + done


def _require_space(source: RemoteSource, directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free - RESERVE
    if free < needed or free < 0:
        raise EnvironmentFailed(
            "no-space",
            f"{source.address} is copied to {directory.parent}, which has too little free space "
            f"({size(max(free, 0))} besides {size(RESERVE)} in reserve)",
            hint="free some space there, or choose another place with --job-dir or TMPDIR",
        )
