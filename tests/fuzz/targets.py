"""Every parser of untrusted bytes, what it is fed, and what must hold whatever it is fed."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import msgspec

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import handmade  # noqa: E402
import handmade_vhdx  # noqa: E402
from handmade import MIB  # noqa: E402
from inputs import Patched, Seed, decode  # noqa: E402

from pipeline import formats  # noqa: E402
from pipeline.content import cpio, disk, filesystems, free_space, lvm, partitions  # noqa: E402
from pipeline.errors import ImgprepError  # noqa: E402
from pipeline.formats import labels, optical, tar, vmdk_descriptor  # noqa: E402
from pipeline.formats.base import Container, Format, Problem  # noqa: E402
from pipeline.formats.bounded import READ_BUDGET, BoundedReader  # noqa: E402
from pipeline.unpack import ova  # noqa: E402

SOME = 4096


@dataclass(frozen=True)
class Target:
    """One parser: ``run`` gets fuzzed bytes and raises when something does not hold."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], tuple[Seed, ...]]


def _problems(problems: tuple[Problem, ...], declared: frozenset[str] | None) -> None:
    for problem in problems:
        assert declared is None or problem.rule in declared, f"{problem.rule} was not declared"
        assert problem.detail, "a problem says nothing"
        assert problem.detail.isprintable(), f"control characters in {problem.detail!r}"
        assert len(problem.detail) < 2000, "a problem says too much"
        assert problem.offset is None or problem.offset >= 0, "a negative offset"
        assert problem.length is None or problem.length >= 0, "a negative length"


def _container(container: Container, declared: frozenset[str] | None) -> None:
    _problems(container.problems, declared)
    assert container.virtual_size is None or 0 <= container.virtual_size < 1 << 80
    assert all(name.isprintable() for name in container.external_references)
    assert container.variant is None or container.variant.isprintable()
    assert container.creator is None or container.creator.isprintable()
    msgspec.json.encode(container)


def _identify(seeds: Callable[[], tuple[Seed, ...]], data: bytes) -> None:
    reader = decode(data, seeds())
    found = formats.identify(reader, name="disk.img")
    assert found.bytes_read <= READ_BUDGET
    assert found.matches
    _container(found.container, None)
    if found.container.format not in formats.ACCEPTED:
        assert found.problems, f"{found.container.format} passes without a problem"


def _format(format_: Format, seeds: Callable[[], tuple[Seed, ...]], data: bytes) -> None:
    reader = BoundedReader(decode(data, seeds()))
    if not format_.matches(reader):
        return
    container = format_.inspect(reader)
    assert reader.bytes_read <= READ_BUDGET
    assert format_.signature(reader)
    _container(container, frozenset(format_.checks))


def _call(
    parse: Callable[[Patched], object], seeds: Callable[[], tuple[Seed, ...]], data: bytes
) -> None:
    parse(decode(data, seeds()))


def _whole(parse: Callable[[bytes], object], data: bytes) -> None:
    parse(data)


def _free_space(reader: Patched) -> None:
    found = free_space.survey(reader)
    msgspec.json.encode([area.facts() for area in found.areas])
    at = 0
    for low, high in found.between(0, reader.size):
        assert at <= low < high <= reader.size, "a free run lies outside, or before another"
        at = high


def _disk(reader: Patched) -> None:
    msgspec.json.encode(disk.inspect(reader).facts())


def _partitions(reader: Patched) -> None:
    table = partitions.parse(reader)
    _problems(table.problems, None)
    msgspec.json.encode(table)


def _ova(reader: Patched) -> None:
    """Refusals are its answer; anything else is a bug."""
    try:
        ova.find_disk(reader)
    except (ImgprepError, *_REFUSALS):
        return


_REFUSALS: tuple[type[Exception], ...] = tuple(
    item
    for module in (ova, cpio)
    for item in vars(module).values()
    if isinstance(item, type) and issubclass(item, Exception)
)


