"""Partition tables, volumes and archives on both sides of every limit, and all that is said of them."""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import handmade
import made_volumes
import pytest
import vhd_files
from handmade import MIB, Memory, le32, le64, patched

from pipeline.content import allocation, disk, fat_label, lvm, ntfs_log, xfs_log
from pipeline.content.partition_types import GPT_NAMES
from pipeline.source import Extent, Reader
from tests import every_field
from tests.content import test_every_superblock as superblocks
from tests.content.test_every_superblock import KIB, at, tell_disk, tell_group

HERE = Path(__file__).parent
Cases = Mapping[str, Reader]
_LAST = 8191


def _mbr(*entries: tuple[int, int, int, int], size: int = MIB) -> Memory:
    """``entries``: active, kind, first sector, sectors."""
    raw = b"".join(struct.pack("<B3sB3sII", a, b"", kind, b"", s, n) for a, kind, s, n in entries)
    return Memory((bytes(446) + raw).ljust(510, b"\0") + b"\x55\xaa" + bytes(size - 512))


def _chain(links: int) -> Reader:
    """So many logical partitions of one sector."""
    pieces = {0: _mbr((0, 5, 10, 4 * links)).read(0, 512)}
    for link in range(links):
        onward = (0, 5, 4 * (link + 1), 4) if link + 1 < links else (0, 0, 0, 0)
        pieces[(10 + 4 * link) * 512] = _mbr((0, 0x83, 1, 1), onward).read(0, 512)
    return vhd_files.MemoryDisk((14 + 4 * links) * 512, pieces)


def types() -> Cases:
    """The types of partitions."""
    kinds = [*range(1, 256)]
    found: dict[str, Reader] = {
        f"MBR {kind:02x}": _mbr((0x80, kind, 8, 8), size=16 * KIB) for kind in kinds
    }
    return found | {f"GPT {name}": _gpt([(name, 40, 47)]) for name in GPT_NAMES}


def _gpt(
    spans: list[tuple[str, int, int]],
    *,
    count: int = 128,
    each: int = 128,
    guards: tuple[tuple[int, int, int, int], ...] = ((0, 0xEE, 1, _LAST),),
    header: int = 92,
    size: int = 4 * MIB,
    backup: int = _LAST,
    attributes: int = 0,
) -> Memory:
    """``spans``: type, first and last sector of each partition."""
    entries = b""
    for kind, first, last in spans:
        one = uuid.UUID(kind).bytes_le + uuid.UUID(int=7).bytes_le
        entries += (one + struct.pack("<QQQ", first, last, attributes)).ljust(each, b"\0")
    entries = entries.ljust(count * each, b"\0")

    def head(own: int, other: int, table: int) -> bytes:
        raw = struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x00010000, header, 0, 0, own, other, 34, _LAST - 33,
            uuid.UUID(int=12).bytes_le, table, count, each, zlib.crc32(entries),
        ).ljust(512, b"\0")  # fmt: skip
        return patched(raw, 16, le32(zlib.crc32(raw[:header])))

    first = _mbr(*guards, size=512).read(0, 512)
    image = bytearray(size)
    end = size // 512 - 1
    for place, part in (
        (0, first),
        (1, head(1, backup, 2)),
        (2, entries),
        (end, head(end, 1, 2)),
    ):
        image[place * 512 : place * 512 + len(part)] = part
    return Memory(bytes(image[:size]))


_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


