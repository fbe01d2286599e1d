"""Any VHD: which kind it is, what it says about itself, and all that is wrong with it.

    fixed     │ the disk, current_size bytes                              │footer│
    dynamic   │footer's copy│header│BAT│(batmap)│ blocks, in any order      │footer│

The byte tables are in ``pipeline.formats.vhd_bytes``, what is particular to dynamic disks in
``vhd_dynamic``.  What XenServer insists on is taken from its own checker
(https://github.com/xapi-project/blktap, vhd/lib/vhd-util-check.c), which unlike ours compares all pairs
of blocks; where qemu reads a file otherwise than XenServer, that is a finding.

Only what is damaged or deceives is a problem here.  What a cloud wants besides (its creator, a multiple,
a block size, no mark) is a requirement over the facts in ``Container`` and its ``details``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pipeline.formats import trailer, vhd_dynamic
from pipeline.formats import vhd_bytes as vhd
from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.vhd_bytes import Footer
from pipeline.source import Reader
from pipeline.text import clean, counted

# The creators for which every release of qemu takes the size in bytes, and those for which every one
# takes the geometry, as those programs themselves do (block/vpc.c); for any other, VirtualBox, Azure and
# Virtual Server among them, it depends on the release: qemu 10 takes the bytes, qemu 9 the geometry.  The
# largest geometry says only "large".
_SIZED_BY_BYTES = frozenset({b"win ", b"qem2", b"d2v ", b"CTXS", b"tap\0"})
_SIZED_BY_GEOMETRY = frozenset({b"vpc ", b"qemu"})
_MAX_CHS_SIZE = vhd.MAX_CHS_SECTORS * vhd.SECTOR
_COOKIES = (vhd.FOOTER_COOKIE, vhd.JOURNAL_COOKIE)
_SHOWN = 16  # bytes of a field that a sentence shows
_FIELDS = 86  # bytes of a footer that hold fields; zeros follow
_TAIL = 4096  # bytes before the end in which a footer alone makes a file a VHD


@dataclass(frozen=True)
class Located:
    """A footer in the file."""

    offset: int
    data: bytes  # 512 bytes, or 511
    footer: Footer

    @property
    def sound(self) -> bool:
        """Whether its checksum is right."""
        return vhd.checksum(self.data, vhd.FOOTER_CHECKSUM_AT) == self.footer.checksum

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + len(self.data)


class Vhd(Format):
    """See the module."""

    name = "vhd"
    checks = (
        "vhd-footer",
        "vhd-footer-copy",
        "vhd-footers-differ",
        "vhd-version",
        "vhd-journal",
        "vhd-truncated",
        "vhd-trailing-bytes",
        "vhd-short-footer",
        "vhd-size-ambiguous",
        "container-disagreement",
        "vhd-reserved-fields",
        "empty-image",
        *vhd_dynamic.CHECKS,
        "vhd-sector-bitmap",
    )

    def matches(self, reader: Reader) -> bool:
        """A footer's cookie at either end, or a whole footer near the end."""
        return reader.read(0, 8) in _COOKIES or _find_end(reader, _TAIL) is not None

    def stores(self, reader: Reader, offset: int, length: int) -> bool:
        """Whether a block of a dynamic disk lies there."""
        copy = _at(reader, 0, vhd.FOOTER_SIZE)
        if copy is None or not copy.sound or copy.footer.disk_type == vhd.FIXED:
            return False
        return vhd_dynamic.stores(reader, copy.footer, offset, length)

    def lost_end(self, reader: Reader, *, named: bool) -> bool:
        """Whether a file without any signature is a VHD with much padding behind it.

        A footer alone proves nothing, as a disk may hold VHDs: it must say that its disk ends where it
        stands.  With ``named``, when the file's name says VHD, any footer will do.
        """
        found = _find_end(reader)
        if found is None:
            return False
        whole = found.footer.disk_type == vhd.FIXED and found.footer.current_size == found.offset
        return named or whole

    def inspect(self, reader: Reader) -> Container:
        """Everything that footers, header, table, batmap and some of the bitmaps tell."""
        copy, end = _at(reader, 0, vhd.FOOTER_SIZE), _find_end(reader)
        if copy is not None and end is not None and copy.offset == end.offset:
            copy = None  # a file of one footer only
        main = next((item for item in (end, copy) if item is not None and item.sound), end or copy)
        if main is None:
            return Container(self.name, None, problems=(_missing(reader),))
        footer = main.footer
        problems = [*_ends(reader, copy, end, footer), *_values(main)]
        details = _details(footer, end, copy)
        references: tuple[str, ...] = ()
        if footer.disk_type == vhd.FIXED:
            problems += _fixed(reader, footer, end)
        else:
            limit = reader.size if end is None else end.offset
            dynamic = vhd_dynamic.inspect(reader, footer, limit, cut=end is None)
            problems += dynamic.problems
            details.update(dynamic.details)
            references = dynamic.references
        return Container(
            format=self.name,
            virtual_size=footer.current_size,
            variant=vhd.VARIANTS.get(footer.disk_type),
            creator=clean(footer.creator.rstrip(b"\0").decode("latin-1")),
            uuid=str(UUID(bytes=footer.uuid)),
            external_references=references,
            problems=tuple(problems),
            details=details,
        )


