"""Discs, packed files, raw disks and other formats on both sides of every limit; and names."""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from collections.abc import Mapping

import handmade
import vhd_files
from handmade import MIB, Memory, patched

from pipeline.source import Reader

_VOLUME = handmade.volume(b"DISC")


def _sectors(*places: tuple[int, bytes], size: int = 2048, data_at: int = 0) -> Reader:
    """A disc's sectors at their numbers, in a file of 300."""
    sync = b"\0" + b"\xff" * 10 + b"\0"
    pieces = {number * size + data_at: sector for number, sector in places}
    marks = {16 * size: sync} if size != 2048 else {}
    return vhd_files.MemoryDisk(300 * size, marks | pieces)


def discs() -> Mapping[str, Reader]:
    """ISO 9660 and High Sierra."""
    sierra = handmade.high_sierra()[32768 : 32768 + 2048]
    boot, end = handmade.BOOT_RECORD, handmade.TERMINATOR

    def changed(at: int, new: bytes) -> Reader:
        return _sectors((16, patched(_VOLUME, at, new)))

    def rooted(block: int, flags: int, length: int = 34) -> Reader:
        volume = patched(patched(_VOLUME, 6, b"\0"), 128, struct.pack("<HH", block, 0))
        return _sectors(
            (16, patched(volume, 156, bytes([length]).ljust(25, b"\0") + bytes([flags])))
        )

    return {
        "sound": _sectors((16, _VOLUME)),
        **{f"at {n}": _sectors((n, _VOLUME)) for n in (15, 17, 46, 47, 48, 49)},
        **{
            f"behind {n}": _sectors(*[(16 + i, boot) for i in range(n)], (16 + n, _VOLUME))
            for n in (30, 32, 83, 84)
        },
        "behind a gap": _sectors(*[(16 + i, boot) for i in range(31)], (48, _VOLUME)),
        "behind the last": _sectors((16, end), (17, _VOLUME)),
        **{f"sierra at {n}": _sectors((n, sierra)) for n in (16, 47, 48)},
        **{
            f"sierra, {at}": _sectors((16, patched(sierra, at, new)))
            for at, new in ((8, b"\2"), (8, b"\3"), (8, b"\0"), (14, b"\2"), (3, b"\1"))
        },
        **{f"kind {n}": changed(0, bytes([n])) for n in range(5)},
        **{f"id {name.decode()}": changed(1, name) for name in (b"CDW02", b"CD-I ", b"CDROM")},
        **{f"version {n}": changed(6, bytes([n])) for n in range(4)},
        **{
            f"numbers {at}": _sectors((16, patched(patched(_VOLUME, 80, bytes(8)), 128, new)))
            for at, new in ((80, bytes(4)), (128, b"\0\x08\x08\0"))
        },
        **{
            f"root: {block}, {flags}": rooted(block, flags)
            for block in (511, 512, 1024, 2048, 4096)
            for flags in (0, 1, 2, 3, 4)
        },
        "root of 33": rooted(2048, 2, 33),
        "el torito": _sectors((16, _VOLUME), (17, boot)),
        "another boot system": _sectors(
            (16, patched(boot, 7, b"OTHER SYSTEM\x1b".ljust(32, b" "))), (17, _VOLUME)
        ),
        "two boot records": _sectors(
            (16, _VOLUME), (17, patched(boot, 7, b"OTHER".ljust(32, b"\0"))), (18, boot)
        ),
        "no label": changed(40, b" " * 32),
        "supplementary, then primary": _sectors(
            (16, handmade.volume(b"JOLIET", kind=2)), (17, _VOLUME)
        ),
        "two primary": _sectors((16, _VOLUME), (17, handmade.volume(b"SECOND"))),
        "hybrid": Memory(handmade.iso(area=handmade.mbr() + b"EFI PART")),
        **{
            f"raw {size}+{at}, {n}": _sectors((n, _VOLUME), size=size, data_at=at)
            for size, at in ((2352, 16), (2352, 24), (2448, 16), (2448, 24), (2336, 8))
            for n in (16, 31, 32)
        },
        "raw, sierra": _sectors((17, sierra), size=2352, data_at=16),
    }


def _tag(kind: int, block: int, body: bytes) -> bytes:
    tag = struct.pack("<HHBBHHHI", kind, 2, 0, 0, 0, 0, 0, block)
    return tag[:4] + bytes([sum(tag) & 0xFF]) + tag[5:] + body