def _cpio(reader: Patched) -> None:
    try:
        cpio.plain_part(reader)
    except _REFUSALS:
        return


def _seed(name: str, data: bytes, *hot: tuple[int, int]) -> Seed:
    return Seed(name, data, hot or ((0, min(len(data), SOME)),))


@cache
def qcow2_seeds() -> tuple[Seed, ...]:
    plain = handmade.qcow2()
    full = handmade.qcow2(
        incompatible=8,
        compression=1,
        extensions=((0x6803F857, bytes(48)), (0x23852875, bytes(24)), (0xE2792ACA, b"raw")),
    )
    places = ((0, 160), (4096, 16), (8192, 64), (12288, 32), (16384, 64))
    snapshot = handmade.patched(plain, 60, handmade.be32(1) + handmade.be64(0x7000))
    entry = struct.pack(">QIHHIIQII", 0x3000, 1, 1, 4, 0, 0, 0, 0, 0) + b"1name"
    snapshot = handmade.patched(snapshot, 0x7000, entry)
    packed = handmade.qcow2(l2=(1 << 62 | 0x5000, 1 << 62 | 0x5100))
    return (
        _seed("plain", plain, *places),
        _seed("v2", handmade.qcow2(version=2), *places),
        _seed("full", full, *places),
        _seed("backing", handmade.qcow2(backing=b"json:{}"), *places),
        _seed("snapshot", snapshot, *places, (0x7000, 64)),
        _seed("compressed", packed, *places, (0x5000, 64)),
        _seed("extended", handmade.qcow2(bits=14, incompatible=16), (0, 160), (65536, 64)),
    )


@cache
def vmdk_seeds() -> tuple[Seed, ...]:
    stream = handmade.vmdk_stream()
    plain = ((0, 96), (512, 300), (21 * 512, 16), (22 * 512, 32))
    return (
        _seed("sparse", handmade.vmdk(), *plain),
        _seed("stream", stream, (0, 96), (512, 300), (65536, 32), (len(stream) - 4608, 4608)),
        _seed("text", handmade.vmdk_descriptor(kind="monolithicFlat", extent="FLAT", name="/a")),
        _seed("capacity", handmade.vmdk(capacity=0), *plain),
    )


@cache
def vhdx_seeds() -> tuple[Seed, ...]:
    hot = (
        (0, 64),
        (64 << 10, 96),
        (128 << 10, 96),
        (192 << 10, 96),
        (256 << 10, 96),
        (MIB, 64),
        (2 * MIB, 220),
        (2 * MIB + 65536, 64),
        (3 * MIB, 64),
    )
    return (
        _seed("plain", handmade_vhdx.vhdx(), *hot),
        # bytes outside of the summed structures are what a fuzzer can change
        _seed("tables", handmade_vhdx.vhdx(), *hot[5:]),
        _seed("log", handmade_vhdx.vhdx(log_id=b"\7" * 16, entry=True), *hot[5:]),
        _seed("parent", handmade_vhdx.vhdx(flags=2), *hot[5:]),
    )


@cache
def vdi_seeds() -> tuple[Seed, ...]:
    return (
        _seed("dynamic", handmade.vdi(), (64, 20), (340, 130), (512, 32)),
        _seed("fixed", handmade.vdi(kind=2), (64, 20), (340, 130), (512, 32)),
    )


@cache
def vhd_seeds() -> tuple[Seed, ...]:
    size = 4 * MIB
    fixed = handmade.mbr().ljust(size, b"\0") + handmade.vhd_footer(size)
    dynamic = handmade.vhd_dynamic(size)
    hot = ((0, 96), (512, 100), (1536, 32), (2048, 32), (len(dynamic) - 512, 96))
    return (
        _seed("fixed", fixed, (0, 16), (size, 96)),
        _seed("short", fixed[:-1], (size, 96)),
        _seed("dynamic", dynamic, *hot),
        _seed("parent", handmade.vhd_dynamic(size, kind=4), *hot, (1088, 200)),
        _seed("trailing", fixed + b"more", (size, 96)),
    )


