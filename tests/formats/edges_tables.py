"""VDI and VMDK files on both sides of every limit."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import handmade
import vhd_files
from handmade import MIB, Memory, le32, le64

from pipeline.source import Reader


def vdi() -> Mapping[str, Reader]:
    """Header and block map of a VDI."""
    whole = Memory(handmade.vdi())

    def field(offset: int, value: int, length: int = 4) -> Memory:
        return whole.also(offset, value.to_bytes(length, "little"))

    def long(count: int, *pieces: tuple[int, int], at: int = 512) -> Reader:
        """A map of many blocks, as far as it is looked at, with some entries."""
        end = at + 4 * count + 511
        data = end // 512 * 512
        head = bytearray(handmade.vdi()[:512])
        struct.pack_into("<II", head, 340, at, data)
        struct.pack_into("<QI4xII", head, 368, count * MIB, MIB, count, count)
        table = {at + 4 * n: le32(value) for n, value in pieces}
        return vhd_files.MemoryDisk(data + 2 * MIB, {0: bytes(head), **table})

    return {
        "sound": whole,
        **{f"version {n:x}": field(68, n) for n in (0x10000, 0x10002, 0x1FFFF, 0x20001, 0xFFFF)},
        **{f"type {n}": field(76, n) for n in range(6)},
        **{
            f"{name} {n}": field(at, n)
            for name, at in (("map", 340), ("data", 344))
            for n in (0, 511, 512, 513, 1024)
        },
        **{f"sectors of {n}": field(360, n) for n in (0, 511, 513, 4096)},
        **{f"disk of {n}": field(368, n, 8) for n in (0, 1, 4 * MIB, 4 * MIB + 1)},
        **{f"blocks of {n}": field(376, n) for n in (0, 1, 3, MIB, 2 * MIB, 3 * MIB)},
        **{f"{n} extra": field(380, n) for n in (1, 512)},
        **{f"{n} blocks": field(384, n) for n in (3, 4, 5, 16 << 20, (16 << 20) + 1)},
        **{f"{n} allocated": field(388, n) for n in (1, 2, 3, 4, 5)},
        **{f"id at {at}": field(at, 1, 16) for at in (392, 408, 424, 440)},
        "no id": field(392, 0, 16),
        **{f"entry {n}": field(512, n) for n in (0, 1, 2, 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF)},
        "none": field(512, 2**128 - 1, 16),
        **{
            f"{n} bytes": Memory(whole.data[:n])
            for n in (511, 512, 1024, 1024 + MIB, 3 * MIB - 1, 3 * MIB, 2 * MIB + 1023)
        },
        **{
            f"a long map, entry {n}": long(65536, (n, 70000))
            for n in (0, 16383, 16384, 49151, 49152, 65535)
        },
        **{f"a map of {n}": long(n, (n // 2, 99999)) for n in (32768, 32769)},
    }


def _vmdk(offset: int, value: int, length: int = 4, **made: object) -> Memory:
    image = Memory(handmade.vmdk(**made))  # type: ignore[arg-type]
    return image.also(offset, value.to_bytes(length, "little"))


def vmdk() -> Mapping[str, Reader]:
    """The header of a sparse extent."""
    whole = handmade.vmdk()
    return {
        "sound": Memory(whole),
        **{f"version {n}": _vmdk(4, n) for n in range(5)},
        **{f"flag {n}": _vmdk(8, 1 << n | 1) for n in (1, 2, 3, 16, 17, 18)},
        "flag 18, no descriptor": _vmdk(8, 1 << 18 | 1).also(28, bytes(16)),
        "no newline test": _vmdk(8, 0).also(73, b"\n \n\n"),
        **{f"capacity {n}": _vmdk(12, n, 8) for n in (0, 1, 2047, 2049, 64 << 31, (64 << 31) + 1)},
        "capacity 0, no descriptor": _vmdk(12, 0, 24).also(28, bytes(16)),
        "capacity 0, a descriptor nowhere": _vmdk(12, 0, 8).also(28, bytes(8)),
        **{f"grain {n}": _vmdk(20, n, 8) for n in (0, 1, 2, 3, 64, 1 << 21, 1 << 22)},
        **{f"descriptor at {n}": _vmdk(28, n, 8) for n in (0, 2, 500)},
        **{f"descriptor of {n}": _vmdk(36, n, 8) for n in (0, 1, 127, 128, 129, 383, 384)},
        **{f"{n} entries": _vmdk(44, n) for n in (0, 1, 15, 16, 512, 513)},
        **{
            f"redundant at {n}": _vmdk(48, n, 8).also(8, le32(3))
            for n in (0, 1, 383, 384, 2**40, 2**64 - 1)
        },
        "redundant, no flag": _vmdk(48, 2**40, 8),
        **{f"directory at {n}": _vmdk(56, n, 8) for n in (0, 1, 383, 384, 2**53, 2**54 - 1, 2**54)},
        **{f"overhead {n}": _vmdk(64, n, 8) for n in (0, 384, 385, 2**40)},
        **{f"unclean {n}": _vmdk(72, n, 1) for n in (1, 2)},
        **{f"compression {n}": _vmdk(77, n, 2) for n in (1, 2)},
        **{f"{n} bytes": Memory(whole[:n]) for n in (78, 79, 511, 512, 513)},
        **{
            f"{magic!r}": Memory(magic.ljust(4096, b"\0"))
            for magic in (b"COWD", le64(0xCAFEBABE), le64(0xCAFEBABF), b"KDM")
        },
    }


def tables() -> Mapping[str, Reader]:
    """Grain directory and grain tables."""
    directory, table = 21 * 512, 22 * 512
    return {
        "sound": Memory(handmade.vmdk()),
        **{f"table at {n}": _vmdk(directory, n) for n in (1, 380, 381, 384, 2**31)},
        **{f"grain at {n}": _vmdk(table, n) for n in (0, 1, 2, 20, 21, 22, 255, 256, 257, 2**31)},
        **{f"a last grain at {n}": _vmdk(table + 4, n) for n in (256, 257, 384, 2**31)},
        **{
            f"capacity {n}": _vmdk(12, n, 8).also(table + 4, le32(n % 128 + 256))
            for n in (1921, 1920, 2000)
        },
        "one table twice": _vmdk(12, 2 * 65536, 8).also(directory, le32(22) * 2),
        **{f"{n} tables": _vmdk(12, n * 65536, 8) for n in (1, 2)},
        **{
            f"a directory of {n} MiB": _vmdk(12, n * MIB // 4, 8)
            .also(20, le64(1))
            .also(44, le32(1))
            for n in (8, 9)
        },
        **{f"table {n} of 70": _many(70, n) for n in (31, 32, 37, 38)},
        **{f"table {n} of 64": _many(64, n) for n in (31, 32)},
        **{f"entry {n} of the directory": _directory(n) for n in (32767, 32768)},
    }


def _many(count: int, faulty: int) -> Reader:
    """Many tables of one entry each, one of which names a grain far away."""
    head = bytearray(handmade.vmdk()[: 21 * 512])
    struct.pack_into("<Q", head, 12, count)
    struct.pack_into("<Q", head, 20, 1)
    struct.pack_into("<I", head, 44, 1)
    places = struct.pack(f"<{count}I", *range(30, 30 + count))
    fault = {(30 + faulty) * 512: le32(2**31)}
    return vhd_files.MemoryDisk(MIB, {0: bytes(head), 21 * 512: places, **fault})


def _directory(number: int) -> Reader:
    """A directory longer than what is read of it, with one entry."""
    head = bytearray(handmade.vmdk()[: 21 * 512])
    struct.pack_into("<Q", head, 12, 40000)
    struct.pack_into("<Q", head, 20, 1)
    struct.pack_into("<I", head, 44, 1)
    return vhd_files.MemoryDisk(MIB, {0: bytes(head), 21 * 512 + 4 * number: le32(2**31)})


def streams() -> Mapping[str, Reader]:
    """A stream's footer, whole, in the wrong place, or of another file."""
    whole = handmade.vmdk_stream()
    end = len(whole) - 1024
    fields = {
        "version": 4,
        "flags": 8,
        "capacity": 12,
        "grain": 20,
        "descriptor_offset": 28,
        "descriptor_size": 36,
        "entries": 44,
        "directory": 56,
        "compression": 77,
    }
    return {
        "sound": Memory(whole),
        **{
            f"another {name}": Memory(whole).also(end + at, bytes([whole[end + at] ^ 2]))
            for name, at in fields.items()
        },
        **{
            f"no {name}": Memory(whole).also(end + fields[name], bytes(8))
            for name in ("descriptor_offset", "descriptor_size")
        },
        **{f"{n} more": Memory(whole + bytes(n)) for n in (1, 512, 1024, MIB, MIB + 512)},
        "padded, of another capacity": Memory(whole + bytes(512)).also(end + 12, le64(7)),
        "padded, at the end": Memory(whole + bytes(512)).also(end + 56, b"\xff" * 8),
        "no footer": Memory(whole).also(end, b"x"),
        "a grain that is longer": Memory(whole).also(129 * 512 + 8, le32(2**31)),
        "cut behind the last grain": Memory(whole[: end - 3000]),
    }


