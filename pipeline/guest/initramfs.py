"""The names in an initramfs: what is there before the root file system is.

    [cpio, plain: microcode] [zeros] [cpio, plain or compressed] [zeros] [cpio, compressed otherwise] …

Each part has its own compression, told by its first bytes, as the kernel takes them apart
(init/initramfs.c).  gzip, bzip2, xz and zstd are taken apart by ``pipeline.decompress``; here are those
that only kernels use:

    lzma  5D 00 00                                             the format of LZMA Utils, one stream
    lz4   02 21 4C 18, then blocks: size (4 bytes, LE), data   "legacy frame", 8 MiB of plain data a block
    lzo   89 "LZO" 00 0D 0A 1A 0A, header, then blocks         lzop: plain size, packed size (4, BE), sums

https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md (legacy frame); kernel lib/decompress_unlzo.c
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Callable, Iterator

from pipeline import decompress
from pipeline.content import cpio
from pipeline.guest.tree import Files, Found, TreeError
from pipeline.source import Reader

LARGEST = 256 << 20  # bytes of an initramfs; a usual one has 10 to 60 MiB
LARGEST_PLAIN = 1 << 30  # bytes that may come out of it
MAX_PARTS = 16
_CHUNK = 1 << 20
_LZ4_BLOCK = 8 << 20
_LZ4_MAGIC = b"\x02\x21\x4c\x18"
_LZO_BLOCK = 64 << 20


class NotReadableError(Exception):
    """The initramfs is damaged, too large, or of a kind that is not known here."""


def names(files: Files, path: str, offset: int = 0, size: int | None = None) -> Iterator[str]:
    """Every name in the initramfs that is (that part of) a file.

    Raises ``NotReadableError`` and ``TreeError``, perhaps after some names.
    """
    found = files.find(path)
    if found is None or found.entry.kind != "file":
        raise NotReadableError("it is not a regular file")
    length = found.entry.size - offset if size is None else min(size, found.entry.size - offset)
    if length > LARGEST:
        raise NotReadableError(f"it has {length} bytes")
    try:
        yield from _parts(_GuestFile(found, offset, max(0, length)))
    except (cpio.NotReadableError, decompress.DamagedStreamError) as error:
        raise NotReadableError(str(error)) from error
    except decompress.StreamMemoryError as error:
        raise NotReadableError(f"it needs too much memory ({error})") from error


def _parts(reader: _GuestFile) -> Iterator[str]:
    at = 0
    for _ in range(MAX_PARTS):
        plain, behind = cpio.plain_part(_From(reader, at))
        yield from plain
        at += behind
        rest = _From(reader, at)
        if not rest.size:
            return
        packing = cpio.packing(rest.read(0, 8))
        progress = decompress.Progressing()
        yield from cpio.names(_limited(_plain(packing, rest, progress)))
        at = _past_zeros(reader, at + progress.consumed)
    raise NotReadableError(f"it has more than {MAX_PARTS} parts")


def _plain(packing: str | None, rest: _From, progress: decompress.Progressing) -> Iterator[bytes]:
    if packing in decompress.COMPRESSIONS:
        return decompress.pieces(packing, rest, progress, one_stream=True)
    own = _OWN.get(packing or "")
    if own is None:
        raise NotReadableError(f"its compression ({packing or 'unknown'}) is not known here")
    return own(rest, progress)


def _past_zeros(reader: Reader, at: int) -> int:
    while at < reader.size:
        data = reader.read(at, _CHUNK)
        rest = data.lstrip(b"\0")
        if rest:
            return at + len(data) - len(rest)
        at += len(data)
    return at


def _limited(pieces: Iterator[bytes]) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > LARGEST_PLAIN:
            raise NotReadableError(f"more than {LARGEST_PLAIN} bytes come out of it")
        yield piece


# --------------------------------------------------------------------------- what only kernels use


def _lzma(reader: Reader, progress: decompress.Progressing) -> Iterator[bytes]:
    stream = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=decompress.MEMORY)
    try:
        while not stream.eof:
            data = b""
            if stream.needs_input:
                data = reader.read(progress.consumed, _CHUNK)
                if not data:
                    raise NotReadableError("the packed data ends too early")
                progress.consumed += len(data)
            yield stream.decompress(data, _CHUNK)
    except lzma.LZMAError as error:
        raise NotReadableError(f"damaged lzma data ({error})") from error
    progress.consumed -= len(stream.unused_data)


def _lz4(reader: Reader, progress: decompress.Progressing) -> Iterator[bytes]:
    import lz4.block  # type: ignore[import-untyped]

    progress.consumed = 4
    while progress.consumed + 4 <= reader.size:
        word = reader.read(progress.consumed, 4)
        length = int.from_bytes(word, "little")
        if word == _LZ4_MAGIC:
            progress.consumed += 4
            continue
        if not 0 < length <= _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16:
            return  # the next part, or padding
        data = _exactly(reader, progress, 4, length)
        try:
            yield lz4.block.decompress(data, uncompressed_size=_LZ4_BLOCK)
        except lz4.block.LZ4BlockError as error:
            raise NotReadableError(f"damaged lz4 data ({error})") from error


def _exactly(reader: Reader, progress: decompress.Progressing, skip: int, length: int) -> bytes:
    data = reader.read(progress.consumed + skip, length)
    if len(data) < length:
        raise NotReadableError("the packed data ends too early")
    progress.consumed += skip + length
    return data


def _lzo(reader: Reader, progress: decompress.Progressing) -> Iterator[bytes]:
    """Lzop's file: its flags say which checksums follow each block's sizes."""
    from lzallright import LZOCompressor, LZOError

    header = reader.read(0, 512)
    flags, progress.consumed = _lzop_header(header)
    while True:
        plain = int.from_bytes(_exactly(reader, progress, 0, 4), "big")
        if not plain:
            return
        packed = int.from_bytes(_exactly(reader, progress, 0, 4), "big")
        if plain > _LZO_BLOCK or packed > plain:
            raise NotReadableError(f"an lzo block of {plain} bytes")
        sums = bool(flags & 0x1) + bool(flags & 0x100)
        if packed < plain:
            sums += bool(flags & 0x2) + bool(flags & 0x200)
        data = _exactly(reader, progress, 4 * sums, packed)
        try:
            yield data if packed == plain else bytes(LZOCompressor.decompress(data, plain))
        except LZOError as error:
            raise NotReadableError(f"damaged lzo data ({error})") from error


def _lzop_header(header: bytes) -> tuple[int, int]:
    """Flags, and where the first block begins.

    At 9: version (2), lzop's (2), needed (2, from 0x0940 on), method, level (from 0x0940 on), flags (4),
    [filter (4)], mode, times (4 each), length of the name, name, checksum (4).
    """
    try:
        version = struct.unpack_from(">H", header, 9)[0]
        at = 13 + (2 if version >= 0x0940 else 0) + 1 + (1 if version >= 0x0940 else 0)
        flags = struct.unpack_from(">I", header, at)[0]
        at += 4 + (4 if flags & 0x800 else 0) + 8 + (4 if version >= 0x0940 else 0)
        return flags, at + 1 + header[at] + 4
    except (struct.error, IndexError) as error:
        raise NotReadableError("the lzop header is cut short") from error


_OWN: dict[str, Callable[[Reader, decompress.Progressing], Iterator[bytes]]] = {
    "lzma": _lzma,
    "lz4": _lz4,
    "lzo": _lzo,
}


# ------------------------------------------------------------------------------------------ readers


class _GuestFile:
    """A part of a guest's file as a Reader; small reads are served from the last piece."""

    def __init__(self, found: Found, start: int, size: int) -> None:
        self._found = found
        self._start = start
        self.size = size
        self._at = 0
        self._piece = b""

    def read(self, offset: int, length: int) -> bytes:
        here = offset - self._at
        if here >= 0 and here + length <= len(self._piece):
            return self._piece[here : here + length]
        parts = []
        while length > 0 and offset < self.size:
            if not self._at <= offset < self._at + len(self._piece):
                self._at = offset
                wanted = min(_CHUNK, self.size - offset)
                self._piece = self._found.tree.read(self._found.path, self._start + offset, wanted)
                if not self._piece:
                    raise TreeError(f"{self._found.guest_path} ends before its size")
            start = offset - self._at
            part = self._piece[start : start + length]
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)


class _From:
    """The rest of a reader from an offset on."""

    def __init__(self, reader: Reader, start: int) -> None:
        self._reader = reader
        self._start = start

    @property
    def size(self) -> int:
        return max(0, self._reader.size - self._start)

    def read(self, offset: int, length: int) -> bytes:
        return self._reader.read(self._start + offset, length)