def tables() -> Cases:
    """Partition tables."""
    whole = (0, 0xEE, 1, _LAST)
    used = (0, 0x83, 100, 8)
    pair = [(_LINUX, 400, 499), (_LINUX, 500, 599)]
    return {
        "sound": _gpt(pair),
        **{f"a partition to {n}": _gpt([(_LINUX, 400, n)]) for n in (399, 400, 8191, 8192)},
        **{f"the next at {n}": _gpt([(_LINUX, 400, 499), (_LINUX, n, 599)]) for n in (499, 500)},
        **{
            f"the one before from {n}": _gpt([(_LINUX, 400, 499), (_LINUX, 100, n)])
            for n in (399, 400)
        },
        **{f"entries of {n}": _gpt(pair, each=n) for n in (120, 127, 128, 129, 132, 136, 256)},
        **{f"{n} entries": _gpt(pair, count=n) for n in (0, 1, 2, 8190)},
        **{f"{n} entries of 128": _gpt([], count=n, size=4 * MIB) for n in (8192, 8193)},
        **{f"a header of {n}": _gpt(pair, header=n) for n in (91, 92, 93, 511, 512, 513)},
        **{f"backup at {n}": _gpt(pair, backup=n) for n in (0, 1, 2, 8190, 8191, 8192)},
        **{f"attributes {n}": _gpt(pair, attributes=n) for n in (1, 2, 4, 8)},
        "longer": Memory(_gpt(pair).data + bytes(512)),
        **{
            f"guarded by {name}": _gpt(pair, guards=guards)
            for name, guards in {
                "none": (),
                "the second": ((0, 0, 0, 0), whole),
                "two": (whole, whole),
                "one and another": (whole, used),
                "another alone": (used,),
                "fewer": ((0, 0xEE, 1, _LAST - 1),),
                "more": ((0, 0xEE, 1, _LAST + 1),),
                "all": ((0, 0xEE, 1, 0xFFFFFFFF),),
                "nearly all": ((0, 0xEE, 1, 0xFFFFFFFE),),
                "sector 2": ((0, 0xEE, 2, _LAST),),
                "an active one": ((0x80, 0xEE, 1, _LAST),),
            }.items()
        },
        "a guard alone": _mbr(whole),
        "a guard and a partition": _mbr(whole, used),
        **{f"{n} links": _chain(n) for n in (1, 2)},
        **{f"MBR to {n}": _mbr((0, 0x83, 8, n)) for n in (2039, 2040, 2041)},
        "MBR over the extended": _mbr((0, 5, 8, 90), (0, 0x83, 10, 9)),
        **{
            f"boot code: {words.decode()}": _mbr((0, 0x83, 8, 8)).also(n, words)
            for words in (
                b"GRUB",
                b"LILO",
                b"isolinux",
                b"Operating system load error",
                b"Invalid partition table",
                b"else",
            )
            for n in (0, 440 - len(words))
        },
        "boot code behind its end": _mbr((0, 0x83, 8, 8)).also(437, b"GRUB"),
    }


def tell_many(reader: Memory) -> Mapping[str, Any]:
    """How many partitions there are, which the last one is, and what is wrong."""
    found = disk.inspect(reader, is_file=True).table
    told: dict[str, Any] = {"count": len(found.partitions), "last": str(found.partitions[-1])}
    return told | {f"{n} {p.rule}": str(p) for n, p in enumerate(found.problems)}


def many() -> Cases:
    """As many partitions as are listed, and more."""
    links = {f"{n} links": _chain(n) for n in (127, 128, 129)}
    return links | {
        f"{n} partitions": _gpt([(_LINUX, 400 + i, 400 + i) for i in range(n)], count=300)
        for n in (255, 256, 257)
    }


def _cd(*, boot: bool = True) -> bytes:
    return handmade.iso(boot=boot)


