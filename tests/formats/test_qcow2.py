"""qcow2 from bytes written by hand: what is legal passes, every hostile field has its rule."""

import random
import subprocess
import zlib
from pathlib import Path

import handmade
import pytest
from handmade import MIB, be32, be64, patched

from pipeline import formats
from pipeline.formats.base import Container

COPIED, COMPRESSED = 1 << 63, 1 << 62
CLUSTER = 4096


def look(image: bytes) -> Container:
    return formats.identify(handmade.Memory(image)).container


def rules(image: bytes) -> set[str]:
    return {problem.rule for problem in look(image).problems}


@pytest.mark.parametrize("bits", [9, 12, 16, 21])
@pytest.mark.parametrize("version", [2, 3])
def test_plain_images_of_every_cluster_size_pass(version: int, bits: int) -> None:
    container = look(handmade.qcow2(version=version, bits=bits, size=64 << bits))
    assert container.problems == ()
    assert (container.format, container.variant) == ("qcow2", f"v{version}")
    assert container.virtual_size == 64 << bits


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(handmade.qcow2(extensions=((0x12345678, b"abc"),)), id="unknown-extension"),
        pytest.param(patched(handmade.qcow2(), 80, be64(1)), id="lazy-refcounts"),
        pytest.param(patched(handmade.qcow2(), 80, be64(1 << 40)), id="unknown-compatible-bit"),
        pytest.param(patched(handmade.qcow2(), 88, be64(1 << 40)), id="unknown-autoclear-bit"),
        pytest.param(handmade.qcow2() + b"trailing", id="trailing-bytes"),
        pytest.param(handmade.qcow2(size=MIB - 3), id="odd-size"),
        pytest.param(
            handmade.qcow2(size=2 * CLUSTER + 100)[: 7 * CLUSTER + 512], id="end-of-disk-not-full"
        ),
        pytest.param(handmade.qcow2(incompatible=1 << 3, compression=1), id="zstd"),
        pytest.param(handmade.qcow2(extensions=((0xE2792ACA, b"raw"),)), id="backing-format-only"),
    ],
)
def test_odd_but_valid_passes(image: bytes) -> None:
    assert look(image).problems == ()


def first_l2(entry: int) -> bytes:
    return handmade.qcow2(l2=(entry,))


