"""FAT12, FAT16 and FAT32, read as Linux' vfat does; a library would read less of it right, and no faster.

    path ─▶ root ─ entry ─▶ chain of clusters ─ entries ─▶ … ─▶ chain ─▶ bytes of the file

Linux believes no directory that is the root or has fewer than two entries of directories (its own, and its
parent's), and none within itself (fs/fat/inode.c, fs/dcache.c); these are left to it.  Its times are UTC.
Microsoft's FAT specification ("fatgen103").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.tools.reader import fat_names
from pipeline.tools.reader.answers import MAX_NAMES, NotThereError, Stat, UnableError
from pipeline.tools.reader.fat_names import Named
from pipeline.tools.reader.fat_table import Table
from pipeline.tools.reader.volume import Pages

_LARGEST_DIRECTORY = 65536 * fat_names.RECORD  # bytes; the specification's limit, and the kernel's
_OWN_ENTRIES = 2  # . and ..
_KEPT = 50_000  # entries of directories that are kept in memory
_PAGE = 4096  # bytes; the kernel gives a page whole or not at all
_MODE, _WRITABLE = 0o755, 0o222
_DAY, _BEFORE_1980 = 86400, 3652  # a day's seconds; days from 1970 to 1980
_BEFORE_MONTH = (0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 0, 0, 0)
_NO_LEAP_YEAR = 120  # 2100, counted from 1980


class Fat:
    """One FAT file system; ``answers.FileSystem``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._table = Table(pages)
        self._known: dict[int, Directory] = {}  # by their first cluster
        self._root()

    def stat(self, directory: str, names: list[str]) -> list[Stat]:
        """What each name of a directory is; upper and lower case do not matter."""
        found, above = self._directory(directory)
        return [self._stat(found, name, above) for name in names]

    def names(self, directory: str) -> list[str]:
        """The names in a directory."""
        found, _ = self._directory(directory)
        names = [entry.name for entry in found.entries]
        if len(names) > MAX_NAMES:
            raise UnableError(f"it has more than {MAX_NAMES} entries")
        if any("/" in name or not name for name in names):
            raise UnableError("a name in the directory is none")
        return [name for name in names if name not in (".", "..")]

    def readlink(self, path: str) -> str:
        """FAT has no links."""
        raise NotThereError(f"{path} is not a link")

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of a file."""
        directory, _, name = path.rpartition("/")
        entry = self._directory(directory or "/")[0].find(name)
        if entry is None or _is_directory(entry):
            raise NotThereError(f"{path} is not a file")
        length = min(length, entry.size - offset)
        return self._bytes(entry, offset, length) if length > 0 else b""

    def free(self) -> dict[str, int]:
        """Bytes free."""
        return {"free": self._table.free()}

    def _bytes(self, entry: Named, offset: int, length: int) -> bytes:
        start = self._start(entry)
        if not start:  # the kernel takes it for a hole
            return bytes(length)
        size = self._table.cluster
        first = offset // size
        page_end = min(entry.size, -(-(offset + length) // _PAGE) * _PAGE)
        clusters = self._table.some(start, first, -(-page_end // size))
        data = b"".join(self._runs(clusters[: -(-(offset + length) // size) - first]))
        return data[offset - first * size :][:length]

    def _runs(self, clusters: Iterable[int]) -> Iterator[bytes]:
        """The bytes of clusters; neighbours are read at once."""
        size = self._table.cluster
        begin = end = 0
        for cluster in (*clusters, 0):
            if cluster != end:
                if end:
                    yield self._whole(self._table.place(begin), (end - begin) * size)
                begin = cluster
            end = cluster + 1

    def _whole(self, at: int, length: int) -> bytes:
        data = self._pages.bytes_at(at, length)
        if len(data) < length:
            raise UnableError("a cluster lies behind the end")
        return data

    # --------------------------------------------------------------------------------- directories

    def _directory(self, path: str) -> tuple[Directory, set[int]]:
        """A directory, and the places of the entries that lead to it."""
        found, above = self._root(), set[int]()
        for name in filter(None, path.split("/")):
            entry = found.find(name)
            if entry is None or not _is_directory(entry):
                raise NotThereError(f"{path} is not a directory")
            place = found.place(entry)
            found = self._below(found, entry, above)
            above.add(place)
        return found, above

    def _below(self, directory: Directory, entry: Named, above: set[int]) -> Directory:
        """The directory that an entry stands for."""
        if directory.place(entry) in above:
            raise UnableError("a directory lies within itself")
        start = self._start(entry)
        if start in self._known and start:
            return self._known[start]
        if start in (0, self._table.root):
            raise UnableError("a directory says that it is the root")
        found = self._read_chain(start)
        if fat_names.subdirectories(found.raw) < _OWN_ENTRIES:
            raise UnableError("a directory is without its own entries")
        return self._keep(start, found)

    def _root(self) -> Directory:
        if 0 in self._known:
            return self._known[0]
        if self._table.is_fat32:
            return self._keep(0, self._read_chain(self._table.root))
        at, size = self._table.root_at, self._table.root_size
        return self._keep(0, Directory(self._whole(at, size) if size else b"", [at], size))

    def _read_chain(self, start: int) -> Directory:
        size = self._table.cluster
        chain = self._table.whole(start, max(1, _LARGEST_DIRECTORY // size))
        return Directory(b"".join(self._runs(chain)), [self._table.place(it) for it in chain], size)

    def _keep(self, key: int, found: Directory) -> Directory:
        if sum(len(item.entries) for item in self._known.values()) > _KEPT:
            self._known.clear()
        self._known[key] = found
        return found

    def _start(self, entry: Named) -> int:
        return entry.start | (entry.start_high if self._table.is_fat32 else 0)

    def _stat(self, directory: Directory, name: str, above: set[int]) -> Stat:
        entry = directory.find(name)
        if entry is None:
            return None
        modified = _seconds(entry.raw)
        if _is_directory(entry):
            self._below(directory, entry, above)
            return ("directory", 0, _MODE, modified)
        writable = 0 if entry.attributes & fat_names.READ_ONLY else _WRITABLE
        return ("file", entry.size, _MODE & (~_WRITABLE | writable), modified)


class Directory:
    """The entries of one directory."""

    def __init__(self, raw: bytes, places: Sequence[int], size: int) -> None:
        """``places``: where each ``size`` bytes of it lie on the volume."""
        self.raw = raw
        self.entries = tuple(fat_names.entries(raw))
        self._places = places
        self._size = size
        self._found: dict[bytes, Named] = {}
        for entry in self.entries:
            for name in (entry.short, entry.long):
                if name:
                    self._found.setdefault(_folded(name), entry)

    def find(self, name: str) -> Named | None:
        """The first entry of a name, long or short; dots at its end do not count."""
        return self._found.get(_folded(name.rstrip(".")))

    def place(self, entry: Named) -> int:
        """Where an entry lies on the volume: that is what tells it from others."""
        number, at = divmod(entry.number * fat_names.RECORD, self._size)
        return self._places[number] + at


def _folded(name: str) -> bytes:
    """A name to compare: only the letters of ASCII have another case."""
    return name.encode().lower()


def _is_directory(entry: Named) -> bool:
    return bool(entry.attributes & fat_names.DIRECTORY)


def _seconds(raw: bytes) -> int:
    """Seconds since 1970 of an entry's last change; no day is refused, as in the kernel."""
    time, date = int.from_bytes(raw[22:24], "little"), int.from_bytes(raw[24:26], "little")
    year, month, day = date >> 9, max(1, date >> 5 & 0xF), max(1, date & 0x1F)
    leap_days = (year + 3) // 4 - (year > _NO_LEAP_YEAR)
    leap_days += year % 4 == 0 and year != _NO_LEAP_YEAR and month > 2
    days = _BEFORE_1980 + year * 365 + leap_days + _BEFORE_MONTH[month] + day - 1
    return days * _DAY + (time >> 11) * 3600 + (time >> 5 & 0x3F) * 60 + (time & 0x1F) * 2
