"""A packed image, unpacked once into the job's scratch; the stages then see the plain file.

    Source (gz, bz2, xz, zstd, ova) ──▶ limits ──▶ scratch/unpacked/disk.qcow2 ──▶ Source of stages
                                         │
                                         └─▶ problems, when it is a bomb, damaged or packed twice

The original stays the job's source: the journal and the job's id are made from its identity.  Runs
of zeros become holes, so that scratch holds only data.  The unpacked file gets the original's
modification time, so that whatever is derived from it is the same in every run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import decompress
from pipeline.errors import EnvironmentFailed
from pipeline.formats.base import Problem
from pipeline.source import Reader, Source
from pipeline.stage import Cancellation
from pipeline.unpack import ova

PACKINGS = (*decompress.COMPRESSIONS, "ova")
"""The container formats that can be unpacked, as ``container.format`` calls them."""

_SUFFIXES = {
    "gzip": (".gz", ".gzip"),
    "bzip2": (".bz2",),
    "xz": (".xz",),
    "zstd": (".zst", ".zstd"),
    "ova": (".ova",),
}

# What must not come out of an unpacking (offset, bytes, name): bombs come in layers.
_NESTED = (
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"LZIP\x01", "lzip"),
    (0, b"\x1f\x9d", "compress"),
    (257, b"ustar", "tar"),
)

_HEAD = 512  # bytes that hold every signature of _NESTED
_SPARSE = 64 << 10  # zeros of this length and alignment become holes
_SPACE_CHECK = 64 << 20  # bytes written between two looks at the free space
_NAME_MAX = 200  # bytes; some file systems take 255, and temporary suffixes need room


@dataclass(frozen=True)
class UnpackLimits:
    """What an unpacking may make, in bytes and in proportion.

    ``ratio`` is judged once ``grace`` bytes came out: small files of zeros pack extremely well.
    Figures: gzip's best is 1032:1, and a real image of mostly free space seldom exceeds 300:1.
    """

    size: int = 2040 << 30  # the largest disk that a VHD can hold
    ratio: int = 1000
    grace: int = 64 << 20
    reserve: int = 512 << 20  # free space that is left to others on the scratch file system


@dataclass(frozen=True)
class Unpacked:
    """What came out.  ``path`` None: it was refused, and ``problems`` say why."""

    packed_as: str  # one of PACKINGS
    name: str  # of the image inside
    path: Path | None
    packed_size: int
    size: int | None
    problems: tuple[Problem, ...] = ()


class _Refused(Exception):
    def __init__(self, rule: str, detail: str, offset: int | None = None) -> None:
        super().__init__(detail)
        self.problem = Problem(rule, detail, offset)


@dataclass(frozen=True)
class _Plan:
    """The plain bytes to write, under which name, and the digest that they must have."""

    name: str
    pieces: Iterator[bytes]
    consumed: Callable[[], int]  # packed bytes used so far
    checksum: tuple[str, str] | None = None


def unpack(
    source: Source,
    packed_as: str,
    scratch: Path,
    *,
    limits: UnpackLimits | None = None,
    cancellation: Cancellation | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Unpacked:
    """Unpack ``source``, which is one of PACKINGS, into a new directory in ``scratch``.

    ``progress`` gets packed bytes done and in total.  What is wrong with the packed data is
    returned as problems, and then no file is left in ``scratch``.  Raises
    ``EnvironmentFailed`` (no-space), ``SourceError`` and ``Interrupted``.
    """
    name = source.name
    directory = scratch / "unpacked"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = directory / ".partial"
    partial.unlink(missing_ok=True)  # of a run that was killed
    try:
        stop = cancellation or Cancellation()
        plan = _plan(_Stoppable(source, stop), source.name, packed_as)
        name = plan.name
        writer = _Writer(partial, limits or UnpackLimits(), stop)
        size = writer.write(plan, lambda done: progress and progress(done, source.size))
    except (_Refused, ova.OvaRefused) as refusal:
        partial.unlink(missing_ok=True)
        return Unpacked(packed_as, name, None, source.size, None, (refusal.problem,))
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    path = directory / name
    os.utime(partial, ns=(source.identity().mtime_ns,) * 2)
    os.replace(partial, path)
    return Unpacked(packed_as, name, path, source.size, size)


@dataclass(frozen=True)
class _Stoppable:
    """A reader that ends when a stop is asked for: packed data may be large and hold nothing."""

    reader: Reader
    cancellation: Cancellation

    @property
    def size(self) -> int:
        return self.reader.size

    def read(self, offset: int, length: int) -> bytes:
        self.cancellation.check()
        return self.reader.read(offset, length)


def _plan(source: Reader, file_name: str, packed_as: str) -> _Plan:
    if packed_as == "ova":
        disk = ova.find_disk(source)
        copied = _Counter()
        name = _file_name(disk.name.rpartition("/")[2])
        return _Plan(name, _copy(source, disk, copied), copied, disk.checksum)
    used = decompress.Progressing()
    name = _file_name(_without_suffix(file_name, packed_as))
    return _Plan(name, _decompressed(packed_as, source, used), lambda: used.consumed)


def _with_whole_head(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, the first piece long enough for every signature."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _HEAD:
            break
    if head:
        yield head
    yield from pieces


class _Counter:
    def __init__(self) -> None:
        self.value = 0

    def __call__(self) -> int:
        return self.value


def _copy(reader: Reader, disk: ova.DiskMember, copied: _Counter) -> Iterator[bytes]:
    while copied.value < disk.size:
        wanted = min(decompress.PIECE, disk.size - copied.value)
        data = reader.read(disk.offset + copied.value, wanted)
        if not data:
            raise _Refused("packed-data-corrupt", "the archive ends inside its disk", reader.size)
        copied.value += len(data)
        yield data


def _decompressed(packed_as: str, reader: Reader, used: decompress.Progressing) -> Iterator[bytes]:
    """The pieces, with the stream's troubles as refusals."""
    try:
        yield from decompress.pieces(packed_as, reader, used)
    except decompress.DamagedStreamError as error:
        raise _Refused("packed-data-corrupt", error.detail, error.offset) from error
    except decompress.StreamMemoryError as error:
        detail = f"unpacking needs a dictionary over {decompress.MEMORY >> 20} MiB"
        raise _Refused("unpack-limit", detail) from error