def udf() -> Mapping[str, Reader]:
    """UDF with blocks of every size."""
    names = (b"BEA01", b"NSR02", b"TEA01")

    def image(
        size: int, *, at: int = 260, length: int | None = None, seen: int = 0, before: int = 0
    ) -> Reader:
        label = _tag(6, at + before, bytes(68) + (b"\x08LABEL").ljust(127, b"\0") + b"\7")
        other = {(at + n) * size: _tag(1, at + n, bytes(496)) for n in range(before)}
        anchor = _tag(2, 256, struct.pack("<II", 16 * size if length is None else length, at))
        found = (
            {32768 + n * seen: b"\0" + name + b"\1" for n, name in enumerate(names)} if seen else {}
        )
        places = {
            256 * size: anchor.ljust(512, b"\0"),
            (at + before) * size: label.ljust(512, b"\0"),
        }
        return vhd_files.MemoryDisk(300 * size + 40000, {**found, **other, **places})

    return {
        "sound": image(2048, seen=2048),
        **{f"anchor of {n}": image(n) for n in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)},
        **{
            f"seen every {n}": vhd_files.MemoryDisk(
                2 * MIB, {32768 + i * n: b"\0" + name + b"\1" for i, name in enumerate(names)}
            )
            for n in (512, 2048, 4096, 8192, 16384, 32768, 65536)
        },
        **{f"descriptors of {n}": image(2048, length=n, before=1) for n in (0, 2047, 4095, 4096)},
        "descriptors at 0": image(2048, at=0),
        **{f"label behind {n}": image(2048, before=n, length=40 * 2048) for n in (1, 15, 16)},
        "the last before the label": _patched(
            image(2048, before=1, seen=2048), 260 * 2048, _tag(8, 260, bytes(496))
        ),
        "no sum": _patched(image(2048, before=1, seen=2048), 260 * 2048 + 4, b"\0"),
        **{
            f"tag of block {n}": _patched(
                image(2048), 256 * 2048, _tag(2, n, struct.pack("<II", 32768, 260))
            )
            for n in (255, 257)
        },
        "gap": vhd_files.MemoryDisk(MIB, {32768: b"\0BEA01\1", 32768 + 4096: b"\0NSR02\1"}),
        **{
            f"cut behind its name, {at}": vhd_files.MemoryDisk(
                32768 + at + 6, {32768: b"\0BEA01\1", 32768 + at: b"\0NSR02\1"}
            )
            for at in (0, 2048)
        },
        "second": vhd_files.MemoryDisk(MIB, {32768 + 2048: b"\0NSR03\1"}),
        **{
            f"type {n}": vhd_files.MemoryDisk(MIB, {32768: bytes([n]) + b"NSR03\1"}) for n in (0, 1)
        },
        **{
            f"version {n}": vhd_files.MemoryDisk(MIB, {32768: b"\0NSR03" + bytes([n])})
            for n in (0, 1, 2)
        },
        "beside ISO 9660": _patched(image(2048), 32768, _VOLUME),
        "beside ISO 9660 without a label": _patched(
            image(2048), 32768, patched(_VOLUME, 40, b" " * 32)
        ),
        "16 bits": _patched(
            image(2048),
            260 * 2048,
            _tag(
                6, 260, bytes(68) + (b"\x10" + "Ω".encode("utf-16-be")).ljust(127, b"\0") + b"\3"
            ).ljust(512, b"\0"),
        ),
        "a file that ends": vhd_files.MemoryDisk(
            256 * 2048 + 511, {256 * 2048: _tag(2, 256, struct.pack("<II", 32768, 260))}
        ),
    }


def _patched(disk: Reader, at: int, new: bytes) -> Reader:
    assert isinstance(disk, vhd_files.MemoryDisk)
    return vhd_files.MemoryDisk(disk.size, {**disk.data, at: new})


def _lzma(dictionary: int, size: int, *, end: bytes = b"\0") -> bytes:
    head = b"\x5d" + struct.pack("<IQ", dictionary, size) + end
    return head.ljust(600, b"\1")


