"""What a file is, from its bytes alone.

    Reader ──▶ signatures of all formats ──▶ the first that holds is asked ──▶ Identification
                      │
                      └─ more than one that holds, and not a combination in LEGAL: a polyglot

A partition table where a container's own tables store the guest's data is no signature of the file: the GPT
in the first block of a dynamic VHD may happen to lie at byte 4096.  A disc or another image format there
counts all the same: a file can be made that is both, and whoever guesses would read the other one.

The suffix decides nothing; that it disagrees is advice.  Rules that the formats of this room report
(each has its file in ``schemas/requirements/``; those of VHD begin with ``vhd-``):

    iso-image            backing-file        external-data-file   vmdk-extents      parent-image
    encrypted-container  unsupported-format  unsupported-feature  corrupt-header    corrupt-metadata
    header-limits        marked-corrupt      unclean-shutdown     truncated         polyglot
    packed-image         archive             expansion-limit      not-a-disk-image  empty-image
    internal-snapshots (info)                suffix-mismatch (info)

and about the disk behind the container, with the help of ``nested`` and ``optical.find``:
``iso-image``, ``nested-format``, ``iso-in-partition`` (warning).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.formats.archives import Archive
from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.bounded import BoundedReader
from pipeline.formats.foreign import ForeignFormat
from pipeline.formats.labels import label_places
from pipeline.formats.luks import Luks
from pipeline.formats.optical import OpticalDisc
from pipeline.formats.qcow2 import Qcow2
from pipeline.formats.raw import Raw
from pipeline.formats.vdi import Vdi
from pipeline.formats.vhd import Vhd
from pipeline.formats.vhdx import Vhdx
from pipeline.formats.vmdk import Vmdk
from pipeline.source import Reader
from pipeline.text import clean, size

_VHD, _FOREIGN = Vhd(), ForeignFormat()
_IMAGES: tuple[Format, ...] = (Qcow2(), Vmdk(), Vhdx(), Vdi(), _FOREIGN, _VHD)

FORMATS: tuple[Format, ...] = (OpticalDisc(), *_IMAGES, Luks(), Archive(), Raw())
"""Every format, in the order in which they are asked: a disc is a disc whatever else it is."""

ACCEPTED = frozenset({"raw", "qcow2", "vhd", "vmdk", "vhdx", "vdi"})
"""Formats that the stages after identification can read."""

# Signatures that may hold beside a format's own: "format" or "format:variant".  A fixed VHD is the
# disk's bytes with a footer behind them, so it shows what the disk begins with.
_ANY_PACKING = frozenset({"gzip", "bzip2", "zstd", "zip", "lz4", "compress", "cpio", "tar"})
LEGAL: dict[str, frozenset[str]] = {
    "raw": frozenset({"mbr", "gpt"}),
    "iso": frozenset({"mbr", "gpt"}),
    "vhd:fixed": frozenset({"mbr", "gpt", "iso", "luks"}) | _ANY_PACKING,
    "unknown": frozenset({"mbr", "gpt"}),
}

_SUFFIXES = {
    "raw": ("raw",),
    "qcow2": ("qcow2",),
    "qcow": ("qcow",),
    "vhd": ("vhd", "vpc", "avhd"),
    "vhdx": ("vhdx", "avhdx"),
    "vmdk": ("vmdk",),
    "vdi": ("vdi",),
    "qed": ("qed",),
    "iso": ("iso", "udf"),
    "dmg": ("dmg",),
    "gzip": ("gz", "tgz"),
    "xz": ("xz", "txz"),
    "bzip2": ("bz2", "tbz2"),
    "zstd": ("zst",),
    "zip": ("zip",),
    "tar": ("tar",),
    "ova": ("ova",),
}
_FORMAT_OF = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}


@dataclass(frozen=True)
class Identification:
    """What a file is.  ``container.problems`` holds all problems, those across formats included."""

    container: Container
    matches: tuple[str, ...]  # all signatures that hold, "mbr" and "gpt" among them
    suffix: str  # of the name that was given, lower case, without the dot
    bytes_read: int

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong: what is about the whole file first."""
        return self.container.problems


