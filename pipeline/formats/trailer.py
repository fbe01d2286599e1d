"""What belongs at a file's very end, looked for where something was appended behind it.

│ … data … │ footer │ padding: a copy in whole MiB, a block device's rest, a proxy's text │
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.source import Reader

PADDING = 1025 << 10  # bytes before the end that are searched: a MiB, and what stands before it
_SECTOR = 512


def sectors(reader: Reader, magic: bytes, within: int = PADDING) -> Iterator[int]:
    """The offsets of the sectors near the end that begin with ``magic``, the last one first."""
    start = max(0, reader.size - within)
    data = reader.read(start, within)
    at = data.rfind(magic)
    while at >= 0:
        if (start + at) % _SECTOR == 0:
            yield start + at
        at = data.rfind(magic, 0, at)


def anywhere(reader: Reader, magic: bytes) -> int | None:
    """The offset of the last ``magic`` near the end, in a sector or not."""
    start = max(0, reader.size - PADDING)
    at = reader.read(start, PADDING).rfind(magic)
    return None if at < 0 else start + at