def packed() -> Mapping[str, Reader | bytes]:
    """Archives and packed files."""
    boot = {510: b"\x55\xaa"}
    plain = gzip.compress(b"x" * 4096, mtime=0)
    damaged = b"\x1f\x8b\x08\0".ljust(600, b"\xff")
    whole = (1 << 64) - 1
    strong = lzma.compress(handmade.iso(), preset=0)
    names = [(f"file{n}", b"") for n in range(70)]
    return {
        "gzip": plain,
        **{f"gzip of {n}": plain[:n] for n in (2, 3, 9, 10)},
        **{f"gzip, flags {n}": patched(plain, 3, bytes([n])) for n in (1, 31, 32)},
        "gzip, damaged": damaged,
        "gzip, damaged, a boot sector": patched(damaged, 510, boot[510]),
        "gzip of a disc behind 32 KiB": gzip.compress(handmade.iso(), mtime=0),
        **{
            f"lzma {d}, {n}": _lzma(d, n)
            for d, n in (
                (4095, whole),
                (4096, whole),
                (2048, whole),
                (6144, whole),
                (12288, whole),
                (10240, whole),
                (0, whole),
                (1 << 31, whole),
                (3 << 30, whole),
                (7 << 20, whole),
                (5 << 20, 1),
                (1 << 20, (1 << 50) - 1),
                (1 << 20, 1 << 50),
                (1 << 20, whole - 1),
                (0x60000000, 5),
                (0x50000000, 5),
            )
        },
        "lzma, range coder": _lzma(1 << 20, 5, end=b"\1"),
        "lzma, a boot sector": patched(_lzma(1 << 20, 5), 510, boot[510]),
        **{
            f"bzip2 level {level}": b"BZh" + level.encode() + b"1AY&SY" + bytes(60)
            for level in "0159:"
        },
        "bzip2 of nothing": b"BZh9\x17\x72\x45\x38\x50\x90" + bytes(4),
        "xz of another sum": patched(lzma.compress(b"x"), 8, b"\0\0\0\0"),
        **{f"xz, a dictionary of {n}": _dictionary(strong, n) for n in (26, 27, 28, 29, 30)},
        **{f"zstd of {n}": b"\x28\xb5\x2f\xfd\x04\x58\0\0"[:n] for n in (4, 5, 6, 7)},
        **{f"zstd, {n}": b"\x28\xb5\x2f\xfd" + bytes([n]) + bytes(60) for n in (4, 7, 8, 12, 16)},
        **{
            f"skippable {n:x}": bytes([n]) + b"\x2a\x4d\x18" + bytes(60)
            for n in (0x4F, 0x50, 0x5F, 0x60, 0x70, 0xD0)
        },
        **{f"zip of {n}": (b"PK\3\4\x14\0\0\0\x08\0" + bytes(60))[:n] for n in (4, 29, 30)},
        **{
            f"zip, version {v}, method {m}": b"PK\3\4" + struct.pack("<HHH", v, 0, m) + bytes(60)
            for v, m in ((63, 8), (64, 8), (0x313, 8), (20, 99), (20, 100), (20, 256))
        },
        **{
            f"zip, empty, {n} more": b"PK\5\6" + bytes(16) + struct.pack("<H", 2) + bytes(n)
            for n in (1, 2, 3)
        },
        **{
            f"zip, {mark!r}": mark + b"PK\3\4\x14\0\0\0\x08\0".ljust(60, b"\0")
            for mark in (b"PK\7\x08", b"PK00", b"PK\7\7", b"PK01")
        },
        "cpio": b"070701".ljust(512, b"0"),
        "ace": b"1234567**ACE**".ljust(512, b"0"),
        "tar": handmade.tar(*names[:2]),
        **{f"tar of {n}": handmade.tar(*names[:n]) for n in (3, 4, 63, 64, 65)},
        "tar, of old": _summed(patched(handmade.tar(("a", b"x" * 600), ("b", b"")), 257, bytes(8))),
        "tar, base 256": _summed(
            patched(
                handmade.tar(("a", b"x" * 600), ("b", b"")),
                124,
                b"\x80" + (600).to_bytes(11, "big"),
            )
        ),
        "tar, no size": _summed(patched(handmade.tar(("a", b""), ("b", b"")), 124, b"x" * 12)),
        **{
            f"tar, about the next: {kind}": _summed(
                patched(handmade.tar(("pax", b"x" * 20), ("b.ovf", b"")), 156, kind.encode())
            )
            for kind in "xgLK0"
        },
        **{
            f"tar, files of {n}": handmade.tar(("a", b"x" * n), ("b", b""))
            for n in (0, 1, 511, 512, 513)
        },
        "tar without a name": _summed(patched(handmade.tar(("a", b"")), 0, b"\0")),
        "tar of a long name": handmade.tar(("n" * 99, b"")),
    }