def places() -> Cases:
    """What lies in partitions, and is larger than they are."""

    def holding(content: bytes, *others: tuple[str, bytes], kind: str = _LINUX) -> Reader:
        spans = [(kind, 2048, 4095)]
        spans += [
            (name, 4096 + 512 * n, 4096 + 512 * n + 511) for n, (name, _) in enumerate(others)
        ]
        image = bytearray(_gpt(spans).data)
        for place, part in (
            (MIB, content),
            *(((4096 + 512 * n) * 512, part) for n, (_, part) in enumerate(others)),
        ):
            image[place : place + len(part)] = part
        return Memory(bytes(image))

    efi = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    ext = superblocks._EXT[: 100 * KIB]
    swap = handmade_swap()
    return {
        "ext": holding(ext),
        "a disc": holding(_cd()),
        "a disc that does not boot": holding(_cd(boot=False)),
        "a disc and a system": holding(_cd(), (_LINUX, ext)),
        "a disc and swap": holding(_cd(), (_LINUX, swap)),
        "a disc and firmware's": holding(_cd(), (efi, superblocks._FAT16)),
        "a disc and a FAT": holding(_cd(), (_LINUX, superblocks._FAT16)),
        "two discs": holding(_cd(boot=False), (_LINUX, _cd())),
        "a disc and BitLocker": holding(_cd(), (_LINUX, at(512, (3, b"-FVE-FS-")))),
        "a disc and nothing": holding(_cd(), (_LINUX, b"")),
        **{f"ext of {n} blocks": holding(patched(ext, 1028, le32(n))) for n in (256, 257)},
        **{
            f"ext alone of {n} blocks": Memory(patched(superblocks._EXT, 1028, le32(n)))
            for n in (32, 33)
        },
        **{
            f"blocks of 1 KiB << {n}": Memory(patched(superblocks._EXT, 1048, le32(n)))
            for n in (0, 1, 5, 6, 7)
        },
        **{
            f"ext, {flags:x}": Memory(
                patched(patched(superblocks._EXT, 1024 + 0x60, le32(flags)), 1024 + 0x150, le32(1))
            )
            for flags in (0x42, 0x80, 0xC2)
        },
        **{
            f"XFS, blocks of {n}": Memory(superblocks._xfs()).also(4, struct.pack(">I", n))
            for n in (511, 512, 4095, 65536, 65537)
        },
        **{
            f"NTFS, sectors of {n}": Memory(superblocks._ntfs()).also(11, struct.pack("<H", n))
            for n in (256, 512, 1024, 2048, 4096, 8192)
        },
        **{
            f"NTFS, clusters of {n}": Memory(superblocks._ntfs()).also(13, bytes([n]))
            for n in (0, 1, 2, 127, 128, 129, 0xF4, 0xFF)
        },
        "NTFS, clusters of 64 KiB": _far_mft(),
        **{
            f"NTFS, a record of {n} bytes": _recorded(n)
            for n in (128, 256, 512, 4096, 65536, 131072)
        },
        **{f"XFS of {n} bytes": Memory(superblocks._xfs()[:n]) for n in (100, 124, 125, 511)},
        **{
            f"RAID in {n} bytes": Memory(at(n, ((n & ~0xFFFF) - 0x10000, le32(0xA92B4EFC))))
            for n in (128 * KIB, 128 * KIB + 512, 192 * KIB - 512)
        },
        **{
            f"NTFS, records of {n}": Memory(superblocks._ntfs()).also(64, bytes([n & 0xFF]))
            for n in (0, 1, 2, 128, 129, -7, -8, -9, -11, -16, -17, -127)
        },
        **{
            f"swap of {page}, version {v}": Memory(
                at(200 * KIB, (1024, struct.pack("<II", v, 3)), (page - 10, b"SWAPSPACE2"))
            )
            for page in (4096, 8192, 16384, 32768, 65536)
            for v in (1, 2)
        },
        **{
            f"FAT, sectors of {n}": Memory(superblocks._FAT16).also(11, struct.pack("<H", n))
            for n in (256, 512, 1024, 2048, 4096, 8192)
        },
        **{
            f"FAT, clusters of {n}": Memory(superblocks._FAT16).also(13, bytes([n]))
            for n in (0, 1, 2, 3, 128, 129)
        },
        **{
            f"FAT, jump {n:x}": Memory(superblocks._FAT16).also(0, bytes([n]))
            for n in (0xE8, 0xE9, 0xEA, 0xEB, 0xEC)
        },
        **{
            f"FAT, {n} copies": Memory(superblocks._FAT16).also(16, bytes([n]))
            for n in (0, 1, 2, 3)
        },
        **{
            f"FAT, medium {n:x}": Memory(superblocks._FAT16).also(21, bytes([n]))
            for n in (0xEF, 0xF0, 0xFF)
        },
        **{
            f"FAT of {n} sectors": Memory(superblocks._FAT16)
            .also(32, le32(n))
            .also(514, b"\xff\x7f")
            for n in (4150, 4151, 4149, 4148, 4147)
        },
        **{
            f"RAID at {n}": Memory(at(256 * KIB, (n, le32(0xA92B4EFC))))
            for n in (0, 512, 4096, 192 * KIB, 248 * KIB, 247 * KIB)
        },
        **{
            f"{n} rings": Memory(
                at(256 * KIB, *((128 * KIB + i * 1024, le64(0x00BAB10C)) for i in range(n)))
            )
            for n in (3, 4, 5)
        },
        **{
            f"LVM's label at {n}": Memory(at(8192, (n, b"LABELONE"), (n + 24, b"LVM2 001")))
            for n in (0, 512, 1024, 1536, 2048)
        },
    }


