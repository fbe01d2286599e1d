"""What is particular to a dynamic VHD: header, block table, batmap, parent.

    footer.data_offset ─▶ header ─▶ table_offset ─▶ BAT ─▶ each entry: sector of a block
                                                     │      │ sector bitmap │ block_size bytes │
                                                     └ batmap follows, when XenServer wrote the file

Blocks are compared by one sorted sweep: a table may have a million entries.  A reader with a budget
is not asked for such a table; ``details["table_checked"]`` is False then, and whoever wants to use the
disk must inspect the file once more without a budget.  The bitmaps are read in ``vhd_bitmaps``.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any
from uuid import UUID

from pipeline.formats import vhd_bytes as vhd
from pipeline.formats.base import Problem
from pipeline.formats.bounded import BoundedReader
from pipeline.formats.tables import covered
from pipeline.formats.vhd_bytes import Footer, Header, Locator
from pipeline.formats.vhd_table import MAX_TABLE, Batmap, Table, read_table
from pipeline.source import Reader
from pipeline.text import clean

CHECKS = (
    "vhd-header",
    "vhd-parent",
    "vhd-bat",
    "vhd-block-bounds",
    "vhd-block-overlap",
    "vhd-batmap",
)

# Of smaller blocks the bitmap has less than a byte: some readers round it down to no sector at all.
MIN_BLOCK, MAX_BLOCK = 4096, 64 << 20
BOUNDED_TABLE = 512 << 10  # bytes of a table that a reader with a budget is asked for: 256 GiB
_MOST = 8  # problems of one rule that are listed; a damaged table may have a million


@dataclass
class Dynamic:
    """What was found out."""

    problems: list[Problem] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    references: tuple[str, ...] = ()


def inspect(reader: Reader, footer: Footer, limit: int, *, cut: bool) -> Dynamic:
    """Judge what lies before the footer at ``limit``; ``cut``: there is none, the file just ends."""
    found = Dynamic()
    if footer.data_offset + vhd.HEADER_SIZE > limit:
        detail = f"the header should be at {footer.data_offset}, the file ends at {limit}"
        found.problems.append(Problem("vhd-header", detail, 16, 8))
        return found
    data = reader.read(footer.data_offset, vhd.HEADER_SIZE)
    header = Header.unpack(data)
    found.problems += _header(header, data, footer.data_offset)
    if any(problem.rule == "vhd-header" for problem in found.problems):
        return found  # the fields mean nothing then
    found.details.update(
        block_size=header.block_size, bat_entries=header.entries, bat_offset=header.table_offset
    )
    found.problems += _parent(reader, header, footer, found)
    broken = list(_table_place(header, footer, limit))
    found.problems += broken
    if broken:
        return found
    needed = -(-footer.current_size // header.block_size)
    found.details["bat_spare"] = header.entries - needed
    if header.entries < needed:
        detail = f"it has {header.entries} entries for {needed} blocks"
        found.problems.append(Problem("vhd-bat", detail, footer.data_offset + 28, 4))
    small = 4 * header.entries <= BOUNDED_TABLE
    found.details["table_checked"] = small or not isinstance(reader, BoundedReader)
    if not found.details["table_checked"]:
        return found
    table = read_table(reader, header)
    batmap = Batmap(reader, header, table, footer.current_size, limit)
    found.problems += batmap.problems
    found.problems += _blocks(table, footer, limit, batmap.regions, cut=cut)
    found.details.update(
        allocated_blocks=table.stored.count(1),
        batmap=batmap.details,
    )
    return found


def stores(reader: Reader, footer: Footer, offset: int, length: int) -> bool:
    """Whether a block's data lies at these bytes of the file."""
    if footer.data_offset + vhd.HEADER_SIZE > reader.size:
        return False
    data = reader.read(footer.data_offset, vhd.HEADER_SIZE)
    header = Header.unpack(data)
    broken = any(item.rule == "vhd-header" for item in _header(header, data, footer.data_offset))
    if broken or 4 * header.entries > BOUNDED_TABLE or [*_table_place(header, footer, reader.size)]:
        return False
    table = read_table(reader, header)
    starts = (sector * vhd.SECTOR + table.bitmap_size for sector in table.allocated())
    return covered(starts, table.block_size, offset, length)


def _sane_block(size: int) -> bool:
    return MIN_BLOCK <= size <= MAX_BLOCK and not size & (size - 1)


def _header(header: Header, data: bytes, at: int) -> Iterator[Problem]:
    if header.cookie != vhd.HEADER_COOKIE:
        detail = f"its cookie is '{clean(header.cookie.decode('latin-1'))}'"
        yield Problem("vhd-header", detail, at, 8)
    right = vhd.checksum(data, vhd.HEADER_CHECKSUM_AT)
    if header.checksum != right:
        detail = f"its checksum is 0x{header.checksum:08x}, the bytes give 0x{right:08x}"
        yield Problem("vhd-header", detail, at, vhd.HEADER_SIZE)
    if header.version != vhd.VERSION_1_0:
        detail = f"its version is {header.version >> 16}.{header.version & 0xFFFF}"
        yield Problem("vhd-header", detail, at + 24, 4)
    if not _sane_block(header.block_size):
        yield Problem("vhd-header", f"its block size is {header.block_size}", at + 32, 4)
    if header.data_offset != vhd.NO_OFFSET:
        detail = f"the header's data offset is 0x{header.data_offset:x}"
        yield Problem("vhd-reserved-fields", detail, at + 8, 8)
    if any(header.reserved1) or any(header.reserved2):
        detail = "reserved bytes of the header are not zero"
        yield Problem("vhd-reserved-fields", detail, at + 768, 256)