def _summed(tar: bytes) -> bytes:
    blank = patched(tar, 148, b" " * 8)
    return patched(tar, 148, b"%06o\0 " % sum(blank[:512]))


def _dictionary(packed: bytes, size: int) -> bytes:
    """An xz stream that says another size of its dictionary, an exponent as xz counts them."""
    head = bytearray(packed[12:24])
    head[4] = size
    head[8:12] = zlib.crc32(head[:8]).to_bytes(4, "little")
    return packed[:12] + bytes(head) + packed[24:]


def raw() -> Mapping[str, Reader | bytes]:
    """Raw disks, and what is no disk."""
    kernel = patched(bytes(4096), 0x202, b"HdrS")
    booting = patched(kernel, 0, handmade.mbr()[:512])
    program = patched(b"MZ".ljust(4096, b"\0"), 60, struct.pack("<I", 128))
    greek = "αβγδ".encode("utf-16-le")
    eight = bytes(range(0xE0, 0x100))
    return {
        "a disk": handmade.mbr().ljust(4096, b"\0"),
        **{f"{n} bytes": bytes(n) for n in (0, 1, 511, 512, 513)},
        "a kernel": kernel,
        "a kernel, MZ": patched(kernel, 0, b"MZ"),
        "a kernel, jump": patched(kernel, 0, b"\xea\x05"),
        "a kernel, MBR": booting,
        "a kernel, MBR, MZ": patched(booting, 0, b"MZ"),
        "a kernel, GPT": patched(patched(booting, 0, b"MZ"), 4096 - 512, bytes(512)).ljust(
            8192, b"\0"
        )[:4096]
        + b"EFI PART",
        "a program": patched(program, 128, b"PE\0\0"),
        "a program, not quite": patched(program, 128, b"PE\0\1"),
        **{
            f"a program at {n}": patched(program, 60, struct.pack("<I", n))
            for n in (4096, 4097, 2**31)
        },
        "a program, GPT": patched(patched(program, 128, b"PE\0\0"), 512, b"EFI PART"),
        "a program, MBR": patched(
            handmade.mbr().ljust(4096, b"\0"), 0, b"MZ" + bytes(58) + struct.pack("<I", 5000)
        ),
        **{
            f"ext at {at}": patched(b"\x7fELF".ljust(4096, b"\0"), at, b"\x53\xef")
            for at in (1079, 1080, 1081)
        },
        "an MP4": b"\0\0\0\x18ftypisom".ljust(600, b"\0"),
        **{f"{n} letters": b"a" * n for n in (7, 8, 9)},
        **{
            f"a control {n}": b"a" * 50 + bytes([n]) + b"a" * 50
            for n in (0, 8, 9, 10, 11, 12, 13, 14, 16, 26, 27, 28, 31, 32, 127, 128)
        },
        "UTF-8, cut": ("ä" * 3000).encode()[:4096],
        **{
            f"UTF-8, {n} from the end": (b"a" * 4096)[: 4096 - n] + b"\xe4" * n
            for n in (1, 2, 3, 4, 5)
        },
        **{f"8 bits, {n}": b"a" * (n * 32) + eight for n in (2, 3, 4)},
        "8 bits, nearly": b"a" * 95 + eight,
        **{f"UTF-16, {n}": b"\xff\xfe" + ("a" * n).encode("utf-16-le") for n in (7, 8, 9)},
        "UTF-16, big-endian": b"\xfe\xff" + ("ab" * 9).encode("utf-16-be"),
        "UTF-16, of another half": b"\xff\xfe" + ("Ā" * 9).encode("utf-16-le"),
        "UTF-16, odd": b"\xff\xfe" + ("ab" * 9).encode("utf-16-le") + b"x",
        "UTF-16, Greek": b"\xff\xfe" + greek * 9,
        "UTF-16, control": b"\xff\xfe" + "a\0".encode("utf-16-le") * 9,
        **{
            f"HTML: {n}": n.encode() + bytes(300)
            for n in (
                "<!DOCTYPE HTML>",
                "<html>",
                "\t\r\n <head>",
                "<?xml?>",
                " " * 256 + "<html>",
                " " * 250 + "<html>",
                "<body>",
            )
        },
        "HTML on a disk": patched(handmade.mbr().ljust(4096, b"\0"), 0, b"<html>"),
        "a script on a disk": patched(handmade.mbr().ljust(4096, b"\0"), 0, b"#!/bin/sh"),
        "a text on a disk": patched(b"a" * 4096, 446, handmade.mbr()[446:]),
        **{f"an MBR of entry {n}": _entry(n, 12 + n) for n in range(4)},
        "an MBR, odd mark": patched(handmade.mbr().ljust(4096, b"\0"), 494, b"\x81"),
        "an MBR without a type": patched(handmade.mbr().ljust(4096, b"\0"), 450, b"\0"),
        "an MBR without sectors": patched(handmade.mbr().ljust(4096, b"\0"), 458, bytes(4)),
        **{f"a GPT at {n}": patched(bytes(8192), n, b"EFI PART") for n in (511, 512, 1024, 4096)},
    }