def identify(reader: Reader, *, name: str = "") -> Identification:
    """What the bytes are, from at most ``bounded.READ_BUDGET`` bytes of them.

    Raises nothing for what it finds; ``SourceError`` passes through from the reader.
    """
    bounded = BoundedReader(reader)
    held = [
        (format_, signature)
        for format_ in FORMATS[:-1]
        if (signature := format_.signature(bounded)) is not None
    ]
    suffix = _suffix(name)
    if not held:
        held = _with_lost_end(bounded, suffix)
    labels = _labels(held, bounded)
    matches = (*(signature for _, signature in held), *labels)
    chosen = _chosen(held, bounded)
    problems = (
        *_polyglot(chosen, matches),
        *chosen.problems,
        *_disc_in_fixed(chosen, held, bounded),
        *_disagreement(chosen, suffix, bounded),
    )
    container = replace(chosen, problems=problems)
    return Identification(container, matches or (chosen.format,), suffix, bounded.bytes_read)


def _labels(held: list[tuple[Format, str]], reader: BoundedReader) -> tuple[str, ...]:
    """The partition tables of the file itself: not those in what a container stores for its guest."""
    seen = (
        name
        for name, offset, length in label_places(reader)
        if not any(item.stores(reader, offset, length) for item, _ in held)
    )
    return tuple(dict.fromkeys(seen))


def _chosen(held: list[tuple[Format, str]], reader: BoundedReader) -> Container:
    """The first format's answer; but a fixed VHD comes before what its disk begins with."""
    if not held:
        return FORMATS[-1].inspect(reader)
    vhd = next((format_ for format_, _ in held if isinstance(format_, Vhd)), None)
    if vhd is not None and held[1:]:
        container = vhd.inspect(reader)
        if container.variant == "fixed":
            return container
    return held[0][0].inspect(reader)


def _key(container: Container) -> str:
    key = f"{container.format}:{container.variant}"
    return key if key in LEGAL else container.format


def _polyglot(container: Container, matches: tuple[str, ...]) -> tuple[Problem, ...]:
    legal = LEGAL.get(_key(container), frozenset())
    others = [name for name in matches if name != container.format and name not in legal]
    if not others:
        return ()
    detail = f"{' and '.join((container.format, *others))} signatures hold at the same time"
    return (Problem("polyglot", detail, 0, 512),)


def _disc_in_fixed(
    container: Container, held: list[tuple[Format, str]], reader: BoundedReader
) -> tuple[Problem, ...]:
    """The problems of what a fixed VHD's disk begins with: a disc, or encryption."""
    if _key(container) != "vhd:fixed":
        return ()
    inner = [format_ for format_, name in held if name in ("iso", "luks")]
    return tuple(problem for format_ in inner for problem in format_.inspect(reader).problems)


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return clean(suffix.lower(), 16) if dot and stem else ""


def _with_lost_end(reader: BoundedReader, suffix: str) -> list[tuple[Format, str]]:
    """A VHD whose footer, which alone shows what a fixed one is, stands before padding."""
    named = _FORMAT_OF.get(suffix) == _VHD.name
    return [(_VHD, _VHD.name)] if _VHD.lost_end(reader, named=named) else []


def _disagreement(container: Container, suffix: str, reader: BoundedReader) -> Iterator[Problem]:
    """What the name says and the content does not.

    To a format whose mark stands at the end, a file without it is not a raw disk but has lost its end.
    """
    meant = _FORMAT_OF.get(suffix)
    if meant is None or meant == container.format or container.format == "unknown":
        return
    lost = _lost_end(meant, suffix, reader) if container.format == "raw" else None
    detail = f"the suffix is .{suffix}, the content is {container.format}"
    yield lost or Problem("suffix-mismatch", detail)


def _lost_end(meant: str, suffix: str, reader: BoundedReader) -> Problem | None:
    """What a file lacks that is raw by its bytes and something else by its name."""
    if meant == "dmg":
        return _FOREIGN.lost_end(reader)
    if meant != _VHD.name:
        return None
    detail = (
        f"the suffix is .{suffix}, but the last 512 bytes are no footer, "
        f"nor is there one in the last {size(min(1 << 20, reader.size))}"
    )
    return Problem("vhd-footer", detail, max(0, reader.size - 512))


@dataclass(frozen=True)
class _Start:
    """The first part of a reader, for who asks for nothing behind its size."""

    reader: Reader

    @property
    def size(self) -> int:
        return min(self.reader.size, 1 << 20)

    def read(self, offset: int, length: int) -> bytes:
        return self.reader.read(offset, length)


def nested(view: Reader) -> str | None:
    """The image format whose header the guest-visible disk begins with, if any.

    Discs are found with ``optical.find``; packed data is not an image format, and no risk.  Only
    headers count: a footer that was left at the end of a disk makes no tool misread its start.
    """
    bounded = BoundedReader(_Start(view))
    signatures = (format_.signature(bounded) for format_ in _IMAGES)
    return next((signature for signature in signatures if signature is not None), None)
