"""The same job writes the same bytes: qemu-img's random identifiers, replaced by the job's own.

VDI     392  16 id, 408  16 of the last change                         ``pipeline.formats.vdi``
VMDK    "CID=" and up to 8 hexadecimal digits (qemu-img writes no leading zeros) in the embedded
        descriptor, whose sector and length stand at 28 and 36 of the header; zeros follow its text
                                                                       ``pipeline.formats.vmdk``
VHDX    of both headers: 8 sequence number, 16 id of the file's last write, 32 of the data's last write,
        4 CRC-32C; the metadata item "page 83 data"; and the log, whose entries are spent when the
        headers' log id is zero: it becomes zeros                      ``pipeline.formats.vhdx``

A file that does not look as qemu-img writes it is left as it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from pipeline.formats import vhdx
from pipeline.formats.crc32c import crc32c
from pipeline.source import Source

_VDI_SIGNATURE, _VDI_IDS = (64, b"\x7f\x10\xda\xbe"), (392, 408)
_CID = re.compile(rb"(?m)^CID=([0-9a-f]{1,8})$")
_SECTOR = 512
_DESCRIPTOR_MOST = 1 << 20  # bytes; qemu-img gives it 10 KiB


def replace(path: Path, format_: str, unique_id: UUID) -> None:
    """Give the new file of that format the identifiers that follow from ``unique_id``.

    Raises ``OSError``.
    """
    change = _CHANGES.get(format_)
    if change is not None:
        with path.open("r+b") as file:
            change(file, path, unique_id)


def derived(unique_id: UUID, purpose: str) -> bytes:
    """16 bytes that stand for one purpose of an id: a random UUID (version 4) by their form."""
    found = hashlib.sha256(unique_id.bytes + purpose.encode()).digest()[:16]
    return UUID(bytes=found, version=4).bytes


def _vdi(file: BinaryIO, _path: Path, unique_id: UUID) -> None:
    place, signature = _VDI_SIGNATURE
    if _read(file, place, len(signature)) == signature:
        for offset, purpose in zip(_VDI_IDS, ("image", "last change"), strict=True):
            _write(file, offset, derived(unique_id, purpose))


def _vmdk(file: BinaryIO, _path: Path, unique_id: UUID) -> None:
    place, length = (int.from_bytes(_read(file, at, 8), "little") * _SECTOR for at in (28, 36))
    if _read(file, 0, 4) != b"KDMV" or not 0 < length <= _DESCRIPTOR_MOST:
        return
    descriptor = _read(file, place, length)
    if found := _CID.search(descriptor):
        start, end = found.span(1)
        text = (descriptor[:start] + _cid(unique_id) + descriptor[end:]).rstrip(b"\0")
        if len(text) <= length:
            _write(file, place, text.ljust(length, b"\0"))


def _cid(unique_id: UUID) -> bytes:
    return derived(unique_id, "content").hex()[:8].encode()


def _vhdx(file: BinaryIO, path: Path, unique_id: UUID) -> None:
    headers = [bytearray(_read(file, at, vhdx.HEADER_LENGTH)) for at in vhdx.HEADERS]
    if any(header[:4] != b"head" or any(header[48:64]) for header in headers):
        return
    with Source.open(path) as reader:
        page83 = vhdx.page83(reader)
    by_age = sorted(headers, key=lambda header: header[8:16][::-1])
    for number, header in enumerate(by_age, 1):
        header[8:16] = number.to_bytes(8, "little")
        header[16:32] = derived(unique_id, "file write")
        header[32:48] = derived(unique_id, "data write")
        header[4:8] = bytes(4)
        header[4:8] = crc32c(bytes(header)).to_bytes(4, "little")
    for at, header in zip(vhdx.HEADERS, headers, strict=True):
        _write(file, at, header)
    length, log = (int.from_bytes(headers[0][a:b], "little") for a, b in ((68, 72), (72, 80)))
    _write(file, log, bytes(min(length, vhdx.LOG_MOST)))
    if page83 is not None:
        _write(file, page83.offset, UUID(bytes=derived(unique_id, "disk")).bytes_le)


_CHANGES: Mapping[str, Callable[[BinaryIO, Path, UUID], None]] = {
    "vdi": _vdi,
    "vmdk": _vmdk,
    "vhdx": _vhdx,
}


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _write(file: BinaryIO, offset: int, data: bytes | bytearray) -> None:
    file.seek(offset)
    file.write(data)
