r"""Rows of one table of an SQLite database, read without SQLite: the file is somebody else's.

    file  16 bytes "SQLite format 3\0", page size at 16 (2 bytes, 1 means 65,536); pages from 1 on
    page  type (0D leaf, 05 interior table), 3 number of cells (2), 8 rightmost child (interior, 4)
          then the cells' offsets, 2 bytes each; page 1 begins behind the file header of 100 bytes
    leaf cell      payload size (varint), row id (varint), payload (the first bytes; rest overflows)
    interior cell  left child's page (4), key (varint)
    record         header size, a type for each column (varints), then the values

What overflows a page is left out: names of packages do not.  https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.guest.tree import Files, TreeError

Value = str | int | None
MAX_PAGES = 20_000
_LEAF, _INTERIOR = 0x0D, 0x05


class Database:
    """Pages of a database file."""

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        header = read(0, 18)
        if not header.startswith(b"SQLite format 3\0"):
            raise TreeError("it is no SQLite database")
        size = int.from_bytes(header[16:18], "big")
        self._size = 65536 if size == 1 else size
        if self._size < 512 or self._size & (self._size - 1):
            raise TreeError(f"an SQLite database with pages of {self._size} bytes")
        self._read = read

    def page(self, number: int) -> tuple[bytes, int]:
        """A page, and where its own header begins."""
        data = self._read((number - 1) * self._size, self._size)
        if number < 1 or len(data) < self._size:
            raise TreeError(f"the SQLite database has no page {number}")
        return data, 100 if number == 1 else 0


def of_guest(files: Files, path: str) -> Database:
    """The database in a guest's file.  Raises ``TreeError``."""
    return Database(lambda offset, length: files.read_at(path, offset, length) or b"")


def rows(database: Database, table: str, most: int) -> Iterator[list[Value]]:
    """The rows of a table, at most so many.  Raises ``TreeError`` where the file is damaged."""
    for row in _walk(database, 1, 10_000):
        if row[:2] == ["table", table] and len(row) > 3 and isinstance(row[3], int):
            yield from _walk(database, row[3], most)
            return
    raise TreeError(f"the SQLite database has no table {table}")


def _walk(database: Database, root: int, most: int) -> Iterator[list[Value]]:
    todo, seen, count = [root], set[int](), 0
    while todo and count < most:
        number = todo.pop()
        if number in seen or len(seen) > MAX_PAGES:
            raise TreeError("the pages of the SQLite database loop")
        seen.add(number)
        data, start = database.page(number)
        kind, cells = data[start], int.from_bytes(data[start + 3 : start + 5], "big")
        at = start + (12 if kind == _INTERIOR else 8)
        offsets = [int.from_bytes(data[at + 2 * n : at + 2 * n + 2], "big") for n in range(cells)]
        if kind == _INTERIOR:
            todo.append(int.from_bytes(data[start + 8 : start + 12], "big"))
            todo += [int.from_bytes(data[cell : cell + 4], "big") for cell in reversed(offsets)]
        elif kind == _LEAF:
            for cell in offsets[: most - count]:
                yield _record(data, cell)
            count += cells
        else:
            raise TreeError(f"page {number} of the SQLite database is of type {kind}")


def _record(data: bytes, at: int) -> list[Value]:
    _, at = _varint(data, at)
    _, at = _varint(data, at)
    size, position = _varint(data, at)
    value_at, end = at + size, at + size
    found: list[Value] = []
    while position < end and len(found) < 16:
        kind, position = _varint(data, position)
        length = _length(kind)
        raw = data[value_at : value_at + length]
        value_at += length
        if kind >= 13 and kind % 2:
            found.append(raw.decode("utf-8", "replace"))
        elif 1 <= kind <= 6:
            found.append(int.from_bytes(raw, "big", signed=True))
        else:
            found.append({8: 0, 9: 1}.get(kind))
    return found


def _length(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    return (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number there, and what is behind it: seven bits a byte, the ninth byte whole."""
    value = 0
    for place in range(at, at + 8):
        byte = _byte(data, place)
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    return value << 8 | _byte(data, at + 8), at + 9


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise TreeError("a record of the SQLite database is cut short")
    return data[at]