def _recorded(size: int) -> Memory:
    """An NTFS whose records have so many bytes, as the logarithm or in clusters says."""
    whole = superblocks._ntfs()
    record = whole[superblocks._RECORD : superblocks._RECORD + min(size, 256)]
    exponent = bytes([(1 - size.bit_length()) & 0xFF])
    image = patched(whole[:512], 64, exponent).ljust(8 * 512 + 4 * size, b"\0")
    return Memory(patched(image, 8 * 512 + 3 * size, record))


def _far_mft() -> Memory:
    """Clusters of 128 sectors, and so the MFT at 512 KiB."""
    whole = superblocks._ntfs()
    record = whole[superblocks._RECORD : superblocks._RECORD + 1024]
    image = whole[:512].ljust(520 * KIB, b"\0")
    return Memory(patched(patched(image, 515 * KIB, record), 13, bytes([128])))


def handmade_swap() -> bytes:
    """A swap area of three pages."""
    return at(16 * KIB, (1024, struct.pack("<II", 1, 2)), (4086, b"SWAPSPACE2"))


def fats() -> Cases:
    """Labels in root directories."""
    label = b"NEW LABEL  \x08".ljust(32, b"\0")
    long, gone, folder = b"a" * 11 + b"\x0f", b"\xe5LD LABEL  \x08", b"FOLDER     \x10"
    root = 65 * 512

    def directory(*entries: bytes) -> Memory:
        return Memory(superblocks._FAT16).also(root, b"".join(e.ljust(32, b"\0") for e in entries))

    fat32 = bytearray(300 * KIB)
    fat32[: len(superblocks._FAT32)] = superblocks._FAT32
    struct.pack_into("<I", fat32, 36, 4)
    struct.pack_into("<I", fat32, 44, 2)
    data = (32 + 2 * 4) * 512
    wide = Memory(bytes(fat32))

    def chained(length: int, end: bytes = label) -> Memory:
        """The label in the last of so many clusters, the others full of files."""
        found = wide
        for number in range(length):
            onward = number + 3 if number + 1 < length else 0x0FFFFFFF
            found = found.also(32 * 512 + 4 * (number + 2), le32(onward | 0xF0000000))
            part = b"FILE       \x20".ljust(32, b"\0") * 16 if number + 1 < length else end
            found = found.also(data + number * 512, part)
        return found

    return {
        "first": directory(label),
        "behind others": directory(long, gone, folder, label),
        "behind the end": directory(b"", label),
        "none": directory(folder),
        "E5": directory(b"\x05BC        \x08"),
        **{
            f"attributes {n:x}": directory(b"SOME LABEL " + bytes([n]))
            for n in (0x00, 0x07, 0x08, 0x09, 0x0F, 0x18, 0x28, 0x2F, 0x3F, 0x48, 0x4F)
        },
        **{
            f"a cluster at {n}": directory(label).also(root + n, b"\1")
            for n in (19, 20, 21, 22, 25, 26, 27, 28)
        },
        **{
            f"in entry {n}": Memory(superblocks._FAT16).also(
                root, b"FILE       \x20".ljust(32, b"\0") * n + label
            )
            for n in (15, 16)
        },
        **{f"in {n} clusters": chained(n) for n in (1, 2, 99, 100, 101)},
        **{f"root at {n}": chained(3).also(44, le32(n)) for n in (0, 1, 2, 3, 4, 5, 511, 512)},
    }


