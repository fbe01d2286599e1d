"""How an artifact is cut into segments, and each one's bytes, made piece by piece while they are sent.

    artifact   |████████░░░░░░░░░░░░░░████████████░░░░████|
    segment               |░░░░░░░░░░░████████|
    pieces                 zeros       read read            at most 1 MiB each

Zero runs come from one shared block: they cost no source read and no memory.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from pipeline.errors import ConversionFailed
from pipeline.source import Extent, Reader
from pipeline.transfer.protocol import PIECE_SIZE, Piece

KEEP_SIZE = 8 << 20
"""How much of a segment ``digest`` keeps for ``pieces``: the memory limit of a worker."""

_SMALLEST_ZERO_RUN = 64 << 10  # a shorter one is cheaper to read than to treat apart
_ZEROS = memoryview(bytes(PIECE_SIZE))


def is_shared_zeros(piece: Piece) -> bool:
    """Whether a piece comes from the shared block, that is from a known zero run."""
    return isinstance(piece, memoryview) and piece.obj is _ZEROS.obj


class ArtifactReader(Reader, Protocol):
    """What is uploaded: ``pipeline.targets.open_artifact`` yields one.  Thread-safe.

    Where it has ``read_into(offset, memoryview) -> int`` too, pieces are made without a copy.
    """

    def extents(self) -> Iterator[Extent]:
        """Runs of the artifact's own bytes: contiguous, ascending, covering it."""
        ...


class ZeroMap:
    """Which ranges of the artifact are known to be zeros."""

    def __init__(self, extents: Iterable[Extent]) -> None:
        self._starts = array("Q")
        self._ends = array("Q")
        for extent in extents:
            if extent.kind != "zero":
                continue
            if self._ends and self._ends[-1] == extent.offset:
                self._ends[-1] += extent.length
            else:
                self._starts.append(extent.offset)
                self._ends.append(extent.offset + extent.length)

    @property
    def total(self) -> int:
        """Bytes known to be zeros."""
        return sum(self._ends) - sum(self._starts)

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """``(offset, length, is_zero)``, contiguous and ascending, covering the range."""
        end = offset + length
        index = max(bisect_right(self._starts, offset) - 1, 0)
        while offset < end and index < len(self._starts):
            start, stop = max(self._starts[index], offset), min(self._ends[index], end)
            index += 1
            if stop - start < min(_SMALLEST_ZERO_RUN, length):
                if start >= end:
                    break
                continue
            if start > offset:
                yield offset, start - offset, False
            yield start, stop - start, True
            offset = stop
        if offset < end:
            yield offset, end - offset, False


class SegmentPayload:
    """One segment of an artifact; ``pieces`` may be called again and makes the same bytes.

    ``check`` is called before each piece is made and may raise, which is how a cancelled upload
    stops in the middle of a segment; ``watch`` is called with each piece before it is handed out.
    """

    def __init__(
        self,
        reader: Reader,
        zeros: ZeroMap,
        *,
        number: int,
        offset: int,
        size: int,
        want_sha256: bool = False,
        check: Callable[[], None] | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> None:
        self._reader = reader
        self._zeros = zeros
        self._number = number
        self._offset = offset
        self._size = size
        self._want_sha256 = want_sha256
        self._check = check or _nothing
        self._watch = watch or _nothing
        self._hashes: _Hashes | None = None
        self._kept: dict[int, bytes] = {}
        self._read_into = getattr(reader, "read_into", None)
        self._buffer: memoryview | None = None

    @property
    def size(self) -> int:
        """Bytes in the segment."""
        return self._size

    @property
    def md5(self) -> str | None:
        """Hex MD5 of the bytes; None until they were made once."""
        return self._hashes.md5.hexdigest() if self._hashes else None

    @property
    def sha256(self) -> str | None:
        """Hex SHA-256 of the bytes, if it was wanted; None until they were made once."""
        if self._hashes is None or self._hashes.sha256 is None:
            return None
        return self._hashes.sha256.hexdigest()

    @property
    def number(self) -> int:
        """The segment's number, from 0."""
        return self._number

    @property
    def offset(self) -> int:
        """Where the segment starts in the object."""
        return self._offset

    def pieces(self) -> Iterator[Piece]:
        """From the first byte to the last; a piece is valid until the next one is asked for.

        They are hashed on the first complete pass only: a later pass that made other bytes would
        not match what the store computes, and that is compared.
        """
        hashes = None if self._hashes else _Hashes(self._want_sha256)
        for offset, length, zero in self._cuts():
            piece = _ZEROS[:length] if zero else self._data(offset, length)
            if hashes is not None:
                hashes.update(piece)
            self._watch(len(piece))
            yield piece
        self._hashes = self._hashes or hashes

    def digest(self) -> str:
        """The MD5, by a pass of its own unless it is known; keeps up to ``KEEP_SIZE`` bytes."""
        if self._hashes is None:
            hashes = _Hashes(self._want_sha256)
            room = KEEP_SIZE
            for offset, length, zero in self._cuts():
                piece = _ZEROS[:length] if zero else self._data(offset, length)
                hashes.update(piece)
                if not zero and length <= room:
                    self._kept[offset] = bytes(piece)
                    room -= length
            self._hashes = hashes
        return self._hashes.md5.hexdigest()

    def _cuts(self) -> Iterator[tuple[int, int, bool]]:
        for start, length, zero in self._zeros.runs(self._offset, self._size):
            for offset in range(start, start + length, PIECE_SIZE):
                self._check()
                yield offset, min(PIECE_SIZE, start + length - offset), zero

    def _data(self, offset: int, length: int) -> Piece:
        kept = self._kept.get(offset)
        if kept is not None:
            return kept
        if self._read_into is None:
            data: Piece = self._reader.read(offset, length)
            count = len(data)
        else:
            if self._buffer is None:
                self._buffer = memoryview(bytearray(min(PIECE_SIZE, self._size)))
            data = self._buffer[:length]
            count = self._read_into(offset, data)
        if count != length:
            raise ConversionFailed(
                "artifact-short",
                f"the artifact gave {count} of {length} bytes at offset {offset}",
                hint="the source may be truncated; see imgprep check",
            )
        return data


class _Hashes:
    def __init__(self, want_sha256: bool) -> None:
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.sha256 = hashlib.sha256() if want_sha256 else None

    def update(self, piece: Piece) -> None:
        self.md5.update(piece)
        if self.sha256 is not None:
            self.sha256.update(piece)


def _nothing(*_: object) -> None:
    pass


class Segmentation:
    """How the artifact is cut: equal segments, the last one shorter."""

    def __init__(self, reader: ArtifactReader, zeros: ZeroMap, segment_size: int) -> None:
        self.reader = reader
        self.zeros = zeros
        self.size = reader.size
        self.segment_size = segment_size
        self.count = -(-reader.size // segment_size)

    def range(self, number: int) -> tuple[int, int]:
        """Offset and size of a segment."""
        offset = number * self.segment_size
        return offset, min(self.segment_size, self.size - offset)

    def payload(
        self,
        number: int,
        offset: int,
        size: int,
        *,
        check: Callable[[], None],
        watch: Callable[[int], None] | None = None,
        want_sha256: bool = False,
    ) -> SegmentPayload:
        """The bytes of any range, as a segment of that number."""
        return SegmentPayload(
            self.reader,
            self.zeros,
            number=number,
            offset=offset,
            size=size,
            want_sha256=want_sha256,
            check=check,
            watch=watch,
        )
