"""Whether the log of an NTFS holds changes to replay: $LogFile, the third record of the MFT.

    $LogFile ── $DATA (80h), not resident ──▶ its first run of clusters
      page at 0, and one at the first's page size:      an empty log is FF FF FF FF … (mkntfs, ntfs-3g)
        0  "RSTR", or "CHKD" after chkdsk    16  4  page size    24  2  where the restart area begins
      restart area
        0  8  LSN: the page with the higher one counts
       12  2  first client in use, FFFF: none              14  2  flags, 2: the volume is clean

Windows' dirty flag is for damage that was found; what tells that a volume was in use is its log alone.
Linux' drivers refuse to write to such a volume.  libyal, libfsntfs (NTFS documentation); ntfs-3g
"""

from __future__ import annotations

from collections.abc import Callable

_DATA, _END = 0x80, 0xFFFFFFFF
_NOBODY, _IS_CLEAN = 0xFFFF, 0x2
_PAGES = (512, 1 << 16)  # a page's least and greatest size, bytes


def clean(record: bytes, cluster: int, read: Callable[[int, int], bytes]) -> bool | None:
    """Whether nothing is left to replay; None: the log cannot be read.

    ``record`` is the log's in the MFT, ``cluster`` its size in bytes, ``read`` counts from the volume.
    """
    at = _first_run(record, cluster)
    if at is None:
        return None
    first = read(at, 512)
    if first[:4] == b"\xff" * 4:
        return True
    size = _u(first, 16, 4)
    areas = [_area(first)]
    if _PAGES[0] <= size <= _PAGES[1]:
        areas.append(_area(read(at + size, 512)))
    known = [area for area in areas if area is not None]
    if not known:
        return None
    latest = max(known, key=lambda area: _u(area, 0, 8))
    return _u(latest, 12, 2) == _NOBODY or bool(latest[14] & _IS_CLEAN)


def _area(page: bytes) -> bytes | None:
    """The restart area of a page; its 16 bytes lie in the first sector, before the last two of that."""
    start = _u(page, 24, 2)
    if page[:4] not in (b"RSTR", b"CHKD") or not 30 <= start <= 494:
        return None
    area = page[start : start + 16]
    return area if len(area) == 16 else None


def _first_run(record: bytes, cluster: int) -> int | None:
    """Where the data begins, bytes from the volume's start."""
    at = _u(record, 20, 2)
    while record[:4] == b"FILE" and at + 64 <= len(record):
        kind, length = _u(record, at, 4), _u(record, at + 4, 4)
        if kind == _END or length < 24:
            return None
        if kind == _DATA and record[at + 8]:
            run = at + _u(record, at + 32, 2)
            widths = _u(record, run, 1)
            start, width = run + 1 + (widths & 0xF), widths >> 4
            return _u(record, start, width) * cluster if width else None
        at += length
    return None


def _u(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")