def texts() -> Mapping[str, Reader]:
    """Descriptors; VMware's and qemu's ideas of one."""
    text = handmade.vmdk_descriptor()
    extents = b"".join(b'RW %d FLAT "x%d.vmdk" 0\n' % (n, n) for n in range(1, 30))
    settings = b"".join(b"a%d = 1\n" % n for n in range(510))

    def inside(was: bytes, becomes: bytes) -> Memory:
        return Memory(handmade.vmdk(descriptor=text.replace(was, becomes)))

    hint = b'parentFileNameHint="b.vmdk"\n'
    return {
        "sound": Memory(text),
        "bom": Memory(b"\xef\xbb\xbf" + text),
        "no extent": Memory(text.replace(b"RW ", b"# ")),
        "thirty": Memory(text + extents),
        **{
            f"{n} comments": Memory(b"#\n" * n + b"version=1\n" + text.split(b"\n", 2)[2])
            for n in (0, 2, 2047, 2048, 2049)
        },
        **{f"mark at {n}": Memory(b"\t" * n + text) for n in (0, 1, 4073, 4074, 4100)},
        **{f"version {n}": Memory(b"version=%d\n" % n) for n in range(5)},
        "version without an end": Memory(b"version=1"),
        "type and extent": Memory(b"createtype=x\n RDONLY 5 z\n"),
        "type alone": Memory(b"createtype=x\n"),
        "behind a zero": Memory(b"x\0" + text),
        **{
            f"{n} settings, then a parent": Memory(
                text + settings[: settings.index(b"a%d " % n)] + hint
            )
            for n in (506, 507, 508)
        },
        **{
            f"parent {n}": Memory(text.replace(b"ffffffff", n))
            for n in (b"FFFFFFFF", b"", b"fffffffe")
        },
        "a hint": Memory(text + hint),
        "no type": inside(b'createType="monolithicSparse"', b""),
        "no type, no extent": inside(b'createType="monolithicSparse"', b"").also(512, b"\n" * 400),
        "a stream": inside(b"monolithicSparse", b"streamOptimized"),
        **{
            f"name with {mark!r}": inside(b"disk.vmdk", mark + b"disk.vmdk")
            for mark in (b"/", b"\\", b":", b"-")
        },
        "no name": inside(b' "disk.vmdk"', b""),
        "tools": inside(b"ddb.adapterType", b"ddb.toolsVersion"),
        "encrypted": inside(b"ddb.adapterType", b"encryption"),
        "two values": Memory(text + b'createType="second"\n'),
        **{f"a number of {n} digits": Memory(text.replace(b"2048", b"9" * n)) for n in (19, 20)},
        **{f"a kind of {n} letters": Memory(text.replace(b"SPARSE", b"K" * n)) for n in (16, 17)},
    }


GROUPS = {
    "edge-vdi": vdi,
    "edge-vmdk-header": vmdk,
    "edge-vmdk-tables": tables,
    "edge-vmdk-streams": streams,
    "edge-vmdk-texts": texts,
}