@cache
def optical_seeds() -> tuple[Seed, ...]:
    start = 32768
    raw = handmade.raw_sectors(handmade.iso())
    return (
        _seed("iso", handmade.iso(boot=True), (start, 160), (start + 2048, 64), (446, 66)),
        _seed("udf", handmade.udf(), (start, 16), (start + 2048, 16), (256 * 2048, 32),
              (260 * 2048, 220)),
        _seed("sierra", handmade.high_sierra(), (start, 96)),
        _seed("raw", raw, (16 * 2352, 200), (17 * 2352, 64)),
        _seed("hybrid", handmade.iso(area=handmade.mbr()), (446, 66), (start, 160)),
    )  # fmt: skip


@cache
def archive_seeds() -> tuple[Seed, ...]:
    import bz2
    import gzip
    import lzma

    ovf = b'<Envelope><References><File ovf:href="d.vmdk"/></References></Envelope>'
    tape = handmade.tar(("vm.ovf", ovf), ("vm.mf", b"x"), ("d.vmdk", bytes(700)))
    disc = handmade.iso()
    return (
        _seed("tar", tape),
        _seed("gzip", gzip.compress(disc)),
        _seed("xz", lzma.compress(disc)),
        _seed("bzip2", bz2.compress(bytes(1000))),
        _seed("zip", b"PK\3\4\x14\0\0\0\x08\0".ljust(600, b"\1"), (0, 32)),
        _seed("zstd", b"\x28\xb5\x2f\xfd\x04\x58".ljust(600, b"\1"), (0, 16)),
        _seed("7z", b"7z\xbc\xaf\x27\x1c\0\4".ljust(600, b"\1"), (0, 16)),
    )


@cache
def other_seeds() -> tuple[Seed, ...]:
    words = tuple(
        _seed(f"{row.name}-{index}", row.magic.ljust(SOME, b"\0"), (0, 64))
        for index, row in enumerate(formats.foreign.ROWS)
        if row.offset == 0
    )
    trailer = bytes(SOME) + b"koly\0\0\0\4".ljust(512, b"\0")
    luks = (b"LUKS\xba\xbe\0\2".ljust(168, b"\0") + b"uuid").ljust(SOME, b"\0")
    return (*words, _seed("koly", trailer, (SOME, 512)), _seed("luks", luks, (0, 220)))


@cache
def raw_seeds() -> tuple[Seed, ...]:
    image = handmade.mbr().ljust(MIB, b"\0")
    return (
        _seed("mbr", image, (0, 64), (446, 66)),
        _seed("text", b"hello there, this is a text\n" * 40),
        _seed("html", b"<!DOCTYPE html><html>" + b" " * 100),
        _seed("elf", b"\x7fELF".ljust(2000, b"\0"), (0, 64)),
        _seed("mz", (b"MZ".ljust(60, b"\0") + b"\x80\0\0\0").ljust(2000, b"\0"), (0, 160)),
    )


