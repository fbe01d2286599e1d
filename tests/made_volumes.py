"""Small file systems written field by field, each with files, metadata and free space that is known.

Each builder follows the specification named in the reader's own module, not the reader's code; none needs
a tool.  Free is what no builder has put anything into.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import google_crc32c
from handmade import Memory

KIB = 1 << 10
UUID = bytes(range(1, 17))

Mend = Callable[[Memory], Memory]


def raw_crc32c(data: bytes, state: int = 0xFFFFFFFF) -> int:
    """As ext4 keeps it: neither begun nor ended by an inversion."""
    found: int = google_crc32c.extend(state ^ 0xFFFFFFFF, data)
    return found ^ 0xFFFFFFFF


def raw_crc32(data: bytes, state: int = 0xF597A6CF) -> int:
    """As LVM keeps it: neither begun nor ended by an inversion."""
    return zlib.crc32(data, state ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def bits(numbers: Iterable[int], size: int) -> bytes:
    """A bitmap in which these bits are set, the lowest first."""
    whole = 0
    for number in numbers:
        whole |= 1 << number
    return whole.to_bytes(size, "little")


# ---------------------------------------------------------------------------------------------- ext

PLAIN, UNINIT, SUMMED = 0x1, 0x1 | 0x10, 0x1 | 0x400  # read-only compatible features
EXT_BLOCKS, EXT_GROUP = 169, 64  # blocks of 1 KiB in groups of 64, the last of 40
_TABLE = 2  # blocks of 16 inodes of 128 bytes
_BASES = ((1, 2), (65, 66), ())  # superblock and descriptors; sparse_super: none in group 2
_STARTS = (3, 67, 129)  # where the bitmaps begin, then the inode table
EXT_SUPER, EXT_DESCRIPTORS = 1024, 2048


def ext_inode(mode: int, body: bytes, *, flags: int = 0, size: int = 5000, acl: int = 0) -> bytes:
    """One inode of 128 bytes."""
    head = struct.pack("<HHIIIIIHHII", mode, 0, size, 0, 0, 0, 0, 0, 1, 8, flags).ljust(40, b"\0")
    return (head + body.ljust(60, b"\0")).ljust(0x68, b"\0") + struct.pack("<I", acl) + bytes(20)


def _extents(*runs: tuple[int, int], depth: int = 0, most: int = 4) -> bytes:
    head = struct.pack("<4HI", 0xF30A, len(runs), most, depth, 0)
    if depth:
        return head + b"".join(struct.pack("<IIHH", 0, child, 0, 0) for child, _ in runs)
    return head + b"".join(struct.pack("<IHHI", 0, count, 0, first) for first, count in runs)


def _pointers(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers).ljust(KIB, b"\0")


def _ext_files() -> tuple[dict[int, bytes], dict[int, bytes], set[int]]:
    """Inodes by number, blocks by number, and all blocks that they take."""
    blocks = {
        20: _pointers(21, 22, 23),  # once indirect
        24: _pointers(25),  # twice
        25: _pointers(26, 0, 28),
        30: _pointers(31),  # three times
        31: _pointers(32),
        32: _pointers(33),
        80: _extents((90, 2), (95, 0x8001), most=84),  # the second is not written yet
    }
    numbers = (10, 11, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 20, 24, 30)
    inodes = {
        2: ext_inode(0o40755, _pointers(9)[:60]),
        12: ext_inode(0o100644, struct.pack("<15I", *numbers), acl=14),
        13: ext_inode(0o120777, b"/etc/motd", size=9),  # a link's target lies in the inode
        14: ext_inode(0o100644, b"inline", flags=0x10000000),
        17: ext_inode(0o100644, _extents((140, 3), (150, 1)), flags=0x80000),
        18: ext_inode(0o100644, _extents((80, 1), depth=1), flags=0x80000),
        19: ext_inode(0o20644, struct.pack("<15I", *[5] * 15)),  # a device has numbers, no blocks
        20: ext_inode(0o120777, _pointers(100)[:60], size=60),
    }
    used = {9, 10, 11, 12, 14, *range(20, 27), 28, *range(30, 34)}
    used |= {80, 90, 91, 95, 100, 140, 141, 142, 150}
    return inodes, blocks, used


def ext(features: int = PLAIN) -> bytes:
    """Three groups; without initialised bitmaps where ``features`` are ``UNINIT``."""
    inodes, blocks, used = _ext_files()
    if features == UNINIT:  # nothing of group 2: no bitmap of blocks, no inodes behind the fourth
        inodes[17] = ext_inode(0o100644, _extents((70 + 3, 2)), flags=0x80000)
        used -= {140, 141, 142, 150}
        used |= {73, 74}
    for base, start in zip(_BASES, _STARTS, strict=True):
        used |= {*base, *range(start, start + 2 + _TABLE)}
    image = bytearray(EXT_BLOCKS * KIB)
    wide = 64 if features == SUMMED else 32
    free = 0
    for group, start in enumerate(_STARTS):
        first = 1 + group * EXT_GROUP
        last = min(first + EXT_GROUP, EXT_BLOCKS)
        held = [n - first for n in range(first, last) if n in used]
        count = last - first - len(held)
        free += count
        numbers = [n - 1 - 16 * group for n in inodes if (n - 1) // 16 == group]
        padding = [*range(last - first, 8 * KIB)]
        flags = 3 if features == UNINIT and group == 2 else 0
        if not flags:
            image[start * KIB : (start + 1) * KIB] = bits([*held, *padding], KIB)
            image[(start + 1) * KIB : (start + 2) * KIB] = bits(numbers, KIB)
        unused = 8 if features != PLAIN and group == 1 else 0
        told = struct.pack("<IIIHHHH", start, start + 1, start + 2, count, 9, 1, flags)
        told = told.ljust(0x1C, b"\0") + struct.pack("<HH", unused, 0)
        at = EXT_DESCRIPTORS + group * wide
        image[at : at + wide] = told.ljust(wide, b"\0")
        for number in numbers:
            place = (start + 2) * KIB + number * 128
            image[place : place + 128] = inodes[number + 1 + 16 * group]
    for number, data in blocks.items():
        image[number * KIB : number * KIB + len(data)] = data
    head = struct.pack("<IIIIIIIIIII", 48, EXT_BLOCKS, 0, free, 9, 1, 0, 0, 64, 64, 16)
    head = head.ljust(0x38, b"\0") + struct.pack("<HH", 0xEF53, 1)
    incompatible = 0x2 | (0x80 if wide == 64 else 0)
    head = head.ljust(0x4C, b"\0") + struct.pack("<I", 1)  # revision
    head = head.ljust(0x58, b"\0") + struct.pack("<HHIII", 128, 0, 0, incompatible, features)
    head = head + UUID
    head = head.ljust(0xFE, b"\0") + struct.pack("<H", wide)
    head = head.ljust(0x175, b"\0") + b"\1"
    image[1024 : 1024 + len(head)] = head
    return ext_mend(features)(Memory(bytes(image))).read(0, len(image))


def ext_mend(features: int) -> Mend:
    """Makes all checksums right again, whatever was changed."""

    def uninit(changed: Memory) -> Memory:
        uuid = changed.read(EXT_SUPER + 0x68, 16)
        for group in range(3):
            at = EXT_DESCRIPTORS + 32 * group
            told = struct.pack("<I", group) + changed.read(at, 0x1E)
            changed = changed.also(at + 0x1E, struct.pack("<H", crc16(uuid + told)))
        return changed

    def summed(changed: Memory) -> Memory:
        seed = raw_crc32c(changed.read(EXT_SUPER + 0x68, 16))
        for group in range(3):
            at = EXT_DESCRIPTORS + 64 * group
            (place,) = struct.unpack("<I", changed.read(at, 4))
            total = raw_crc32c(changed.read(place * KIB, EXT_GROUP // 8), seed)
            low, high = total & 0xFFFF, total >> 16
            changed = changed.also(at + 0x18, struct.pack("<H", low))
            changed = changed.also(at + 0x38, struct.pack("<H", high)).also(at + 0x1E, b"\0\0")
            told = struct.pack("<I", group) + changed.read(at, 64)
            total = raw_crc32c(told, seed) & 0xFFFF
            changed = changed.also(at + 0x1E, struct.pack("<H", total))
        total = raw_crc32c(changed.read(EXT_SUPER, 0x3FC))
        return changed.also(EXT_SUPER + 0x3FC, struct.pack("<I", total))

    return {PLAIN: lambda changed: changed, UNINIT: uninit, SUMMED: summed}[features]


def crc16(data: bytes, state: int = 0xFFFF) -> int:
    """CRC-16 with the polynomial 8005h, reflected."""
    for value in data:
        state ^= value
        for _ in range(8):
            state = state >> 1 ^ (0xA001 if state & 1 else 0)
    return state


@dataclass(frozen=True)
class Layout:
    """Where an empty ext file system keeps its metadata: what tells one way of it from another."""

    groups: int = 40
    block: int = KIB
    per_group: int = 64  # blocks
    last: int = 40  # blocks of the last group
    ratio: int = 1  # blocks a cluster
    sparse: bool = True
    backups: tuple[int, int] | None = None  # of sparse_super2
    reserved: int = 0
    meta_from: int | None = None  # the first group of blocks of descriptors that is a meta group
    descriptor: int = 32

    @property
    def first(self) -> int:
        """The first block of group 0."""
        return int(self.block == KIB and self.ratio == 1)

    @property
    def blocks(self) -> int:
        """Blocks in all."""
        return self.first + self.per_group * (self.groups - 1) + self.last

    @property
    def per_block(self) -> int:
        """Descriptors a block."""
        return self.block // self.descriptor

    def copied(self, group: int) -> bool:
        """Whether a group has a superblock."""
        if self.backups is not None:
            return group in (0, *self.backups)
        powers = {base**n for base in (3, 5, 7) for n in range(1, 8)}
        return not self.sparse or group in {0, 1, *powers}

    def descriptors(self, group: int) -> list[int]:
        """The blocks of descriptors that stand in a group, by their number."""
        meta = group // self.per_block
        if self.meta_from is not None and meta >= self.meta_from:
            place = group % self.per_block
            return [meta] if place in (0, 1, self.per_block - 1) else []
        every = -(-self.groups // self.per_block)
        count = every if self.meta_from is None else self.meta_from
        return [*range(count + self.reserved)] if self.copied(group) else []


def ext_empty(layout: Layout) -> bytes:
    """An ext file system without files: bitmaps and a table of 8 inodes behind each group's base."""
    size, per_group = layout.block, layout.per_group
    image = bytearray(layout.blocks * size)
    told: list[bytes] = []
    free = 0
    for group in range(layout.groups):
        start = layout.first + group * per_group
        count = layout.last if group == layout.groups - 1 else per_group
        at = start + (KIB // size - layout.first if group == 0 else 0)
        at += layout.copied(group) + len(layout.descriptors(group))
        clusters = -(-count // layout.ratio)
        used = -(-(at + 3 - start) // layout.ratio)
        free += clusters - used
        padding = [*range(clusters, 8 * size)]
        image[at * size : (at + 1) * size] = bits([*range(used), *padding], size)
        told.append(
            struct.pack("<IIIHH", at, at + 1, at + 2, clusters - used, 8).ljust(
                layout.descriptor, b"\0"
            )
        )
    for group in range(layout.groups):
        start = layout.first + group * per_group
        at = start + (KIB // size - layout.first if group == 0 else 0) + layout.copied(group)
        for index, number in enumerate(layout.descriptors(group)):
            part = b"".join(told[number * layout.per_block : (number + 1) * layout.per_block])
            image[(at + index) * size : (at + index) * size + len(part)] = part
    shift = size.bit_length() - 11
    head = struct.pack(
        "<11I", 8 * layout.groups, layout.blocks, 0, free * layout.ratio, 0, layout.first, shift,
        shift + layout.ratio.bit_length() - 1, per_group, per_group // layout.ratio, 8,
    )  # fmt: skip
    head = head.ljust(0x38, b"\0") + struct.pack("<HH", 0xEF53, 1)
    features = (
        0x200 if layout.backups is not None else 0,
        2 | (0x10 if layout.meta_from is not None else 0) | (0x80 if layout.descriptor > 32 else 0),
        (1 if layout.sparse else 0) | (0x200 if layout.ratio > 1 else 0),
    )
    head = head.ljust(0x4C, b"\0") + struct.pack("<I", 1)
    head = head.ljust(0x58, b"\0") + struct.pack("<HHIII", 128, 0, *features) + UUID
    head = head.ljust(0xCE, b"\0") + struct.pack("<H", layout.reserved)
    head = head.ljust(0xFE, b"\0") + struct.pack("<H", layout.descriptor)
    head = head.ljust(0x104, b"\0") + struct.pack("<I", layout.meta_from or 0)
    head = head.ljust(0x24C, b"\0") + struct.pack("<2I", *(layout.backups or (0, 0)))
    image[1024 : 1024 + len(head)] = head
    return bytes(image)


# ---------------------------------------------------------------------------------------------- FAT


def fat_entry(name: bytes, attributes: int, cluster: int) -> bytes:
    """An entry of a directory."""
    head = struct.pack("<11sB14sH", name.ljust(11), attributes, b"", cluster & 0xFFFF)
    return head + struct.pack("<I", 100)


def _fat_table(width: int, medium: int, entries: dict[int, int], size: int) -> bytes:
    ones = (1 << width) - 1 if width < 32 else 0x0FFFFFFF
    every = {0: ones & ~0xFF | medium, 1: ones, **entries}
    whole = 0
    for number, value in every.items():
        whole |= value << number * width
    return whole.to_bytes(size, "little")


def fat(width: int) -> bytes:
    """Clusters of 512 bytes; files at 2 and 9, directories at 3, 5 and 6."""
    wide = width == 32
    reserved, root = (8, 0) if wide else (1, 16)
    clusters = {12: 60, 16: 4100, 32: 300}[width]
    table = -(-(clusters + 2) * width // 8 // 512)
    data = reserved + 2 * table + root * 32 // 512
    total = data + clusters
    end = (1 << min(width, 28)) - 1
    chain = {2: 4, 3: end, 4: end, 5: end, 6: end, 9: 10, 10: end, clusters + 1: end}
    if wide:
        chain[2] = end  # the root directory
    entries = _fat_table(width, 0xF8, chain, table * 512)
    boot = b"\xeb\x3c\x90mkfs.fat" + struct.pack(
        "<HBHBHHBH", 512, 1, reserved, 2, root, total if not wide else 0, 0xF8, 0 if wide else table
    )
    boot = boot.ljust(32, b"\0") + struct.pack("<I", total if wide else 0)
    if wide:
        boot += struct.pack("<IHHIHH", table, 0, 0, 2, 1, 6).ljust(28, b"\0")
    boot += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0x12345678, b"LABEL", b"FAT%d   " % width)
    boot = boot.ljust(510, b"\0") + b"\x55\xaa"
    image = bytearray(total * 512)
    free = clusters - len(chain)
    told = (b"RRaA".ljust(484, b"\0") + b"rrAa" + struct.pack("<I", free)).ljust(510, b"\0")
    for at, part in (
        (0, boot),
        *(((512, told + b"\x55\xaa"), (6 * 512, boot)) if wide else ()),
        (reserved * 512, entries),
        ((reserved + table) * 512, entries),
        *((data * 512 + (number - 2) * 512, part) for number, part in _fat_directories(wide)),
        *(() if wide else (((reserved + 2 * table) * 512, _fat_root()),)),
    ):
        image[at : at + len(part)] = part
    return bytes(image)


def _fat_root() -> bytes:
    return (
        fat_entry(b"LABEL", 0x08, 0)
        + fat_entry(b"\xe5LD", 0x10, 50)
        + fat_entry(b"SUB", 0x10, 3)
        + fat_entry(b"FILE", 0x20, 9)
        + fat_entry(b"OTHER", 0x10, 5)
    )


def _fat_directories(wide: bool) -> Iterable[tuple[int, bytes]]:
    dots = [
        (number, fat_entry(b".", 0x10, number) + fat_entry(b"..", 0x10, 0)) for number in (3, 5, 6)
    ]
    yield from (
        (number, part + (fat_entry(b"DEEP", 0x10, 6) if number == 3 else b""))
        for number, part in dots
    )
    if wide:
        yield 2, _fat_root()


# --------------------------------------------------------------------------------------------- NTFS

NTFS_CLUSTERS, NTFS_MFT, NTFS_MIRROR, NTFS_BITMAP, NTFS_LOG = 200, 8, 40, 30, 56
NTFS_RECORDS = 9  # the last one extends the eighth


def runs(*pieces: tuple[int | None, int]) -> bytes:
    """Runs of clusters, as NTFS packs them; None: a hole."""
    found, last = b"", 0
    for first, count in pieces:
        if first is None:
            found += bytes([0x01, count])
            continue
        found += bytes([0x21, count]) + (first - last).to_bytes(2, "little", signed=True)
        last = first
    return found + b"\0"


def resident(kind: int, value: bytes) -> bytes:
    """An attribute that lies in its record."""
    body = value + bytes(-len(value) % 8)
    head = struct.pack("<IIBBHHHIHH", kind, 24 + len(body), 0, 0, 24, 0, 0, len(value), 24, 0)
    return head + body


def in_runs(
    kind: int, pieces: tuple[tuple[int | None, int], ...], size: int, *, lowest: int = 0
) -> bytes:
    """An attribute that lies in clusters."""
    count = sum(length for _, length in pieces)
    packed = runs(*pieces)
    head = struct.pack("<BBHHHqqHHI", 1, 0, 64, 0, 0, lowest, lowest + count - 1, 64, 0, 0)
    body = head + struct.pack("<QQQ", count * 512, size, size) + packed
    length = -(-(8 + len(body)) // 8) * 8
    return struct.pack("<II", kind, length) + body.ljust(length - 8, b"\0")


def record(number: int, *attributes: bytes, base: int = 0, flags: int = 1) -> bytes:
    """A record of the MFT with its fixups."""
    body = b"".join(attributes) + b"\xff\xff\xff\xff" + bytes(4)
    head = struct.pack(
        "<4sHHQHHHHIIQHHI",
        b"FILE",
        48,
        3,
        0,
        1,
        1,
        56,
        flags,
        56 + len(body),
        1024,
        base,
        9,
        0,
        number,
    )
    raw = bytearray((head.ljust(56, b"\0") + body).ljust(1024, b"\0"))
    return fixed_up(bytes(raw))


def fixed_up(raw: bytes) -> bytes:
    """With the number of its writing at the end of each sector, and what stood there in the array."""
    data = bytearray(raw)
    data[48:50] = b"\x05\0"
    for index in (1, 2):
        end = index * 512
        data[48 + 2 * index : 50 + 2 * index] = data[end - 2 : end]
        data[end - 2 : end] = b"\x05\0"
    return bytes(data)


def name(text: str, parent: int = 5) -> bytes:
    """A $FILE_NAME."""
    head = struct.pack("<Q56xBB", parent | 5 << 48, len(text), 3)
    return resident(0x30, head + text.encode("utf-16-le"))


def ntfs(*, apart: bool = False) -> bytes:
    """Clusters of 512 bytes, records of 1 KiB; a file in pieces, one in two records, hiberfil.sys.

    ``apart``: other records tell the last runs of the MFT and of the bitmap, which is of 600 bytes.
    """
    used = {0, *range(8, 8 + 2 * NTFS_RECORDS), 30, *range(40, 48), *range(56, 64)}
    used |= {70, 71, 75, *range(100, 109), 120, 121, 130}
    state = resident(0x70, bytes(8) + b"\3\1\0\0")
    parts = [
        record(0, name("$MFT"), in_runs(0x80, ((8, 2 * NTFS_RECORDS),), NTFS_RECORDS * 1024)),
        record(1, name("$MFTMirr"), in_runs(0x80, ((40, 8),), 4096)),
        record(2, name("$LogFile"), in_runs(0x80, ((56, 8),), 4096)),
        record(3, name("$Volume"), state),
        record(4, name("file"), in_runs(0x80, ((75, 1), (None, 3), (70, 2)), 3000)),
        record(5, name("."), resident(0x80, b"here")),
        record(6, name("$Bitmap"), in_runs(0x80, ((30, 1),), 25)),
        record(7, name("hiberfil.sys"), in_runs(0x80, ((100, 9),), 4608)),
        record(8, in_runs(0x80, ((120, 2), (130, 1)), 0, lowest=9), base=7 | 1 << 48),
    ]
    if apart:
        used.add(31)
        size = NTFS_RECORDS * 1024
        parts[0] = record(0, name("$MFT"), in_runs(0x80, ((8, 2 * NTFS_RECORDS - 2),), size))
        parts[4] = record(4, in_runs(0x80, ((22 + 2, 2),), 0, lowest=16), base=1 << 48)
        parts[5] = record(5, in_runs(0x80, ((31, 1),), 0, lowest=1), base=6 | 1 << 48)
        parts[6] = record(6, name("$Bitmap"), in_runs(0x80, ((30, 1),), 600))
        used -= {70, 71, 75}
    image = bytearray(NTFS_CLUSTERS * 512)
    boot = b"\xeb\x52\x90NTFS    " + struct.pack("<HB", 512, 1)
    boot = boot.ljust(40, b"\0") + struct.pack("<QQQ", NTFS_CLUSTERS, NTFS_MFT, NTFS_MIRROR)
    boot = boot.ljust(64, b"\0") + struct.pack("<b7x8s", -10, UUID[:8])
    for at, part in (
        (0, boot.ljust(510, b"\0") + b"\x55\xaa"),
        (NTFS_MFT * 512, b"".join(parts)),
        (NTFS_MIRROR * 512, b"".join(parts[:4])),
        (NTFS_BITMAP * 512, bits([*used, *range(NTFS_CLUSTERS, 208)], 26)),
        (NTFS_LOG * 512, b"\xff" * 4096),
    ):
        image[at : at + len(part)] = part
    return bytes(image)


# ---------------------------------------------------------------------------------------------- XFS

XFS_GROUP, XFS_SECOND = 256, 200  # blocks of 4 KiB in the two groups
_XFS_LOG = 20  # block of the second group


def xfs(version: int, log: bytes) -> bytes:
    """Two groups, the first with trees of two levels; ``log``: 8 KiB, in the second one."""
    wide = version == 5
    first = [(8, 2), (20, 5), (40, 1), (50, 100), (200, 56)]
    second = [(30, 7), (60, 140)]
    image = bytearray((XFS_GROUP + XFS_SECOND) * 4096)
    free = 0
    for group, extents in ((0, first), (1, second)):
        by_size = sorted(extents, key=lambda item: (item[1], item[0]))
        levels = 2 - group
        base = group * XFS_GROUP * 4096
        trees = ((1, b"B", extents, (4, 5)), (2, b"C", by_size, (6, 7)))
        for root, kind, listed, children in trees:
            halves = [(children[0], listed[:3]), (children[1], listed[3:])] if levels == 2 else []
            if halves:
                blocks = [(root, 1, [part[0] for _, part in halves], [at for at, _ in halves])]
                blocks += [(at, 0, part, []) for at, part in halves]
            else:
                blocks = [(root, 0, listed, [])]
            for at, level, records, pointers in blocks:
                data = _xfs_block(version, kind, level, records, pointers, group, at)
                image[base + at * 4096 : base + (at + 1) * 4096] = data
        count = sum(length for _, length in extents)
        spare = [10, 11] if group == 0 else [9]
        extra = 4 if levels == 2 else 0
        free += count + len(spare) + extra
        length = XFS_GROUP if group == 0 else XFS_SECOND
        agf = struct.pack(">4sIIIIIIIII", b"XAGF", 1, group, length, 1, 2, 0, levels, levels, 0)
        agf += struct.pack(
            ">6I", 5, 5 + len(spare) - 1, len(spare), count, max(n for _, n in extents), extra
        )
        image[base + 512 : base + 1024] = (agf + (UUID if wide else b"")).ljust(512, b"\0")
        head = (b"XAFL" + struct.pack(">I", group) + UUID + bytes(12)) if wide else b""
        words = [0xFFFFFFFF] * 5 + spare
        words += [0xFFFFFFFF] * ((512 - len(head)) // 4 - len(words))
        image[base + 1536 : base + 2048] = head + struct.pack(f">{len(words)}I", *words)
    head = struct.pack(">4sIQ", b"XFSB", 4096, XFS_GROUP + XFS_SECOND).ljust(32, b"\0") + UUID
    head += struct.pack(">Q", 1 << 8 | _XFS_LOG)
    head = head.ljust(84, b"\0") + struct.pack(">IIII", XFS_GROUP, 2, 0, 2)
    head += struct.pack(">HH", 0xB4A0 | version, 512)
    head = head.ljust(120, b"\0") + bytes([12, 9, 9, 4, 8])
    head = head.ljust(144, b"\0") + struct.pack(">Q", free)
    head = head.ljust(200, b"\0") + struct.pack(">II", 0x8A, 0x8A)
    if wide:
        head += struct.pack(">III", 0, 0, 1)
    image[: len(head)] = head
    at = (XFS_GROUP + _XFS_LOG) * 4096
    image[at : at + len(log)] = log
    return xfs_mend(version)(Memory(bytes(image))).read(0, len(image))


def _xfs_block(
    version: int,
    kind: bytes,
    level: int,
    records: list[tuple[int, int]],
    children: list[int],
    group: int,
    at: int,
) -> bytes:
    magic = b"AB3" + kind if version == 5 else b"ABT" + kind
    head = struct.pack(">4sHHII", magic, level, len(records), 0xFFFFFFFF, 0xFFFFFFFF)
    if version == 5:
        place = (group * XFS_GROUP + at) * 8
        head += struct.pack(">QQ", place, 0) + UUID + struct.pack(">II", group, 0)
    body = b"".join(struct.pack(">II", *item) for item in records)
    data = head + body
    if level:
        most = (4096 - len(head)) // 12
        data = data.ljust(len(head) + 8 * most, b"\0")
        data += b"".join(struct.pack(">I", child) for child in children)
    return data.ljust(4096, b"\0")


_XFS_TREES = (*((0, at) for at in (1, 2, 4, 5, 6, 7)), (1, 1), (1, 2))


def xfs_mend(version: int) -> Mend:
    """Makes the checksums of version 5 right again."""
    places = [(0, 512, 224)]
    for group in (0, 1):
        base = group * XFS_GROUP * 4096
        places += [(base + 512, 512, 216), (base + 1536, 512, 32)]
    places += [((group * XFS_GROUP + at) * 4096, 4096, 52) for group, at in _XFS_TREES]

    def mend(changed: Memory) -> Memory:
        for at, length, field in places if version == 5 else ():
            changed = changed.also(at + field, bytes(4))
            total = google_crc32c.value(changed.read(at, length))
            changed = changed.also(at + field, struct.pack("<I", total))
        return changed

    return mend


def swap() -> bytes:
    """Four pages and a little more."""
    image = bytearray(17 * KIB)
    image[1024:1032] = struct.pack("<II", 1, 3)
    image[4086:4096] = b"SWAPSPACE2"
    return bytes(image)
