"""The disk inside a dynamic VHD, read by the tables that the file itself holds.

    disk   | block 0 | block 1 | block 2 |
                 │         └ not in the BAT: zeros
                 ▼ BAT[0] * 512 + the sector bitmap's size
    file   | footer | header | BAT | … | bitmap, block 0 | … | footer |

For looking at a VHD that somebody stored: it knows nothing of how the file was laid out.  The sector
bitmaps are not looked at: ``vhd_bitmaps`` has refused a VHD with data behind clear bits.
"""

from __future__ import annotations

from pipeline.formats import vhd_bytes as vhd
from pipeline.formats.tables import integers
from pipeline.formats.vhd_bytes import Footer, Header
from pipeline.source import Reader


class DynamicDisk:
    """``pipeline.source.Reader`` of the disk; the container was inspected before and is sound."""

    def __init__(self, reader: Reader) -> None:
        footer = Footer.unpack(reader.read(0, vhd.FOOTER_SIZE))
        header = Header.unpack(reader.read(footer.data_offset, vhd.HEADER_SIZE))
        self.size = footer.current_size
        self.block_size = header.block_size
        self.bitmap_size = vhd.bitmap_size(header.block_size)
        self._reader = reader
        table = reader.read(header.table_offset, 4 * header.entries)
        self._entries = integers(table, "I", "big")

    def block_at(self, number: int) -> int | None:
        """Where in the file the data of a block starts; None when it is not stored."""
        entry = self._entries[number] if number < len(self._entries) else vhd.UNALLOCATED
        return None if entry == vhd.UNALLOCATED else entry * vhd.SECTOR + self.bitmap_size

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes of the disk; fewer only at its end."""
        end = min(offset + length, self.size)
        parts = []
        while offset < end:
            number, within = divmod(offset, self.block_size)
            count = min(self.block_size - within, end - offset)
            parts.append(self._part(number, within, count))
            offset += count
        return b"".join(parts)

    def _part(self, number: int, within: int, count: int) -> bytes:
        at = self.block_at(number)
        return bytes(count) if at is None else self._reader.read(at + within, count)