def _entry(number: int, byte: int) -> bytes:
    entry = bytearray(16)
    entry[4], entry[byte] = 0x83, 1
    return patched(bytes(510) + b"\x55\xaa" + bytes(3584), 446 + 16 * number, bytes(entry))


def names() -> Mapping[str, Reader | bytes]:
    """What a name says, and the content does not."""
    koly = (b"koly\0\0\0\4" + bytes(484) + (2048).to_bytes(8, "big")).ljust(512, b"\0")
    suffixes = ("raw", "vhd", "qcow2", "img", "VHDX", "dmg", "iso", "avhd", "", "x" * 17, "a\x1b")
    disk = handmade.gpt_disk(2 * MIB)
    footer = handmade.vhd_footer(2 * MIB)
    dynamic = handmade.vhd_footer(2 * MIB, kind=3)
    return {
        "a.qcow2": handmade.qcow2(),
        **{f"b{n}.{suffix}": handmade.qcow2() for n, suffix in enumerate(suffixes)},
        ".vhd": handmade.qcow2(),
        "c.vhd.raw": handmade.qcow2(),
        **{
            f"{name}, disk.{suffix}": data
            for suffix in ("vhd", "dmg", "raw", "bz2", "xz")
            for name, data in {
                "a disk": disk,
                "a text": b"just a text",
                "a trailer": disk + koly,
                "padded": disk + koly + bytes(700),
                "padded more": disk + koly + bytes(MIB + 512),
                "padded too much": disk + koly + bytes(MIB + 1024),
            }.items()
        },
        **{
            f"{name}, {n} behind, disk.{suffix}": disk[:at] + foot + bytes(n)
            for n in (8192,)
            for suffix in ("vhd", "img")
            for at in (2 * MIB, MIB)
            for name, foot in {f"fixed at {at}": footer, f"dynamic at {at}": dynamic}.items()
        },
    }


def views() -> Mapping[str, Reader | bytes]:
    """Disks that begin like an image, or hold a footer where the part that is looked at ends."""
    footer = handmade.vhd_footer(MIB - 512)
    return {
        "nothing": bytes(2 * MIB),
        **{
            f"a footer at {n}": patched(bytes(2 * MIB), n, footer)
            for n in (MIB - 512, MIB, MIB - 1024, 2 * MIB - 512)
        },
        **{f"a cookie at {n}": patched(bytes(2 * MIB), n, b"conectix") for n in (0, MIB - 512)},
        "a trailer": patched(bytes(2 * MIB), MIB - 512, b"koly\0\0\0\4"),
        "NER5": patched(bytes(2 * MIB), MIB - 12, b"NER5"),
        "LUKS": b"LUKS\xba\xbe\0\1".ljust(4096, b"\0"),
        "qcow": (b"QFI\xfb\0\0\0\1" + bytes(16) + MIB.to_bytes(8, "big")).ljust(4096, b"\0"),
    }


GROUPS = {
    "edge-discs": discs,
    "edge-udf": udf,
    "edge-packed": packed,
    "edge-raw": raw,
    "edge-names": names,
    "edge-views": views,
}
