"""qcow2's entries: how a guest address becomes a place in the file.

https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt

    L1 entry        bits 9-55 offset of an L2 table, bit 63 copied, others reserved
    L2 entry        bit 62 compressed; else bits 9-55 offset, bit 0 zero, bit 63 copied
                    (extended L2: each followed by 8 bytes of sub-cluster bits, bit 0 reserved)
    compressed      bits 0 to x-1 offset, bits x to 61 further sectors, x = 62 - (cluster_bits - 8)
"""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass

from pipeline.formats.bounded import padded
from pipeline.formats.tables import Region, integers
from pipeline.source import Reader

DIRTY, EXTENDED_L2 = 1, 1 << 4
L1_BYTES = 64 << 10  # of the L1 table that are looked at

COPIED, COMPRESSED = 1 << 63, 1 << 62
OFFSET = 0x00FF_FFFF_FFFF_FE00
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Qcow2Layout:
    """What the header says about the tables; sizes in bytes."""

    size: int
    cluster_bits: int
    extended: bool
    dirty: bool
    compression: int  # 0: zlib
    refcount_order: int
    l1: Region
    refcounts: Region
    snapshots: int
    snapshots_offset: int
    bitmaps: Region | None

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def packed_mask(self) -> int:
        """The bits of a compressed entry that are its offset."""
        return (1 << 62 - (self.cluster_bits - 8)) - 1

    def packed_place(self, entry: int) -> tuple[int, int]:
        """Offset and length of compressed data: it ends somewhere in the last 512 bytes of them."""
        start = entry & self.packed_mask
        sectors = (entry & ~COMPRESSED & ~COPIED) >> 62 - (self.cluster_bits - 8)
        return start, (start // 512 + sectors + 1) * 512 - start


def entries(layout: Qcow2Layout, reader: Reader, table: int, length: int) -> array[int]:
    """The first ``length`` bytes of the L2 table at ``table``, without sub-cluster bits."""
    found = integers(padded(reader, table, length), "Q", "big")
    return found[0::2] if layout.extended else found


def unpacks(data: bytes, layout: Qcow2Layout) -> bool:
    """Whether compressed data begins as its compression does."""
    if layout.compression:
        return data[:4] == _ZSTD_MAGIC
    try:
        return bool(zlib.decompressobj(-15).decompress(data, 16))  # 0 were no limit
    except zlib.error:
        return False


def unpacks_wholly(data: bytes, layout: Qcow2Layout) -> bool:
    """Whether compressed data is all there; what no zlib made is believed."""
    if layout.compression:
        return True
    stream = zlib.decompressobj(-15)
    try:
        return len(stream.decompress(data, layout.cluster)) == layout.cluster or stream.eof
    except zlib.error:
        return False
