"""Compressed streams, taken apart with bounded memory and checked to their last byte.

    packed pieces ──▶ decompressor of one stream ──▶ plain pieces of at most PIECE bytes
                          │ stream ends
                          ▼
                 another stream, padding, or the end; anything else is damage

A bomb never gets its way: whatever goes in, no more than PIECE bytes come out at a time, and the
dictionary of a stream may not exceed MEMORY.  ``pipeline.unpack`` counts them.

| packing | signature   | more streams | padding | specification                             |
|---------|-------------|--------------|---------|-------------------------------------------|
| gzip    | 1F 8B 08    | yes          | zeros   | https://www.rfc-editor.org/rfc/rfc1952    |
| bzip2   | "BZh"       | yes          | zeros   | https://sourceware.org/bzip2/             |
| xz      | FD "7zXZ" 0 | yes          | zeros   | https://tukaani.org/xz/xz-file-format.txt |
| zstd    | 28 B5 2F FD | yes, skippable too | none | https://www.rfc-editor.org/rfc/rfc8878 |
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Protocol

from pipeline.source import Reader

PIECE = 1 << 20
MEMORY = 128 << 20

_READ = 64 << 10
_PADDING = 1 << 20  # bytes of zeros behind a stream: more than a tape's block has
_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_SKIPPABLE = range(0x184D2A50, 0x184D2A60)


class DamagedStreamError(Exception):
    """The packed data is not what its format promises; ``offset`` is where that was noticed."""

    def __init__(self, detail: str, offset: int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.offset = offset


class StreamMemoryError(Exception):
    """The stream asks for a dictionary larger than MEMORY."""


class _Decompressor(Protocol):
    """One stream of gzip, bzip2 or xz; the last two are like this already."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's object in the form of its two sisters."""

    def __init__(self) -> None:
        import zlib

        self._inner = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self._more = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._more

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        plain = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._more = bool(self._inner.unconsumed_tail) or len(plain) == max_length
        return plain


def _new_bzip2() -> _Decompressor:
    import bz2

    return bz2.BZ2Decompressor()


def _new_xz() -> _Decompressor:
    import lzma

    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MEMORY)


_STREAMS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _Gzip,
    "bzip2": _new_bzip2,
    "xz": _new_xz,
}

COMPRESSIONS = (*_STREAMS, "zstd")
"""The packings that ``pieces`` takes apart."""


class Progressing:
    """How many packed bytes were used so far."""

    def __init__(self) -> None:
        self.consumed = 0


def pieces(
    packing: str, reader: Reader, progress: Progressing, *, one_stream: bool = False
) -> Iterator[bytes]:
    """The plain bytes, in order, at most PIECE at a time.

    With ``one_stream`` it ends with the first stream, and ``progress`` then tells where that ended.
    Raises ``DamagedStreamError`` and ``StreamMemoryError``.
    """
    if packing == "zstd":
        return _zstd_pieces(reader, progress, one_stream)
    return _stream_pieces(_STREAMS[packing], reader, progress, one_stream)


def _stream_pieces(
    new: Callable[[], _Decompressor], reader: Reader, progress: Progressing, one_stream: bool
) -> Iterator[bytes]:
    stream, data, started = new(), b"", False
    while True:
        if stream.eof:
            data = stream.unused_data
            if one_stream:
                progress.consumed -= len(data)
                return
            stream, started = new(), False
        if not started:
            data = _skip_padding(data, reader, progress)
            if not data:
                return
            started = True
        elif stream.needs_input:
            data = _more(reader, progress)
            if not data:
                raise DamagedStreamError("the packed data ends too early", reader.size)
        plain = _decompress(stream, data, progress)
        data = b""
        if plain:
            yield plain


def _more(reader: Reader, progress: Progressing) -> bytes:
    data = reader.read(progress.consumed, _READ)
    progress.consumed += len(data)
    return data