def _without_suffix(name: str, packed_as: str) -> str:
    for suffix in _SUFFIXES[packed_as]:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _file_name(name: str) -> str:
    """A name that is safe to create: one component, short, and not our temporary one's."""
    encoded = os.fsencode(name.replace("/", "_").replace("\0", "_"))[-_NAME_MAX:]
    plain = os.fsdecode(encoded)
    return "disk" if plain in ("", ".", "..", ".partial") else plain


class _Writer:
    """Writes a plan's bytes to a file, with holes, and watches the limits."""

    def __init__(self, path: Path, limits: UnpackLimits, cancellation: Cancellation) -> None:
        self._path = path
        self._limits = limits
        self._cancellation = cancellation
        self._size = 0
        self._since_space_check = _SPACE_CHECK

    def write(self, plan: _Plan, progress: Callable[[int], object]) -> int:
        """The number of bytes that came out."""
        digest = hashlib.new(plan.checksum[0]) if plan.checksum else None
        with open(self._path, "xb") as file:
            for piece in _with_whole_head(plan.pieces):
                self._cancellation.check()
                if self._size == 0:
                    _require_plain(piece)
                self._require_limits(len(piece), plan.consumed())
                if digest:
                    digest.update(piece)
                self._put(file.fileno(), piece)
                progress(plan.consumed())
            file.truncate(self._size)
        if digest and plan.checksum and digest.hexdigest() != plan.checksum[1]:
            raise _Refused(
                "ova-manifest-mismatch",
                f"its disk has {plan.checksum[0].upper()} {digest.hexdigest()}, "
                f"the manifest says {plan.checksum[1]}",
            )
        return self._size

    def _require_limits(self, length: int, consumed: int) -> None:
        size = self._size + length
        if size > self._limits.size:
            raise _Refused("unpack-limit", f"it unpacks to more than {self._limits.size} bytes")
        if size > self._limits.grace and size > self._limits.ratio * max(consumed, 1):
            raise _Refused(
                "unpack-limit",
                f"{consumed} packed bytes made {size} bytes, over {self._limits.ratio} to 1",
            )

    def _put(self, fd: int, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            part = view[: _SPARSE - self._size % _SPARSE]
            if part != _ZEROS[: len(part)]:
                self._require_space(fd, len(part))
                self._pwrite(fd, part)
            self._size += len(part)
            view = view[len(part) :]

    def _pwrite(self, fd: int, part: memoryview) -> None:
        done = 0
        while done < len(part):
            try:
                done += os.pwrite(fd, part[done:], self._size + done)
            except OSError as error:
                raise _no_space(self._path, error.strerror or "write failed") from error

    def _require_space(self, fd: int, length: int) -> None:
        self._since_space_check += length
        if self._since_space_check < _SPACE_CHECK:
            return
        self._since_space_check = 0
        found = os.fstatvfs(fd)
        total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
        if free < min(self._limits.reserve, total // 20):
            raise _no_space(self._path, f"{free} bytes are left")


_ZEROS = memoryview(bytes(_SPARSE))


def _require_plain(first: bytes) -> None:
    for offset, magic, name in _NESTED:
        if first[offset : offset + len(magic)] == magic:
            raise _Refused("nested-packing", f"what it holds is {name} again")


def _no_space(path: Path, seen: str) -> EnvironmentFailed:
    return EnvironmentFailed(
        "no-space",
        f"unpacking into {path.parent} failed: {seen}",
        hint="free some space, set TMPDIR to a larger file system, or unpack the file by hand",
    )
