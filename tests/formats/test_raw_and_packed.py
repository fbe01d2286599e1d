"""raw disks with anything on them, files that are no disks, and packed files."""

import bz2
import gzip
import io
import lzma
import random
import struct
import subprocess
import zipfile
from pathlib import Path

import handmade
import pytest
from handmade import MIB, Memory, patched

from pipeline import formats
from pipeline.source import Source


def look(image: bytes, name: str = "") -> formats.Identification:
    return formats.identify(Memory(image), name=name)


def rules(image: bytes, name: str = "") -> set[str]:
    return {problem.rule for problem in look(image, name).problems}


DISK = handmade.mbr().ljust(MIB, b"\0")
FAT = (b"\xeb\x3c\x90MSDOS5.0".ljust(54, b"\0") + b"FAT16   ").ljust(510, b"\x90") + b"\x55\xaa"
GPT_HEAD = b"EFI PART\0\0\1\0".ljust(512, b"\0")

RAW = {
    "mbr": DISK,
    "gpt": patched(DISK, 512, GPT_HEAD),
    "gpt-4096": patched(DISK, 4096, GPT_HEAD),
    "gpt-at-the-end-only": patched(bytes(MIB), MIB - 512, GPT_HEAD),
    "blank": bytes(MIB),
    "blank-0xff": b"\xff" * MIB,
    "fat-superfloppy": FAT.ljust(MIB, b"\0"),
    "bare-ext": patched(bytes(MIB), 1080, b"\x53\xef"),
    "odd-size": DISK + b"xyz",
    "stray-bytes": patched(bytes(MIB), 777, b"stray"),
    "elf-in-boot-area-of-a-disk": patched(DISK, 0, b"\x7fELF"),
    "gzip-magic-without-gzip": patched(DISK, 0, b"\x1f\x8b\x08\0"),
    "zip-magic-without-zip": patched(DISK, 0, b"PK\3\4\xff\xff\xff\xff\xff\xff"),
    "bzip2-magic-without-bzip2": patched(DISK, 0, b"BZh9"),
    "lzma-magic-without-lzma": patched(DISK, 0, lzma.compress(b"x", lzma.FORMAT_ALONE)),
    "riff-on-a-disk": patched(DISK, 0, b"RIFF"),
    "wild-bytes": random.Random(1).randbytes(MIB),
}


@pytest.mark.parametrize("name", RAW)
def test_a_raw_disk_may_hold_anything(name: str) -> None:
    found = look(RAW[name], "disk.img")
    assert found.problems == ()
    assert found.container.format == "raw"
    assert found.container.virtual_size == len(RAW[name])


NO_DISKS = {
    "empty": (b"", "empty-image"),
    "one-byte": (b"\0", "truncated"),
    "elf": (b"\x7fELF\2\1\1".ljust(MIB, b"\0"), "not-a-disk-image"),
    "text": (b"just some text\n" * 100, "not-a-disk-image"),
    "text-utf-8": ("Grüße aus Köln\n".encode() * 1000, "not-a-disk-image"),
    "html": (b"\n<!DOCTYPE html><html>404</html>", "not-a-disk-image"),
    "xml": (b'\xef\xbb\xbf<?xml version="1.0"?><a/>', "not-a-disk-image"),
    "pdf": (b"%PDF-1.7\n" + bytes(MIB), "not-a-disk-image"),
    "script": (b"#!/bin/sh\necho\n\0", "not-a-disk-image"),
    "text-latin-1": ("Grüße aus Köln\r\n".encode("latin-1") * 500, "not-a-disk-image"),
    "text-utf-16": ("Grüße aus Köln\r\n".encode("utf-16") * 500, "not-a-disk-image"),
    "wave": (b"RIFF\x24\0\0\0WAVEfmt ".ljust(MIB, b"\0"), "not-a-disk-image"),
    "tiff": (b"II*\0\x08\0\0\0".ljust(MIB, b"\0"), "not-a-disk-image"),
    "pcap": (b"\xd4\xc3\xb2\xa1\2\0\4\0".ljust(MIB, b"\0"), "not-a-disk-image"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(MIB), "not-a-disk-image"),
}