def groups() -> Cases:
    """LVM's metadata."""
    text = superblocks._TEXT

    def written(was: str, becomes: str) -> Reader:
        return Memory(superblocks._lvm(text.replace(was.encode(), becomes.encode())))

    return {
        "sound": Memory(superblocks._lvm()),
        **{f"a name of {n}": written("group {", "g" * n + " {") for n in (1, 127, 128, 129)},
        **{f"a volume's name of {n}": written("root {", "r" * n + " {") for n in (128, 129)},
        **{f"label at {n}": _moved(n) for n in (0, 512, 1024, 1536, 2048)},
        **{
            f"header at {n}": Memory(superblocks._lvm()).also(512 + 20, le32(n))
            for n in (0, 31, 33, 400, 472, 473, 512, 513)
        },
        **{f"begins at {n}": Memory(superblocks._lvm(begin=n)) for n in (512, 513, 8191)},
        **{
            f"an area of {n}": Memory(superblocks._lvm()).also(544 + 40 + 32 + 8, le64(n))
            for n in (512, 513, 1500, 8192)
        },
        **{
            f"a number of {n} digits": written(
                "extent_size = 8", "x = " + "1" * n + " extent_size = 8"
            )
            for n in (20, 21)
        },
        **{
            f"{word} missing": written(word, "x")
            for word in (
                "extent_size",
                "physical_volumes",
                "logical_volumes",
                "start_extent",
                "extent_count",
                "status",
                "stripes",
                "type",
            )
        },
        **{
            f"a bare {word}": written('id = "x"', f"id = {word}")
            for word in ("word", "Word", "^", "]")
        },
        "a comment": written('id = "x"', '# id = "\n id = "x"'),
        "an empty list": written('["READ", "VISIBLE"]', "[]"),
        "a list that does not end": written('["READ", "VISIBLE"]', '["READ"'),
        "closed too early": written('id = "x"', "}"),
        "start twice": written("start_extent = 3", "start_extent = 2"),
        "negative": written("extent_count = 4", "extent_count = -4"),
        "no group": Memory(superblocks._lvm(b"x = 1")),
        "nothing": Memory(superblocks._lvm(b" ")),
    }


def _moved(sector: int) -> Reader:
    image = superblocks._lvm()
    return Memory(patched(patched(image, 512, bytes(512)), sector, image[512:1024]))