def _at(reader: Reader, offset: int, length: int) -> Located | None:
    data = reader.read(offset, length)
    if len(data) < length or data[:8] not in _COOKIES:
        return None
    return Located(offset, data, Footer.unpack(data))


def _find_end(reader: Reader, within: int = trailer.PADDING) -> Located | None:
    """The footer at the end, or a whole one with padding of less than ``within`` bytes behind it."""
    size = reader.size
    cut = size % vhd.SECTOR  # footers begin at sectors
    for length in (vhd.FOOTER_SIZE, vhd.FOOTER_SIZE - 1, cut):
        found = _at(reader, size - length, length) if _FIELDS <= length <= size else None
        if found is not None:
            return found
    for offset in trailer.sectors(reader, vhd.FOOTER_COOKIE, within):
        found = _at(reader, offset, vhd.FOOTER_SIZE)
        if found is not None and offset and found.sound:
            return found
    return None


def _missing(reader: Reader) -> Problem:
    return Problem("vhd-footer", "there is no footer", max(0, reader.size - vhd.FOOTER_SIZE))


def _ends(
    reader: Reader, copy: Located | None, end: Located | None, footer: Footer
) -> Iterator[Problem]:
    """Whether the footers are there, sound, and the same."""
    if end is None:
        yield _missing(reader)
    else:
        yield from _sound(end, "vhd-footer")
        if len(end.data) == vhd.FOOTER_SIZE - 1:
            yield Problem(
                "vhd-short-footer", f"the file has {reader.size} bytes", end.offset, len(end.data)
            )
        if len(end.data) < vhd.FOOTER_SIZE - 1:
            detail = f"the file ends after {len(end.data)} of its footer's {vhd.FOOTER_SIZE} bytes"
            missing = vhd.FOOTER_SIZE - len(end.data)
            yield Problem("vhd-truncated", detail, reader.size, missing)
        if end.end < reader.size:
            count = reader.size - end.end
            detail = (
                f"the last {vhd.FOOTER_SIZE} bytes are no footer; one was found "
                f"{counted(count, 'byte')} before the end, at {end.offset}"
            )
            yield Problem("vhd-trailing-bytes", detail, end.end, count)
    if copy is not None:
        yield from _sound(copy, "vhd-footer-copy")
    elif footer.disk_type != vhd.FIXED:
        yield Problem("vhd-footer-copy", "there is no copy of the footer", 0, vhd.FOOTER_SIZE)
    if copy is not None and end is not None:
        yield from _same(copy, end)


def _sound(found: Located, rule: str) -> Iterator[Problem]:
    if found.data[:8] == vhd.JOURNAL_COOKIE:
        yield Problem("vhd-journal", "the cookie is v_poison", found.offset, 8)
    if not found.sound:
        right = vhd.checksum(found.data, vhd.FOOTER_CHECKSUM_AT)
        detail = f"the checksum is 0x{found.footer.checksum:08x}, the bytes give 0x{right:08x}"
        yield Problem(rule, detail, found.offset, len(found.data))


def _same(copy: Located, end: Located) -> Iterator[Problem]:
    if copy.data[: len(end.data)] == end.data:
        return
    for item in sorted(fields(Footer), key=lambda item: item.name == "checksum"):  # it tells least
        one, other = getattr(copy.footer, item.name), getattr(end.footer, item.name)
        if one != other:
            name, one, other = _told_apart(item.name, one, other)
            detail = f"{name} is {one} in the copy and {other} in the footer"
            yield Problem("vhd-footers-differ", detail, copy.offset, vhd.FOOTER_SIZE)
            return