def _parent(reader: Reader, header: Header, footer: Footer, found: Dynamic) -> Iterator[Problem]:
    """What the file wants besides itself."""
    names = [_text(header.parent_name, "utf-16-be")]
    names += [_locator(reader, item) for item in header.locator_list]
    if any(header.parent_uuid):
        names.append(f"uuid {UUID(bytes=header.parent_uuid)}")
    named = tuple(dict.fromkeys(name for name in names if name))
    at = footer.data_offset
    if footer.disk_type == vhd.DIFFERENCING:
        found.references = named or ("an unnamed parent",)
        detail = f"it is differencing, its parent is {', '.join(found.references)}"
        yield Problem("vhd-parent", detail, at + 40, 728)
    elif named or header.locator_list:
        found.references = named or ("an unnamed parent",)
        detail = f"it is dynamic but names a parent, {', '.join(found.references)}"
        yield Problem("vhd-parent", detail, at + 40, 728)
    elif header.parent_timestamp:
        detail = "a dynamic disk has a parent's time stamp"
        yield Problem("vhd-reserved-fields", detail, at + 56, 4)


def _locator(reader: Reader, locator: Locator) -> str:
    data = reader.read(locator.offset, min(locator.length, 1024))
    encoding = "utf-16-le" if locator.code in (b"W2ru", b"W2ku") else "utf-8"
    code = clean(locator.code.decode("latin-1"))
    return _text(data, encoding) or f"a locator {code}"


def _text(data: bytes, encoding: str) -> str:
    return clean(data.decode(encoding, "replace").split("\0")[0], 200)


def _table_place(header: Header, footer: Footer, limit: int) -> Iterator[Problem]:
    """Whether the table can be read at all."""
    at = footer.data_offset
    end = header.table_offset + 4 * header.entries
    if 4 * header.entries > MAX_TABLE:
        detail = f"it has {header.entries} entries"
        yield Problem("vhd-bat", detail, at + 28, 4)
    elif end > limit:
        detail = (
            f"{header.entries} entries at {header.table_offset} need {4 * header.entries} bytes, "
            f"the data ends at {limit}"
        )
        yield Problem("vhd-bat", detail, at + 16, 8)
    elif header.table_offset % vhd.SECTOR:
        detail = f"it begins at {header.table_offset}, which is no multiple of 512"
        yield Problem("vhd-bat", detail, at + 16, 8)
    elif header.table_offset < vhd.FOOTER_SIZE or (
        header.table_offset < at + vhd.HEADER_SIZE and end > at
    ):
        detail = f"at {header.table_offset} it covers the footer's copy or the header"
        yield Problem("vhd-bat", detail, at + 16, 8)


def _blocks(
    table: Table, footer: Footer, limit: int, taken: tuple[tuple[int, int], ...], *, cut: bool
) -> Iterator[Problem]:
    """Whether every stored block has a place of its own between headers and footer."""
    sectors = table.allocated()
    if not sectors:
        return
    regions = (
        (0, vhd.FOOTER_SIZE),
        (footer.data_offset, footer.data_offset + vhd.HEADER_SIZE),
        (table.offset, table.offset + 4 * len(table.entries)),
        *taken,
    )
    rule = "vhd-truncated" if cut else "vhd-block-bounds"
    yield from islice(_behind(table, sectors, limit, rule), _MOST)
    yield from islice(_covering(table, sectors, regions), _MOST)
    yield from islice(_overlapping(table, sectors), _MOST)


def _behind(table: Table, sectors: list[int], limit: int, rule: str) -> Iterator[Problem]:
    last = (limit - table.stride) // vhd.SECTOR
    for sector in sectors[bisect_left(sectors, last + 1) :]:
        number = table.number(sector)
        end = sector * vhd.SECTOR + table.stride
        detail = f"block {number} ends at {end}, behind the end of the data at {limit}"
        yield table.problem(rule, detail, number)


def _covering(
    table: Table, sectors: list[int], regions: tuple[tuple[int, int], ...]
) -> Iterator[Problem]:
    for start, end in regions:
        low = (start - table.stride) // vhd.SECTOR + 1
        high = -(-end // vhd.SECTOR)
        for sector in sectors[bisect_left(sectors, low) : bisect_left(sectors, high)]:
            number = table.number(sector)
            detail = f"block {number} at {sector * vhd.SECTOR} covers metadata at {start}"
            yield table.problem("vhd-block-bounds", detail, number)


def _overlapping(table: Table, sectors: list[int]) -> Iterator[Problem]:
    apart = table.stride // vhd.SECTOR
    if min(map(operator.sub, sectors[1:], sectors), default=apart) >= apart:
        return
    for left, right in pairwise(sectors):
        if right - left < apart:
            one = table.number(left)
            other = table.entries.index(right, one + 1 if left == right else 0)
            detail = f"blocks {one} and {other} both cover offset {right * vhd.SECTOR}"
            yield table.problem("vhd-block-overlap", detail, other)