def tell_log(reader: Reader) -> Mapping[str, Any]:
    """The state of a log that is all of the reader."""
    ring = xfs_log._Ring(reader.read, 0, reader.size // 512, (superblocks._ID,))
    return {"end": ring.end(), "head": ring._head(), "cycle": [ring.cycle(n) for n in (0, 1)]}


def logs() -> Cases:
    """XFS logs whose last record is of every length, and in every place."""
    old, new = (struct.pack(">I", n).ljust(512, b"\0") for n in (4, 5))

    def record(
        *,
        version: int = 2,
        length: int = 512,
        size: int = 32768,
        operations: int = 1,
        blocks: int = 1,
        place: int = 2,
        flags: int = 0x20,
    ) -> bytes:
        head = bytearray(superblocks._log_record(5, place, flags)[:512])
        struct.pack_into(">II", head, 8, version, length)
        struct.pack_into(">I", head, 40, operations)
        struct.pack_into(">I", head, 320, size)
        more = max(1, -(-size // 32768)) - 1 if version & 2 else 0
        operation = superblocks._log_record(5, place, flags)[512:]
        return bytes(head) + new * more + operation + new * (blocks - 1)

    def log(last: bytes, before: int = 2, after: int = 12) -> Reader:
        return Memory(new * before + last + old * after)

    return {
        "sound": log(record()),
        **{f"version {n}": log(record(version=n)) for n in (0, 1, 2, 3)},
        **{f"{n} bytes": log(record(length=n)) for n in (0, 1, 511, 512, 513)},
        **{
            f"{n} bytes, two blocks": log(record(length=n, blocks=2))
            for n in (512, 513, 1024, 1025)
        },
        **{f"buffers of {n}": log(record(size=n)) for n in (0, 1, 32768, 32769, 65536, 65537)},
        **{f"{n} operations": log(record(operations=n)) for n in (0, 1, 2)},
        **{f"flags {n:x}": log(record(flags=n)) for n in (0x10, 0x20, 0x21, 0x40)},
        **{f"at {n}": log(record(place=n)) for n in (1, 3)},
        "over the ring's end": Memory(record(place=14)[512:] + old * 13 + record(place=14)[:512]),
        "no record": Memory(new * 3 + old * 5),
        **{
            f"a record of {n} blocks": log(record(size=1 << 18, length=512 * n, blocks=n))
            for n in (511, 512, 513)
        },
        **{f"{n} blocks": log(record(), 0, n) for n in (0, 1, 2)},
    }


def tell_replay(reader: Reader) -> Mapping[str, Any]:
    """Whether an NTFS' log has something to replay, by its record in the MFT."""
    record = reader.read(made_volumes.NTFS_MFT * 512 + 2048, 1024)
    return {"clean": ntfs_log.clean(record, 512, reader.read)}


def replays() -> Cases:
    """Logs of NTFS, and records that tell where they are."""
    whole = made_volumes.ntfs()
    log, record = made_volumes.NTFS_LOG * 512, made_volumes.NTFS_MFT * 512 + 2048
    data = record + whole[record : record + 1024].index(struct.pack("<I", 0x80), 56)

    def page(
        clients: int,
        flags: int,
        *,
        lsn: int = 0,
        size: int = 1024,
        area: int = 48,
        mark: bytes = b"RSTR",
    ) -> bytes:
        head = (mark + struct.pack("<HHQIIH", 30, 9, 0, size, size, area)).ljust(area, b"\0")
        return (head + struct.pack("<QHHHH", lsn, 1, 0xFFFF, clients, flags)).ljust(size, b"\0")[
            :size
        ]

    def logged(*pages: bytes) -> Memory:
        return Memory(whole).also(log, b"".join(pages))

    closed, open_ = page(0xFFFF, 0), page(0, 0)
    return {
        "empty": Memory(whole),
        "closed": logged(closed, closed),
        "open": logged(open_, open_),
        **{f"flags {n}": logged(page(0, n), page(0, n)) for n in (1, 2, 3, 4)},
        **{f"clients {n:x}": logged(page(n, 0), page(n, 0)) for n in (1, 0xFFFE)},
        **{
            f"first {a}, second {b}": logged(page(0xFFFF, 0, lsn=a), page(0, 0, lsn=b))
            for a, b in ((1, 0), (0, 1), (1, 1), (256, 255))
        },
        **{
            f"pages of {n}": logged(page(0, 0, size=n), page(0xFFFF, 0, lsn=1, size=n))
            for n in (511, 512, 513, 2048, 4096)
        },
        **{
            f"a page that says {n}": logged(
                page(0, 0).replace(struct.pack("<I", 1024), struct.pack("<I", n))
            )
            for n in (0, 511, 1 << 16, (1 << 16) + 1)
        },
        **{
            f"area at {n}": logged(page(0xFFFF, 0, area=n), page(0xFFFF, 0, area=n))
            for n in (29, 30, 494, 495)
        },
        **{
            f"mark {mark!r}": logged(page(0xFFFF, 0, mark=mark), page(0xFFFF, 0, mark=mark))
            for mark in (b"CHKD", b"RCRD", b"\xff\xff\xff\0")
        },
        "only the second": logged(page(0xFFFF, 0, mark=b"BAAD"), closed),
        **{
            f"a record's {name}": Memory(whole).also(data + at, new)
            for name, at, new in (
                ("end", 0, b"\xff" * 4),
                ("other kind", 0, b"\x90"),
                ("resident", 8, b"\0"),
                ("length of 23", 4, le32(23)),
                ("length of 24", 4, le32(24)),
                ("hole", 64, b"\x01"),
                ("wide step", 64, b"\x31"),
                ("no run", 64, b"\0"),
                ("runs behind the end", 32, b"\xff\x7f"),
            )
        },
        "no record": Memory(whole).also(record, b"BAAD"),
        **{
            f"attributes from {n}": Memory(whole).also(record + 20, struct.pack("<H", n))
            for n in (0, 960, 961)
        },
    }


def tell_cells(reader: Reader) -> Mapping[str, Any]:
    """A disk as long as the reader, of which every third KiB is data."""
    size = reader.size
    pieces = [
        Extent(n, min(1024, size - n), "zero" if n // 1024 % 3 else "data")
        for n in range(0, size, 1024)
    ]
    return allocation.of(pieces, size)


def cells() -> Cases:
    """Disks of sizes around the number of cells."""
    return {
        f"{n} bytes": Memory(bytes(n))
        for n in (0, 1, 255, 256, 257, 511, 512, 513, 5000, 262144, 262145)
    }


GROUPS: dict[str, tuple[Callable[[], Cases], Callable[[Any], Mapping[str, Any]]]] = {
    "edge-types": (types, tell_disk),
    "edge-tables": (tables, tell_disk),
    "edge-many": (many, tell_many),
    "edge-places": (places, tell_disk),
    "edge-fats": (fats, tell_disk),
    "edge-groups": (groups, tell_group),
    "edge-logs": (logs, tell_log),
    "edge-replays": (replays, tell_replay),
    "edge-cells": (cells, tell_cells),
}
STRUCTURES = tuple(GROUPS)


def compare(name: str) -> None:
    """One group with the table that is stored."""
    make, tell = GROUPS[name]
    every_field.check(HERE / "said", name, every_field.cases(make(), tell))


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said_on_both_sides_of_every_limit(name: str) -> None:
    compare(name)


@pytest.mark.parametrize("count", [0, 1, 19_999, 20_000])
def test_as_many_pieces_as_an_allocation_may_have(count: int) -> None:
    pieces = [Extent(2 * n, 1, "data") for n in range(count)]

    assert sum(allocation.of(pieces, 256)["data"]) > 0 or count == 0
    with pytest.raises(allocation.TooScattered, match="more than 20000 pieces"):
        allocation.of([Extent(0, 1, "data")] * 20_001, 256)


def test_a_label_s_first_byte_may_stand_for_another() -> None:
    for first, becomes in ((0x04, b"\x04"), (0x05, b"\xe5"), (0x06, b"\x06")):
        entry = bytes([first]) + b"BC        \x08"
        image = Memory(superblocks._FAT16).also(65 * 512, entry)

        assert fat_label.root_label(image.read(0, 512), image.read) == becomes + b"BC        "


def test_volumes_tell_all_of_themselves() -> None:
    found = lvm.parse(Memory(superblocks._lvm()), 0)

    assert found is not None
    assert [asdict(item)["name"] for item in found.logical_volumes] == ["root", "data", "away"]