def _told_apart(name: str, one: int | bytes, other: int | bytes) -> tuple[str, str, str]:
    """A field's two values in words that differ: of a long one, the first bytes that do."""
    if not isinstance(one, bytes) or not isinstance(other, bytes):
        return name, str(one), str(other)
    if len(one) <= _SHOWN:
        return name, one.hex(), other.hex()
    first = next(at for at, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
    part = slice(first, first + _SHOWN)
    return f"{name} from its byte {first} on", one[part].hex(), other[part].hex()


def _values(main: Located) -> Iterator[Problem]:
    """The fields of the footer that counts, one by one."""
    footer, base = main.footer, main.offset

    def problem(rule: str, detail: str, at: int, length: int) -> Problem:
        return Problem(rule, detail, base + at, length)

    if footer.version != vhd.VERSION_1_0:
        yield problem("vhd-version", f"file format version {dotted(footer.version)}", 12, 4)
    if footer.current_size < vhd.SECTOR:
        yield problem("empty-image", f"the disk's size is {footer.current_size}", 48, 8)
    yield from _reserved(footer, base)
    yield from _sizes(footer, base)


def _reserved(footer: Footer, base: int) -> Iterator[Problem]:
    if footer.features & ~1 != 2:
        detail = f"features are 0x{footer.features:08x}"
        yield Problem("vhd-reserved-fields", detail, base + 8, 4)
    if footer.disk_type == vhd.FIXED and footer.data_offset != vhd.NO_OFFSET:
        detail = f"the data offset of a fixed disk is 0x{footer.data_offset:x}"
        yield Problem("vhd-reserved-fields", detail, base + 16, 8)
    if any(footer.reserved):
        yield Problem("vhd-reserved-fields", "reserved bytes are not zero", base + 86, 426)


def _sizes(footer: Footer, base: int) -> Iterator[Problem]:
    """Whether size and geometry make one disk for every reader.

    Where the program that wrote the file goes by the geometry, there really are two disks; where only
    some readers do, ours is the writer's.
    """
    by_bytes = footer.creator in _SIZED_BY_BYTES or footer.size_by_chs == _MAX_CHS_SIZE
    if by_bytes or footer.size_by_chs == footer.current_size:
        return
    geometry = f"{footer.cylinders}/{footer.heads}/{footer.sectors}"
    if footer.creator in _SIZED_BY_GEOMETRY:
        creator = footer.creator.decode("ascii").rstrip()
        detail = (
            f"the disk's size: imgprep reads {footer.current_size} bytes, qemu-img reads "
            f"{footer.size_by_chs}, which is the geometry {geometry}, because the VHD's creator is "
            f"'{creator}'"
        )
        yield Problem("container-disagreement", detail, base + 48, 12)
        return
    detail = (
        f"{footer.current_size} bytes, and the geometry {geometry}, "
        f"which makes {footer.size_by_chs} bytes"
    )
    yield Problem("vhd-size-ambiguous", detail, base + 48, 12)


def _fixed(reader: Reader, footer: Footer, end: Located | None) -> Iterator[Problem]:
    """Whether the disk fills the file up to the footer."""
    room = reader.size if end is None else end.offset
    count = room - footer.current_size
    if count < 0:
        detail = f"a fixed disk of {footer.current_size} bytes, and {room} are there"
        yield Problem("vhd-truncated", detail, 0, room)
    elif count:
        lie = "byte lies" if count == 1 else "bytes lie"
        detail = f"{count} {lie} between the disk's {footer.current_size} and the footer"
        yield Problem("vhd-trailing-bytes", detail, footer.current_size, count)


def _details(footer: Footer, end: Located | None, copy: Located | None) -> dict[str, Any]:
    return {
        "disk_type": footer.disk_type,
        "current_size": footer.current_size,
        "original_size": footer.original_size,
        "size_by_chs": footer.size_by_chs,
        "geometry": [*footer.geometry],
        "geometry_fits": footer.geometry <= vhd.geometry(footer.current_size),
        "creator_code": footer.creator.hex(),
        "creator_version": dotted(footer.creator_version),
        "creator_os": clean(footer.creator_os.to_bytes(4, "big").rstrip(b"\0").decode("latin-1")),
        "timestamp": moment(footer.timestamp),
        "timestamp_unix": vhd.EPOCH_2000 + footer.timestamp,
        "features": footer.features,
        "saved_state": footer.saved_state,
        "hidden": footer.hidden,
        "footer_size": None if end is None else len(end.data),
        "footer_copy": copy is not None,
    }


def dotted(version: int) -> str:
    """``0x00010003`` as ``1.3``."""
    return f"{version >> 16}.{version & 0xFFFF}"


def moment(timestamp: int) -> str:
    """Seconds since 2000 as a date and time in UTC."""
    return datetime.fromtimestamp(vhd.EPOCH_2000 + timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
