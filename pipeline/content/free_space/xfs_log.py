"""Whether an XFS log has nothing to replay: its last record says that the file system was unmounted.

    512-byte blocks   |rec|body|rec|body body|rec|unmount|░ older, cycle 6 ░░|
    cycle               7    7   7    7    7    7    7   └ head: here the numbers fall back

record header, big endian                    operation, the first bytes behind the header
   0 4 FEEDBABE     10 8 its place (LSN)        0 4 transaction (its place taken by the cycle)
   4 4 cycle        28 4 operations             8 1 client
   8 4 version     130 16 UUID                  9 1 flags: 20h, this is an unmount
   C 4 length      140 4 size of the buffer
Every block begins with its cycle, but for headers, which begin with the magic number.

XFS Algorithms & Data Structures, chapter "Journaling Log".
"""

from __future__ import annotations

import struct

from pipeline.content.free_space.base import exactly, require
from pipeline.source import Reader

SECTOR = 512
_MAGIC = 0xFEEDBABE
_UNMOUNT = 0x20
_LONGEST = 1024  # sectors of a record that says nothing but "unmounted": two log stripes
_DIRTY = "its log may hold changes that were not written back"


def require_clean(volume: Reader, offset: int, length: int, uuids: tuple[bytes, bytes]) -> None:
    """Raises ``KeptError`` unless the log at ``offset`` ends with an unmount."""
    log = _Log(volume, offset, length // SECTOR)
    head = log.head()
    for back in range(1, min(_LONGEST, head) + 1):
        header = log.sector(head - back)
        if header[:4] == struct.pack(">I", _MAGIC):
            _require_unmount(log, header, head - back, back, uuids)
            return
    require(False, _DIRTY)


def _require_unmount(
    log: _Log, header: bytes, at: int, length: int, uuids: tuple[bytes, bytes]
) -> None:
    cycle, version, body, lsn = struct.unpack_from(">IIIQ", header, 4)
    (operations,) = struct.unpack_from(">I", header, 40)
    (size,) = struct.unpack_from(">I", header, 320)
    require(version in (1, 2) and lsn == cycle << 32 | at, _DIRTY)
    require(header[304:320] in uuids, "its log is another file system's")
    headers = max(1, -(-size // 32768)) if version == 2 else 1
    require(operations == 1 and headers + -(-body // SECTOR) == length, _DIRTY)
    require(bool(log.sector(at + headers)[9] & _UNMOUNT), _DIRTY)


class _Log:
    def __init__(self, volume: Reader, offset: int, sectors: int) -> None:
        self._volume = volume
        self._offset = offset
        self.sectors = sectors

    def sector(self, number: int) -> bytes:
        return exactly(self._volume, self._offset + number * SECTOR, SECTOR, "log")

    def _cycle(self, number: int) -> int:
        first, second = struct.unpack_from(">II", self.sector(number))
        return int(second if first == _MAGIC else first)

    def head(self) -> int:
        """The first sector that the newest round did not write; the log's length when it wrote all."""
        first, last = self._cycle(0), self._cycle(self.sectors - 1)
        require(first != 0, _DIRTY)
        if last == first:
            return self.sectors
        require(last in (0, first - 1), _DIRTY)
        low, high = 0, self.sectors - 1  # low is of the newest round, high is not
        while high - low > 1:
            middle = (low + high) // 2
            if self._cycle(middle) == first:
                low = middle
            else:
                high = middle
        return high