HOSTILE = {
    "version-0": (patched(handmade.qcow2(), 4, be32(0)), "unsupported-feature"),
    "version-4": (patched(handmade.qcow2(), 4, be32(4)), "unsupported-feature"),
    "unknown-bit": (handmade.qcow2(incompatible=1 << 17), "unsupported-feature"),
    "unknown-bit-63": (handmade.qcow2(incompatible=1 << 63), "unsupported-feature"),
    "compression-9": (handmade.qcow2(incompatible=8, compression=9), "unsupported-feature"),
    "compression-without-bit": (handmade.qcow2(compression=1), "corrupt-header"),
    "dirty": (handmade.qcow2(incompatible=1), "unclean-shutdown"),
    "corrupt-bit": (handmade.qcow2(incompatible=2), "marked-corrupt"),
    "data-file-without-name": (handmade.qcow2(incompatible=4), "external-data-file"),
    "data-file-name": (
        handmade.qcow2(incompatible=4, extensions=((0x44415441, b"/etc/shadow"),)),
        "external-data-file",
    ),
    "data-file-name-without-bit": (
        handmade.qcow2(extensions=((0x44415441, b"/etc/shadow"),)),
        "external-data-file",
    ),
    "backing": (handmade.qcow2(backing=b"/etc/shadow"), "backing-file"),
    "backing-json": (handmade.qcow2(backing=b'json:{"driver":"nbd"}'), "backing-file"),
    "backing-outside": (patched(handmade.qcow2(), 8, be64(1 << 40)), "backing-file"),
    "aes": (handmade.qcow2(encryption=1), "encrypted-container"),
    "luks": (handmade.qcow2(encryption=2), "encrypted-container"),
    "unknown-encryption": (handmade.qcow2(encryption=77), "encrypted-container"),
    "cluster-bits-8": (patched(handmade.qcow2(), 20, be32(8)), "corrupt-header"),
    "cluster-bits-63": (patched(handmade.qcow2(), 20, be32(63)), "corrupt-header"),
    "cluster-bits-max": (patched(handmade.qcow2(), 20, be32(2**32 - 1)), "corrupt-header"),
    "cluster-bits-max-and-a-partition-table": (
        patched(patched(handmade.qcow2(), 20, be32(2**32 - 1)), 512, b"EFI PART"),
        "corrupt-header",
    ),
    "size-0": (patched(handmade.qcow2(), 24, be64(0)), "empty-image"),
    "size-max": (patched(handmade.qcow2(), 24, be64(2**63)), "header-limits"),
    "l1-short": (patched(handmade.qcow2(size=8 * MIB), 36, be32(1)), "corrupt-header"),
    "l1-huge": (patched(handmade.qcow2(), 36, be32(2**32 - 1)), "header-limits"),
    "l1-misaligned": (patched(handmade.qcow2(), 40, be64(3 * CLUSTER + 512)), "corrupt-header"),
    "l1-on-header": (patched(handmade.qcow2(), 40, be64(0)), "corrupt-header"),
    "l1-far-away": (patched(handmade.qcow2(), 40, be64(1 << 50)), "corrupt-header"),
    "l1-behind-cut": (patched(handmade.qcow2(), 40, be64(9 * CLUSTER)), "truncated"),
    "refcounts-on-l1": (patched(handmade.qcow2(), 48, be64(3 * CLUSTER)), "corrupt-header"),
    "refcounts-huge": (patched(handmade.qcow2(), 56, be32(1 << 30)), "header-limits"),
    "refcounts-none": (patched(handmade.qcow2(), 56, be32(0)), "corrupt-header"),
    "refcount-order-7": (patched(handmade.qcow2(), 96, be32(7)), "corrupt-header"),
    "header-length-0": (patched(handmade.qcow2(), 100, be32(0)), "corrupt-header"),
    "header-length-max": (patched(handmade.qcow2(), 100, be32(2**32 - 1)), "corrupt-header"),
    "snapshots-flood": (patched(handmade.qcow2(), 60, be32(20000)), "header-limits"),
    "snapshots-misplaced": (patched(handmade.qcow2(), 60, be32(1) + be64(77)), "corrupt-header"),
    "snapshots-none-but-misplaced": (patched(handmade.qcow2(), 64, be64(77)), "corrupt-header"),
    "snapshots-far-away": (
        patched(handmade.qcow2(), 60, be32(1) + be64(1 << 40)),
        "corrupt-metadata",
    ),
    "extension-too-long": (
        patched(handmade.qcow2(extensions=((1, b"x"),)), 108, be32(2**32 - 1)),
        "corrupt-header",
    ),
    "extension-flood": (handmade.qcow2(extensions=((1, b""),) * 200), "header-limits"),
    "bitmap-flood": (
        handmade.qcow2(extensions=((0x23852875, be32(70000) + bytes(4) + be64(64) + be64(0)),)),
        "header-limits",
    ),
    "extended-l2-small-clusters": (handmade.qcow2(incompatible=1 << 4), "corrupt-header"),
    "l1-entry-twice": (
        patched(handmade.qcow2(size=8 * MIB), 3 * CLUSTER, be64(4 * CLUSTER | COPIED) * 2),
        "corrupt-metadata",
    ),
    "l1-entry-on-header": (
        patched(handmade.qcow2(), 3 * CLUSTER, be64(COPIED)),
        "corrupt-metadata",
    ),
    "l1-entry-reserved-bits": (
        patched(handmade.qcow2(), 3 * CLUSTER, be64(4 * CLUSTER | 1)),
        "corrupt-metadata",
    ),
    "l1-entry-beyond-end": (
        patched(handmade.qcow2(), 3 * CLUSTER, be64(COPIED | 1 << 40)),
        "corrupt-metadata",
    ),
    "l2-beyond-end": (first_l2(COPIED | 1 << 40), "corrupt-metadata"),
    "l2-on-header": (handmade.qcow2(l2=(COPIED | CLUSTER,)), "corrupt-metadata"),
    "l2-misaligned": (first_l2(COPIED | 5 * CLUSTER + 512), "corrupt-metadata"),
    "l2-reserved-bits": (first_l2(COPIED | 5 * CLUSTER | 2), "corrupt-metadata"),
    "l2-shared": (handmade.qcow2(l2=(COPIED | 5 * CLUSTER,) * 2), "corrupt-metadata"),
    "l2-compressed-on-table": (first_l2(COMPRESSED | CLUSTER), "corrupt-metadata"),
    "l2-compressed-garbage": (first_l2(COMPRESSED | 5 * CLUSTER), "corrupt-metadata"),
    "refcount-block-misaligned": (
        patched(handmade.qcow2(), CLUSTER, be64(2 * CLUSTER + 512)),
        "corrupt-metadata",
    ),
    "refcount-block-twice": (
        patched(handmade.qcow2(), CLUSTER, be64(2 * CLUSTER) * 2),
        "corrupt-metadata",
    ),
    "last-cluster-missing": (handmade.qcow2()[:-CLUSTER], "truncated"),
    "magic-only": (b"QFI\xfb", "truncated"),
    "written-over-a-disk": (b"QFI\xfb" + handmade.mbr()[4:] + bytes(MIB), "corrupt-header"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_field_has_its_rule(name: str) -> None:
    image, rule = HOSTILE[name]
    assert rule in rules(image)


@pytest.mark.parametrize("name", HOSTILE)
def test_problems_point_at_bytes_and_hold_no_control_characters(name: str) -> None:
    for problem in look(HOSTILE[name][0]).problems:
        assert problem.offset is not None
        assert problem.offset >= 0
        assert problem.detail.isprintable()


def test_compressed_clusters_are_unpacked_where_that_is_cheap() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    packed = packer.compress(b"A" * CLUSTER) + packer.flush()
    image = handmade.qcow2(l2=(COMPRESSED | 5 * CLUSTER,))
    assert look(patched(image, 5 * CLUSTER, packed)).problems == ()


def test_many_clusters_that_share_compressed_data_are_a_bomb() -> None:
    # given: 64 KiB clusters, so that one L2 table has 8192 entries for one place
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    packed = packer.compress(b"A" * 65536) + packer.flush()
    image = handmade.qcow2(bits=16, size=512 * MIB, l2=(COMPRESSED | 5 << 16,) * 8192)
    # when it is looked at, then it is refused as what it is
    assert rules(patched(image, 5 << 16, packed)) == {"expansion-limit"}


def test_clusters_that_only_refcounts_know_are_leaks_and_no_cut() -> None:
    # given a crash: three clusters are counted behind the end, and no table uses them
    image = handmade.qcow2(clusters=1)
    crashed = patched(image, 2 * CLUSTER, b"\0\1" * 9)
    # when it is looked at, then nothing is missing
    assert look(crashed).problems == ()
    # but with a table that uses one of them there is
    entries = be64(COPIED | 5 * CLUSTER) + be64(COPIED | 7 * CLUSTER)
    assert rules(patched(crashed, 4 * CLUSTER, entries)) == {"truncated"}


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize(
    "options",
    ["", "-c", "-o cluster_size=512", "-o cluster_size=2M", "-o preallocation=metadata", "-S 0"],
)
def test_a_byte_that_lacks_is_seen_whatever_wrote_the_file(tmp_path: Path, options: str) -> None:
    # given a disk whose data ends inside of a cluster, as qemu-img packs it
    raw, made = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(patched(bytes(5 * MIB), 3 * MIB, random.Random(3).randbytes(70_000)))
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options.split(), raw, made],
        check=True,
        timeout=60,
    )
    whole = made.read_bytes()
    # when nothing lacks, then nothing is said
    assert look(whole).problems == ()
    # but when a byte of the data does, and packed data may have a last one that nobody needs
    cut = whole.rstrip(b"\0")[:-2] if "-c" in options else whole[:-1]
    assert rules(cut) == {"truncated"}


def test_an_l2_table_that_ends_early_is_a_cut() -> None:
    assert rules(handmade.qcow2(clusters=0)[:-1]) == {"truncated"}


def test_references_are_named_and_cleaned() -> None:
    container = look(handmade.qcow2(backing=b"/tmp/\x1b[31m\nred"))
    assert container.external_references == ("/tmp/\\x1b[31m\\nred",)


def test_every_cut_is_seen() -> None:
    # given a file whose last cluster is in use
    image = handmade.qcow2()
    # when it is cut anywhere
    early = (0, 1, 3, 4, 7, 8, 71, 72, 73, 103, 104)
    for length in (*early, *range(512, len(image), 512), len(image) - 1):
        found = rules(image[:length])
        # then it is never accepted
        assert found & {"truncated", "empty-image", "corrupt-header", "corrupt-metadata"}, length