def _skip_padding(data: bytes, reader: Reader, progress: Progressing) -> bytes:
    """What follows the zeros that writers put between and behind streams."""
    if not progress.consumed:
        return _more(reader, progress)
    data, started = data.lstrip(b"\0"), progress.consumed
    while not data:
        if progress.consumed - started > _PADDING:  # the rest may be a hole of terabytes
            raise DamagedStreamError(f"more than {_PADDING} zeros follow a stream", started)
        data = _more(reader, progress)
        if not data:
            return b""
        data = data.lstrip(b"\0")
    return data


def _decompress(stream: _Decompressor, data: bytes, progress: Progressing) -> bytes:
    import lzma
    import zlib

    try:
        return stream.decompress(data, PIECE)
    except lzma.LZMAError as error:
        if "limit" in str(error).lower():
            raise StreamMemoryError(str(error)) from error
        raise DamagedStreamError(f"damaged xz data ({error})", progress.consumed) from error
    except (zlib.error, OSError, ValueError, EOFError) as error:
        raise DamagedStreamError(f"damaged data ({error})", progress.consumed) from error


def _zstd_pieces(reader: Reader, progress: Progressing, one_stream: bool) -> Iterator[bytes]:
    """Each block is handed over by itself, as one makes at most 128 KiB of plain data."""
    import zstandard

    while progress.consumed < reader.size:
        magic = struct.unpack("<I", _exactly(reader, progress, 4))[0]
        if magic in _ZSTD_SKIPPABLE:
            length = struct.unpack("<I", _exactly(reader, progress, 4))[0]
            _skip(reader, progress, length)
            continue
        if magic != _ZSTD_MAGIC:
            raise DamagedStreamError("no zstd frame where one must begin", progress.consumed - 4)
        stream = zstandard.ZstdDecompressor(max_window_size=MEMORY).decompressobj()
        try:
            for part in _zstd_frame(reader, progress):
                if plain := stream.decompress(part):
                    yield plain
        except zstandard.ZstdError as error:
            if "memory" in str(error).lower() or "window" in str(error).lower():
                raise StreamMemoryError(str(error)) from error
            raise DamagedStreamError(f"damaged zstd data ({error})", progress.consumed) from error
        if not stream.eof:
            raise DamagedStreamError("the zstd frame does not end", progress.consumed)
        if one_stream:
            return


def _zstd_frame(reader: Reader, progress: Progressing) -> Iterator[bytes]:
    """A frame's header, its blocks and its checksum (RFC 8878, 3.1.1)."""
    descriptor = _exactly(reader, progress, 1)
    flags = descriptor[0]
    single_segment = bool(flags & 0x20)
    content_size = (1 if single_segment else 0, 2, 4, 8)[flags >> 6]
    rest = (0 if single_segment else 1) + (0, 1, 2, 4)[flags & 3] + content_size
    yield struct.pack("<I", _ZSTD_MAGIC) + descriptor + _exactly(reader, progress, rest)
    last = False
    while not last:
        header = _exactly(reader, progress, 3)
        value = int.from_bytes(header, "little")
        last, kind, length = bool(value & 1), (value >> 1) & 3, value >> 3
        if length > PIECE:
            raise DamagedStreamError(
                "a zstd block larger than the format allows", progress.consumed
            )
        yield header + _exactly(reader, progress, 1 if kind == 1 else length)
    if flags & 4:
        yield _exactly(reader, progress, 4)


def _exactly(reader: Reader, progress: Progressing, length: int) -> bytes:
    data = reader.read(progress.consumed, length)
    progress.consumed += len(data)
    if len(data) < length:
        raise DamagedStreamError("the packed data ends too early", reader.size)
    return data


def _skip(reader: Reader, progress: Progressing, length: int) -> None:
    if progress.consumed + length > reader.size:
        raise DamagedStreamError("the packed data ends too early", reader.size)
    progress.consumed += length