@cache
def disk_seeds() -> tuple[Seed, ...]:
    gpt, size = handmade.gpt_disk(), 4 * MIB
    ext = handmade.patched(gpt, MIB + 1024 + 56, b"\x53\xef")
    xfs = handmade.patched(gpt, MIB, b"XFSB")
    btrfs = handmade.patched(gpt, MIB + 65536 + 64, b"_BHRfS_M")
    ntfs = handmade.patched(gpt, MIB, b"\xeb\x52\x90NTFS    \0\2\x08")
    fat = handmade.patched(gpt, MIB, b"\xeb\x3c\x90mkfs.fat\0\2\4\1\0")
    swap = handmade.patched(gpt, MIB + 4086, b"SWAPSPACE2")
    label = b"LABELONE" + struct.pack("<QII8s", 1, 0, 32, b"LVM2 001")
    volumes = handmade.patched(gpt, MIB + 512, label)
    stick = handmade.patched(gpt, MIB, handmade.iso()[: 60 * 2048])
    extended = handmade.patched(handmade.mbr().ljust(size, b"\0"), 450, b"\x05")
    table = ((440, 72), (512, 92), (1024, 256), (size - 512, 92))
    start = (MIB, 600)
    return (
        _seed("gpt", gpt, *table),
        _seed("mbr", handmade.mbr().ljust(size, b"\0"), (440, 72)),
        _seed("extended", extended, (440, 72), (MIB, 512)),
        _seed("ext", ext, (MIB + 1024, 300), *table[:1]),
        _seed("xfs", xfs, start),
        _seed("btrfs", btrfs, (MIB + 65536, 600)),
        _seed("ntfs", ntfs, start),
        _seed("fat", fat, start),
        _seed("swap", swap, (MIB + 1024, 64), (MIB + 4080, 16)),
        _seed("lvm", volumes, (MIB + 512, 600), (MIB + 4096, 600)),
        _seed("stick", stick, (MIB + 32768, 160)),
    )


@cache
def cpio_seeds() -> tuple[Seed, ...]:
    def entry(name: bytes, data: bytes) -> bytes:
        numbers = (0, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name + b"\0"
        head += bytes(-len(head) % 4)
        return head + data + bytes(-len(data) % 4)

    image = entry(b"kernel/x86/a", b"abc") + entry(b"TRAILER!!!", b"") + bytes(512) + b"\x1f\x8b"
    return (_seed("early", image),)


@cache
def all_seeds() -> tuple[Seed, ...]:
    """One of each, for the whole of identification."""
    return (
        *qcow2_seeds(),
        *vmdk_seeds(),
        *vhdx_seeds(),
        *vdi_seeds(),
        *vhd_seeds(),
        *optical_seeds(),
        *archive_seeds(),
        *raw_seeds(),
        *other_seeds(),
    )


def _targets() -> Iterator[Target]:
    yield Target("identify", partial(_identify, all_seeds), all_seeds)
    by_name = {
        "qcow2": qcow2_seeds,
        "vmdk": vmdk_seeds,
        "vhdx": vhdx_seeds,
        "vdi": vdi_seeds,
        "vhd": vhd_seeds,
        "iso": optical_seeds,
        "archive": archive_seeds,
        "foreign": other_seeds,
        "luks": other_seeds,
        "raw": raw_seeds,
    }
    for format_ in formats.FORMATS:
        seeds = by_name[format_.name]
        yield Target(format_.name, partial(_format, format_, seeds), seeds)
    for name, parse, seeds in (
        ("optical", optical.find, optical_seeds),
        ("labels", labels.disk_labels, disk_seeds),
        ("nested", formats.nested, all_seeds),
        ("tar", lambda reader: list(tar.members(reader)), archive_seeds),
        ("ova", _ova, archive_seeds),
        ("partitions", _partitions, disk_seeds),
        ("filesystems", lambda reader: filesystems.describe(reader, MIB, 2 * MIB), disk_seeds),
        ("lvm", lambda reader: lvm.parse(reader, MIB), disk_seeds),
        ("disk", _disk, disk_seeds),
        ("free-space", _free_space, disk_seeds),
        ("cpio", _cpio, cpio_seeds),
    ):
        yield Target(name, partial(_call, parse, seeds), seeds)
    text = handmade.vmdk_descriptor()
    yield Target(
        "vmdk-descriptor",
        partial(_whole, lambda data: (vmdk_descriptor.is_descriptor(data), vmdk_descriptor.parse(data))),
        lambda: (_seed("text", text),),
    )  # fmt: skip


TARGETS = {target.name: target for target in _targets()}