@pytest.mark.parametrize("name", NO_DISKS)
def test_what_is_no_disk_is_named(name: str) -> None:
    image, rule = NO_DISKS[name]
    assert rules(image, "disk.qcow2") - {"suffix-mismatch"} == {rule}


@pytest.mark.parametrize("text", [b"a", "é".encode("latin-1") + b"abc"])
@pytest.mark.parametrize(("at", "is_text"), [(4094, False), (4095, False), (4096, True)])
def test_of_a_text_4_kib_are_looked_at(at: int, is_text: bool, text: bytes) -> None:
    image = patched(text * (8192 // len(text)), at, b"\0")

    assert (rules(image) == {"not-a-disk-image"}) is is_text


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../escape", b"x" * 1000)
    return buffer.getvalue()


PACKED = {
    "gzip": (gzip.compress(DISK), "packed-image"),
    "gzip-with-name": (b"\x1f\x8b\x08\x08" + bytes(6) + b"disk.img\0" + gzip.compress(DISK)[10:],
                       "packed-image"),
    "gzip-damaged": (patched(gzip.compress(DISK), 10, b"\xff" * 8), "packed-image"),
    "lzma": (lzma.compress(DISK, lzma.FORMAT_ALONE), "archive"),
    "bzip2": (bz2.compress(DISK), "packed-image"),
    "bzip2-empty": (bz2.compress(b""), "packed-image"),
    "xz": (lzma.compress(DISK), "packed-image"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x58" + bytes(100), "packed-image"),
    "ova": (handmade.tar(("vm.ovf", b"<Envelope/>"), ("disk.vmdk", bytes(600))), "packed-image"),
    "zip": (zipped(), "archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(100), "archive"),
    "rar": (b"Rar!\x1a\x07\1\0" + bytes(100), "archive"),
    "tar": (handmade.tar(("box.img", bytes(600)), ("metadata.json", b"{}")), "archive"),
    "lz4-legacy": (b"\x02\x21\x4c\x18" + bytes(1000), "archive"),
    "ace": (b"\x31\0\x31\0\0\0\x90**ACE**" + bytes(1000), "archive"),
    "zip-of-a-split": (b"PK\x07\x08PK\x03\x04\x14\0\0\0\x08\0".ljust(600, b"\0"), "archive"),
    "lz4": (b"\x04\x22\x4d\x18\x64\x40\xa7" + bytes(100), "archive"),
    "cpio": (b"070701" + b"0" * 104, "archive"),
}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
def test_packed_files_are_named(name: str) -> None:
    image, rule = PACKED[name]
    found = look(image)
    assert found.container.format == name.split("-")[0]
    assert {problem.rule for problem in found.problems} == {rule}
    assert found.container.virtual_size is None


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_disc_is_seen_through_its_packing(pack: object) -> None:
    assert rules(pack(handmade.iso())) == {"packed-image", "iso-image"}  # type: ignore[operator]


@pytest.mark.parametrize(("sector", "seen"), [(16, True), (33, True), (34, False)])
def test_of_what_is_packed_68_kib_are_looked_at(sector: int, seen: bool) -> None:
    disc = bytes(sector * 2048) + handmade.volume(b"PACKED") + bytes(MIB)

    assert "iso-image" in rules(disc)
    assert ("iso-image" in rules(gzip.compress(disc))) is seen
    assert ("iso-image" in rules(lzma.compress(disc))) is seen


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_packed_disc_may_refer_far_back(pack: object) -> None:
    # given what stands in front of it, which repeats after 20,000 bytes
    area = random.Random(5).randbytes(20_000) * 2

    assert "iso-image" in rules(pack(handmade.iso(area=area[:32768])))  # type: ignore[operator]


@pytest.mark.parametrize(("more", "seen"), [(-1, True), (0, True), (1, False)])
def test_of_a_packed_file_64_kib_are_opened(more: int, seen: bool) -> None:
    # given a stream that stores its data as it is, behind a name that is as long as need be
    disc = bytes(32768) + handmade.volume(b"FAR")
    enough = 32768 + 132  # the numbers by which it is known
    name = b"n" * ((64 << 10) - 10 - 1 - 5 - enough + more)
    stored = b"\1" + struct.pack("<HH", len(disc), len(disc) ^ 0xFFFF) + disc
    image = b"\x1f\x8b\x08\x08" + bytes(6) + name + b"\0" + stored + bytes(8)

    assert ("iso-image" in rules(image)) is seen


def test_members_of_an_ova_are_listed_without_their_escapes() -> None:
    image = handmade.tar(("vm.ovf", b"<Envelope/>"), ("\x1b[2Jdisk.vmdk", bytes(600)))
    assert look(image).container.details["members"] == ["vm.ovf", "\\x1b[2Jdisk.vmdk"]


FOREIGN = {
    "qcow": b"QFI\xfb\0\0\0\1" + bytes(16) + (MIB).to_bytes(8, "big"),
    "qed": b"QED\0",
    "parallels": b"WithoutFreeSpace",
    "bochs": b"Bochs Virtual HD Image",
    "cloop": b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0",
    "wim": b"MSWIM\0\0\0",
    "ewf": b"EVF\x09\x0d\x0a\xff\0",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_known_formats_that_are_not_read_are_named(name: str) -> None:
    found = look(FOREIGN[name].ljust(MIB, b"\0"))
    assert found.container.format == name
    assert {problem.rule for problem in found.problems} == {"unsupported-format"}


def test_an_apple_image_is_known_from_its_end() -> None:
    image = bytes(MIB) + (b"koly\0\0\0\4" + bytes(484) + (2048).to_bytes(8, "big")).ljust(
        512, b"\0"
    )
    container = look(image).container
    assert (container.format, container.virtual_size) == ("dmg", MIB)


@pytest.mark.parametrize("version", [1, 2])
def test_a_whole_encrypted_disk(version: int) -> None:
    container = look((b"LUKS\xba\xbe\0" + bytes([version])).ljust(MIB, b"\0")).container
    assert container.encrypted
    assert {problem.rule for problem in container.problems} == {"encrypted-container"}


def test_the_suffix_decides_nothing_and_its_disagreement_is_advice() -> None:
    for name in ("a.qcow2", "b.img", "c", "d.vhd", ".vhd", "e.QCOW2"):
        found = look(handmade.qcow2(), name)
        assert found.container.format == "qcow2"
        expected = {"suffix-mismatch"} if name == "d.vhd" else set()
        assert {problem.rule for problem in found.problems} == expected


@pytest.mark.needs("zstd", "7z", "zip", "tar", "xz", "bzip2", "gzip")
@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("zstd", "-q", "disk.raw", "-o", "out"), "zstd"),
        (("7z", "a", "-bd", "out.7z", "disk.raw"), "7z"),
        (("zip", "-q", "out.zip", "disk.raw"), "zip"),
        (("tar", "-cf", "out", "disk.raw"), "tar"),
        (("tar", "--format=pax", "-cf", "out", "disk.raw"), "tar"),
        (("xz", "-k", "-9", "disk.raw"), "xz"),
        (("bzip2", "-k", "disk.raw"), "bzip2"),
        (("gzip", "-k", "-1", "disk.raw"), "gzip"),
    ],
)
def test_real_packers(tmp_path: Path, command: tuple[str, ...], kind: str) -> None:
    (tmp_path / "disk.raw").write_bytes(DISK)
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60, capture_output=True)
    (made,) = (path for path in tmp_path.iterdir() if path.name != "disk.raw")
    with Source.open(str(made)) as source:
        assert formats.identify(source).container.format == kind
