"""Small images written field by field: golden bytes for the parsers, seeds for the fuzzers.

Each builder follows the specification named in the parser's own module, not the parser's code.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass

MIB = 1 << 20
NO_PARENT = "ffffffff"


@dataclass(frozen=True)
class Memory:
    """A reader of bytes in memory, with some written over."""

    data: bytes
    patches: tuple[tuple[int, bytes], ...] = ()

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0, "a parser read before the file"
        assert length >= 0, "a parser asked for a negative length"
        found = self.data[offset : offset + length]
        for at, new in self.patches:
            low, high = max(at, offset), min(at + len(new), offset + len(found))
            if low < high:
                part = new[low - at : high - at]
                found = found[: low - offset] + part + found[high - offset :]
        return found

    def also(self, offset: int, new: bytes) -> Memory:
        """With these bytes written over, too."""
        return Memory(self.data, (*self.patches, (offset, new)))


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    """``data`` with ``new`` written over it at ``offset``."""
    assert 0 <= offset <= len(data) - len(new)
    return data[:offset] + new + data[offset + len(new) :]


def be32(value: int) -> bytes:
    return struct.pack(">I", value)


def be64(value: int) -> bytes:
    return struct.pack(">Q", value)


def le32(value: int) -> bytes:
    return struct.pack("<I", value)


def le64(value: int) -> bytes:
    return struct.pack("<Q", value)


def mbr() -> bytes:
    """One sector with a bootable Linux partition of 1 MiB at 1 MiB."""
    entry = struct.pack("<B3sB3sII", 0x80, b"\0\x02\0", 0x83, b"\0\0\0", 2048, 2048)
    return (b"\xeb\x63\x90".ljust(446, b"\0") + entry).ljust(510, b"\0") + b"\x55\xaa"


def qcow2(
    *,
    version: int = 3,
    bits: int = 12,
    size: int = MIB,
    backing: bytes = b"",
    incompatible: int = 0,
    encryption: int = 0,
    extensions: tuple[tuple[int, bytes], ...] = (),
    l2: tuple[int, ...] | None = None,
    clusters: int = 3,
    compression: int = 0,
) -> bytes:
    """Clusters: header, refcount table, refcount block, L1, L2, then data.

    ``l2``: the first L2 entries as they are; by default ``clusters`` guest clusters have data.
    """
    cluster = 1 << bits
    copied = 1 << 63
    header_length = 104 if version >= 3 and not compression else 112 if version >= 3 else 72
    entries = cluster // 8
    needed = -(-size // (cluster * entries))
    head = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        version,
        0,
        len(backing),
        bits,
        size,
        encryption,
        max(needed, 1),
        3 * cluster,
        cluster,
        1,
        0,
        0,
    )
    if version >= 3:
        head += struct.pack(">QQQII", incompatible, 0, 0, 4, header_length)
    if header_length == 112:
        head += bytes([compression]).ljust(8, b"\0")
    for kind, data in extensions:
        head += struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)
    head += bytes(8)
    if backing:
        head = head[:8] + be64(len(head)) + head[16:] + backing
    if l2 is None:
        l2 = tuple((5 + index) * cluster | copied for index in range(clusters))
    used = 5 + clusters
    parts = (
        head,
        be64(2 * cluster),
        struct.pack(">H", 1) * used,
        be64(4 * cluster | copied),
        b"".join(be64(entry) for entry in l2),
    )
    assert all(len(part) <= cluster for part in parts)
    data = b"".join(bytes([index + 1]) * cluster for index in range(clusters))
    return b"".join(part.ljust(cluster, b"\0") for part in parts) + data


DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=12345678
parentCID={parent}
createType="{kind}"

RW {sectors} {extent} "{name}"

ddb.adapterType = "ide"
"""


def vmdk_descriptor(
    *,
    kind: str = "monolithicSparse",
    extent: str = "SPARSE",
    name: str = "disk.vmdk",
    parent: str = NO_PARENT,
    sectors: int = 2048,
) -> bytes:
    """The text alone."""
    return DESCRIPTOR.format(
        parent=parent, kind=kind, sectors=sectors, extent=extent, name=name
    ).encode()


def vmdk(
    *, descriptor: bytes | None = None, capacity: int = 2048, unclean: int = 0, version: int = 1
) -> bytes:
    """Sectors: 0 header, 1-20 descriptor, 21 directory, 22-25 table, 128 the first grain."""
    head = struct.pack(
        "<4sIIQQQQIQQQB4sH",
        b"KDMV",
        version,
        1,
        capacity,
        128,
        1,
        20,
        512,
        0,
        21,
        128,
        unclean,
        b"\n \r\n",
        0,
    )
    text = vmdk_descriptor() if descriptor is None else descriptor
    table = struct.pack("<3I", 128, 256, 1)
    image = head.ljust(512, b"\0") + text.ljust(20 * 512, b"\0")
    image += le32(22).ljust(512, b"\0") + table.ljust(4 * 512, b"\0")
    return image.ljust(128 * 512, b"\0") + b"A" * 65536 + b"B" * 65536


def vmdk_stream() -> bytes:
    """streamOptimized: two compressed grains, the directory's place in the footer."""

    def head(directory: int) -> bytes:
        return struct.pack(
            "<4sIIQQQQIQQQB4sH",
            b"KDMV",
            3,
            0x30001,
            2048,
            128,
            1,
            20,
            512,
            0,
            directory,
            128,
            0,
            b"\n \r\n",
            1,
        ).ljust(512, b"\0")

    def grain(number: int, data: bytes) -> bytes:
        packed = zlib.compress(data)
        whole = struct.pack("<QI", number * 128, len(packed)) + packed
        return whole + bytes(-len(whole) % 512)

    def marker(count: int, kind: int) -> bytes:
        return struct.pack("<QII", count, 0, kind).ljust(512, b"\0")

    image = head(2**64 - 1)
    image += vmdk_descriptor(kind="streamOptimized").ljust(20 * 512, b"\0")
    image = image.ljust(128 * 512, b"\0")
    places = []
    for number in range(2):
        places.append(len(image) // 512)
        image += grain(number, bytes([65 + number]) * 65536)
    image += marker(4, 1)
    table = len(image) // 512
    image += struct.pack("<2I", *places).ljust(2048, b"\0") + marker(1, 2)
    directory = len(image) // 512
    image += le32(table).ljust(512, b"\0") + marker(1, 3)
    return image + head(directory) + marker(0, 0)


def vdi(*, kind: int = 1, blocks: int = 4, parent: bytes = bytes(16)) -> bytes:
    """Blocks of 1 MiB, of which the first and third are in the file."""
    head = b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0")
    head += struct.pack("<IIIII", 0xBEDA107F, 0x00010001, 0x190, kind, 0) + bytes(256)
    head += struct.pack("<IIIIIII", 512, 1024, 0, 0, 0, 512, 0)
    head += struct.pack("<QIIII", blocks * MIB, MIB, 0, blocks, 2)
    head += uuid.UUID(int=7).bytes_le + uuid.UUID(int=8).bytes_le + parent + bytes(16)
    table = struct.pack("<4I", 0, 0xFFFFFFFF, 1, 0xFFFFFFFE)
    return head.ljust(512, b"\0") + table.ljust(512, b"\xff") + b"A" * MIB + b"B" * MIB


def _both32(value: int) -> bytes:
    return struct.pack("<I", value) + struct.pack(">I", value)


def volume(label: bytes, *, kind: int = 1) -> bytes:
    """One ISO 9660 volume descriptor."""
    sector = bytes([kind]) + b"CD001\x01\0" + b"LINUX".ljust(32) + label.ljust(32) + bytes(8)
    sector += _both32(200) + bytes(32)
    sector += (struct.pack("<H", 1) + struct.pack(">H", 1)) * 2
    sector += struct.pack("<H", 2048) + struct.pack(">H", 2048)
    return sector.ljust(2048, b"\0")


BOOT_RECORD = (b"\0CD001\x01" + b"EL TORITO SPECIFICATION").ljust(2048, b"\0")
TERMINATOR = b"\xffCD001\x01".ljust(2048, b"\0")


def iso(
    *, label: bytes = b"DISC", boot: bool = False, area: bytes = b"", first: bytes = b""
) -> bytes:
    """ISO 9660 with ``area`` in the free first sectors and ``first`` before its descriptors."""
    sectors = first + volume(label) + (BOOT_RECORD if boot else b"") + TERMINATOR
    return (area.ljust(32768, b"\0") + sectors).ljust(200 * 2048, b"\0")


def high_sierra() -> bytes:
    sector = _both32(16) + b"\x01CDROM\x01\0" + b"SYSTEM".ljust(32) + b"SIERRA".ljust(32)
    return (bytes(32768) + sector.ljust(2048, b"\0")).ljust(100 * 2048, b"\0")


def raw_sectors(disc: bytes, *, size: int = 2352, header: int = 16) -> bytes:
    """A disc as a CD drive sees it: sync, header, data, error correction."""
    sync = b"\0" + b"\xff" * 10 + b"\0" if header != 8 else b""
    return b"".join(
        sync.ljust(header, b"\1") + disc[at : at + 2048].ljust(size - header, b"\0")
        for at in range(0, len(disc), 2048)
    )


def _udf_tag(kind: int, block: int, body: bytes) -> bytes:
    tag = struct.pack("<HHBBHHHI", kind, 2, 0, 0, 0, 0, 0, block)
    tag = tag[:4] + bytes([(sum(tag) - tag[4]) & 0xFF]) + tag[5:]
    return (tag + body).ljust(2048, b"\0")


def udf(*, recognised: bool = True, anchored: bool = True, label: bytes = b"UDFDISC") -> bytes:
    """UDF alone: recognition sequence, anchor at 256, logical volume at 260."""
    image = bytearray(300 * 2048)
    if recognised:
        for index, name in enumerate((b"BEA01", b"NSR02", b"TEA01")):
            image[(16 + index) * 2048 : (16 + index) * 2048 + 7] = b"\0" + name + b"\x01"
    if anchored:
        image[256 * 2048 : 257 * 2048] = _udf_tag(2, 256, struct.pack("<II", 16 * 2048, 260))
        text = (b"\x08" + label).ljust(127, b"\0") + bytes([len(label) + 1])
        image[260 * 2048 : 261 * 2048] = _udf_tag(6, 260, bytes(68) + text)
    return bytes(image)


def tar(*members: tuple[str, bytes]) -> bytes:
    """A tar of plain files."""
    image = b""
    for name, data in members:
        head = struct.pack("100s8s8s8s12s12s", name.encode(), b"0000644\0", b"0" * 7, b"0" * 7,
                           b"%011o\0" % len(data), b"0" * 11)  # fmt: skip
        head = (head + b" " * 8 + b"0").ljust(257, b"\0") + b"ustar\x0000"
        head = head.ljust(512, b"\0")
        head = patched(head, 148, b"%06o\0 " % sum(head))
        image += head + data + bytes(-len(data) % 512)
    return image + bytes(1024)


def vhd_footer(size: int, *, kind: int = 2, data_offset: int = 2**64 - 1) -> bytes:
    """A VHD footer by another writer than ours."""
    footer = struct.pack(
        ">8sIIQI4sI4sQQHBBI",
        b"conectix",
        2,
        0x00010000,
        data_offset,
        700000000,
        b"vbox",
        0x00060000,
        b"Wi2k",
        size,
        size,
        60,
        4,
        17,
        kind,
    )
    rest = uuid.UUID(int=5).bytes + bytes(1 + 427)
    total = ~(sum(footer) + sum(rest)) & 0xFFFFFFFF
    return (footer + be32(total) + rest)[:512]


def _vhd_summed(data: bytes, at: int) -> bytes:
    return patched(data, at, be32(~sum(patched(data, at, bytes(4))) & 0xFFFFFFFF))


def vhd_dynamic(size: int, *, kind: int = 3) -> bytes:
    """Footer copy, header, table at 1536, the first block of 2 MiB, footer."""
    footer = vhd_footer(size, kind=kind, data_offset=512)
    entries = -(-size // (2 * MIB))
    header = struct.pack(
        ">8sQQIII", b"cxsparse", 2**64 - 1, 1536, 0x00010000, entries, 2 * MIB
    ).ljust(1024, b"\0")
    table = struct.pack(">I", 4).ljust(512, b"\xff")
    return footer + _vhd_summed(header, 36) + table + b"\xff" * 512 + b"D" * (2 * MIB) + footer


def gpt_disk(size: int = 4 * MIB) -> bytes:
    """A GPT with one Linux partition of 2 MiB at 1 MiB, and its backup at the end."""
    last = size // 512 - 1
    entry = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le + uuid.UUID(int=11).bytes_le
    entry += struct.pack("<QQQ", 2048, 6143, 0) + "root".encode("utf-16-le").ljust(72, b"\0")
    entries = entry.ljust(128 * 128, b"\0")

    def header(own: int, other: int, table: int) -> bytes:
        head = struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x00010000, 92, 0, 0, own, other, 34, last - 33,
            uuid.UUID(int=12).bytes_le, table, 128, 128, zlib.crc32(entries),
        )  # fmt: skip
        return patched(head, 16, le32(zlib.crc32(head))).ljust(512, b"\0")

    protective = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, last)
    first = (bytes(446) + protective).ljust(510, b"\0") + b"\x55\xaa"
    start = first + header(1, last, 2) + entries
    end = entries + header(last, 1, last - 32)
    return start.ljust(size - len(end), b"\0") + end
