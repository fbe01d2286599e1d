"""VMDK, VDI and VHDX from bytes written by hand."""

import uuid

import handmade
import handmade_vhdx
import pytest
from handmade import MIB, le32, le64, patched

from pipeline import formats
from pipeline.formats.base import Container
from pipeline.formats.crc32c import crc32c


def look(image: bytes) -> Container:
    return formats.identify(handmade.Memory(image)).container


def rules(image: bytes) -> set[str]:
    return {problem.rule for problem in look(image).problems}


def described(**settings: object) -> bytes:
    return handmade.vmdk_descriptor(**settings)  # type: ignore[arg-type]


ACCEPTED = {
    "vmdk": (handmade.vmdk(), "vmdk", "monolithicSparse", MIB),
    "vmdk-stream": (handmade.vmdk_stream(), "vmdk", "streamOptimized", MIB),
    "vmdk-version-2": (handmade.vmdk(version=2), "vmdk", "monolithicSparse", MIB),
    "vmdk-crlf": (
        handmade.vmdk(descriptor=described().replace(b"\n", b"\r\n")),
        "vmdk",
        "monolithicSparse",
        MIB,
    ),
    "vdi": (handmade.vdi(), "vdi", "dynamic", 4 * MIB),
    "vdi-fixed": (handmade.vdi(kind=2), "vdi", "fixed", 4 * MIB),
    "vhdx": (handmade_vhdx.vhdx(), "vhdx", "dynamic", 4 * MIB),
    "vhdx-fixed": (handmade_vhdx.vhdx(flags=1), "vhdx", "fixed", 4 * MIB),
    "vhdx-log-without-entries": (handmade_vhdx.vhdx(log_id=b"\7" * 16), "vhdx", "dynamic", 4 * MIB),
    "vhdx-second-header-lost": (
        patched(handmade_vhdx.vhdx(), 128 << 10, bytes(4096)),
        "vhdx",
        "dynamic",
        4 * MIB,
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_sound_images_pass(name: str) -> None:
    image, kind, variant, size = ACCEPTED[name]
    container = look(image)
    assert container.problems == ()
    assert (container.format, container.variant, container.virtual_size) == (kind, variant, size)


VMDK_TEXTS = {
    "flat": described(kind="monolithicFlat", extent="FLAT", name="/etc/shadow"),
    "vmfs": described(kind="vmfs", extent="VMFS", name="disk-flat.vmdk"),
    "device": described(kind="fullDevice", extent="FLAT", name="/dev/sda"),
    "json": described(extent="SPARSE", name="json:{}"),
    "late-mark": b"\n# a comment\n\n" + described(),
    "no-mark": described().split(b"\n", 1)[1],
    "crlf": described().replace(b"\n", b"\r\n"),
    "padded": described().ljust(65536, b"\0"),
    "not-utf-8": described().replace(b"disk.vmdk", b"\xff\xfe.vmdk"),
    "many": described() + b'RW 2048 FLAT "x.vmdk" 0\n' * 10000,
}


@pytest.mark.parametrize("name", VMDK_TEXTS)
def test_a_descriptor_alone_is_refused_with_its_extents(name: str) -> None:
    container = look(VMDK_TEXTS[name])
    assert container.format == "vmdk"
    assert {problem.rule for problem in container.problems} == {"vmdk-extents"}
    assert container.external_references
    assert all(reference.isprintable() for reference in container.external_references)


def test_a_descriptor_with_a_parent_names_it() -> None:
    text = described(parent="deadbeef") + b'parentFileNameHint="/vm/base.vmdk"\n'
    container = look(text)
    assert {problem.rule for problem in container.problems} == {"vmdk-extents", "parent-image"}
    assert container.external_references[0] == "/vm/base.vmdk"


STREAM = handmade.vmdk_stream()
VHDX_HEAD, VHDX_REGIONS = 64 << 10, 192 << 10
VHDX_ITEMS = 2 * MIB + 65536


def both(image: bytes, places: tuple[int, int], at: int, new: bytes, length: int) -> bytes:
    """Change both copies of a VHDX structure, and make their checksums right."""
    for place in places:
        whole = handmade_vhdx.summed(patched(image[place : place + length], at, new))
        image = patched(image, place, whole)
    return image


def heads(at: int, new: bytes) -> bytes:
    return both(handmade_vhdx.vhdx(), (64 << 10, 128 << 10), at, new, 4096)


def regions(at: int, new: bytes) -> bytes:
    return both(handmade_vhdx.vhdx(), (192 << 10, 256 << 10), at, new, 65536)


HOSTILE = {
    "vmdk-flat-inside": (
        handmade.vmdk(descriptor=described(kind="monolithicFlat", extent="FLAT", name="a.vmdk")),
        "vmdk-extents",
    ),
    "vmdk-path-inside": (
        handmade.vmdk(descriptor=described(name="/etc/shadow")),
        "vmdk-extents",
    ),
    "vmdk-protocol-inside": (
        handmade.vmdk(descriptor=described(name="nbd:localhost:10809")),
        "vmdk-extents",
    ),
    "vmdk-two-extents-inside": (
        handmade.vmdk(descriptor=described() + b'RW 2048 SPARSE "b.vmdk"\n'),
        "vmdk-extents",
    ),
    "vmdk-capacity-0": (handmade.vmdk(capacity=0), "vmdk-extents"),
    "vmdk-no-descriptor": (patched(handmade.vmdk(), 28, bytes(16)), "vmdk-extents"),
    "vmdk-parent": (handmade.vmdk(descriptor=described(parent="12345678")), "parent-image"),
    "vmdk-key": (
        handmade.vmdk(descriptor=described() + b'encryption.keySafe = "vmware:key"\n'),
        "encrypted-container",
    ),
    "vmdk-unclean": (handmade.vmdk(unclean=1), "unclean-shutdown"),
    "vmdk-version-9": (handmade.vmdk(version=9), "unsupported-feature"),
    "vmdk-flags": (patched(handmade.vmdk(), 8, le32(1 << 30)), "unsupported-feature"),
    "vmdk-compression-7": (patched(handmade.vmdk(), 77, b"\7"), "unsupported-feature"),
    "vmdk-ascii-copy": (patched(handmade.vmdk(), 73, b"\n \n\n"), "corrupt-header"),
    "vmdk-grain-0": (patched(handmade.vmdk(), 20, le64(0)), "corrupt-header"),
    "vmdk-grain-odd": (patched(handmade.vmdk(), 20, le64(127)), "corrupt-header"),
    "vmdk-entries-0": (patched(handmade.vmdk(), 44, le32(0)), "corrupt-header"),
    "vmdk-entries-huge": (patched(handmade.vmdk(), 44, le32(2**31)), "corrupt-header"),
    "vmdk-capacity-huge": (handmade.vmdk(capacity=2**62), "header-limits"),
    "vmdk-descriptor-huge": (patched(handmade.vmdk(), 36, le64(2**40)), "header-limits"),
    "vmdk-directory-far": (patched(handmade.vmdk(), 56, le64(2**40)), "corrupt-header"),
    "vmdk-overhead-far": (patched(handmade.vmdk(), 64, le64(2**40)), "corrupt-header"),
    "vmdk-redundant-far": (
        patched(patched(handmade.vmdk(), 8, le32(3)), 48, le64(2**40)),
        "corrupt-header",
    ),
    "vmdk-table-far": (patched(handmade.vmdk(), 21 * 512, le32(2**31)), "corrupt-metadata"),
    "vmdk-grain-far": (patched(handmade.vmdk(), 22 * 512, le32(2**31)), "corrupt-metadata"),
    "vmdk-grain-twice": (patched(handmade.vmdk(), 22 * 512, le32(128) * 2), "corrupt-metadata"),
    "vmdk-grain-on-table": (patched(handmade.vmdk(), 22 * 512, le32(22)), "corrupt-metadata"),
    "vmdk-cut": (handmade.vmdk()[: 200 * 512], "truncated"),
    "vmdk-head-only": (handmade.vmdk()[:100], "truncated"),
    "vmdk-stream-cut": (STREAM[: len(STREAM) // 2], "truncated"),
    "vmdk-stream-footer-lies": (
        patched(STREAM, len(STREAM) - 1024 + 12, le64(1 << 20)),
        "corrupt-header",
    ),
    "vmdk-cowd": (b"COWD".ljust(4096, b"\0"), "unsupported-format"),
    "vmdk-sesparse": (le64(0xCAFEBABE).ljust(4096, b"\0"), "unsupported-format"),
    "vdi-differencing": (handmade.vdi(kind=4), "parent-image"),
    "vdi-parent": (handmade.vdi(parent=uuid.UUID(int=3).bytes), "parent-image"),
    "vdi-type-9": (handmade.vdi(kind=9), "unsupported-feature"),
    "vdi-version-0": (patched(handmade.vdi(), 68, le32(1)), "unsupported-feature"),
    "vdi-size-0": (patched(handmade.vdi(), 368, le64(0)), "empty-image"),
    "vdi-size-more-than-blocks": (patched(handmade.vdi(), 368, le64(1 << 40)), "corrupt-header"),
    "vdi-sectors": (patched(handmade.vdi(), 360, le32(4096)), "corrupt-header"),
    "vdi-block-size-0": (patched(handmade.vdi(), 376, le32(0)), "corrupt-header"),
    "vdi-block-size-2": (patched(handmade.vdi(), 376, le32(2 * MIB)), "unsupported-feature"),
    "vdi-blocks-huge": (patched(handmade.vdi(), 384, le32(2**32 - 1)), "header-limits"),
    "vdi-map-misplaced": (patched(handmade.vdi(), 340, le32(700)), "corrupt-header"),
    "vdi-map-on-data": (patched(handmade.vdi(), 340, le32(2048)), "corrupt-header"),
    "vdi-allocated-lies": (patched(handmade.vdi(), 388, le32(9)), "corrupt-header"),
    "vdi-block-twice": (patched(handmade.vdi(), 512, le32(1)), "corrupt-metadata"),
    "vdi-block-beyond": (patched(handmade.vdi(), 512, le32(77)), "corrupt-metadata"),
    "vdi-cut": (handmade.vdi()[:-512], "truncated"),
    "vdi-head-only": (handmade.vdi()[:200], "truncated"),
    "vhdx-parent": (handmade_vhdx.vhdx(flags=2), "parent-image"),
    "vhdx-log": (handmade_vhdx.vhdx(log_id=b"\7" * 16, entry=True), "unclean-shutdown"),
    "vhdx-log-misplaced": (heads(48, b"\7" * 16 + b"\0\0\1\0" + le32(MIB) + le64(512)), "corrupt-header"),
    "vhdx-version": (heads(66, b"\2\0"), "unsupported-feature"),
    "vhdx-headless": (
        patched(patched(handmade_vhdx.vhdx(), VHDX_HEAD, b"daeh"), 2 * VHDX_HEAD, b"daeh"),
        "corrupt-header",
    ),
    "vhdx-first-regions-lost": (
        patched(handmade_vhdx.vhdx(), 192 << 10, bytes(64)),
        "corrupt-header",
    ),
    "vhdx-region-count": (regions(8, le32(9999)), "header-limits"),
    "vhdx-region-unknown": (regions(16, b"\1" * 16), "unsupported-feature"),
    "vhdx-region-misplaced": (regions(32, le64(3 * MIB + 512)), "corrupt-header"),
    "vhdx-metadata-lost": (patched(handmade_vhdx.vhdx(), 2 * MIB, b"atadatem"), "corrupt-header"),
    "vhdx-metadata-count": (patched(handmade_vhdx.vhdx(), 2 * MIB + 10, b"\xff\xff"), "header-limits"),
    "vhdx-block-size": (patched(handmade_vhdx.vhdx(), VHDX_ITEMS, le32(3)), "corrupt-header"),
    "vhdx-size-0": (patched(handmade_vhdx.vhdx(), VHDX_ITEMS + 8, le64(0)), "empty-image"),
    "vhdx-size-huge": (patched(handmade_vhdx.vhdx(), VHDX_ITEMS + 8, le64(1 << 60)), "header-limits"),
    "vhdx-size-odd": (patched(handmade_vhdx.vhdx(), VHDX_ITEMS + 8, le64(MIB + 1)), "corrupt-header"),
    "vhdx-table-short": (patched(handmade_vhdx.vhdx(), VHDX_ITEMS + 8, le64(1 << 45)), "corrupt-header"),
    "vhdx-block-far": (patched(handmade_vhdx.vhdx(), 3 * MIB, le64(1 << 50 | 6)), "corrupt-metadata"),
    "vhdx-block-on-table": (patched(handmade_vhdx.vhdx(), 3 * MIB, le64(3 * MIB | 6)), "corrupt-metadata"),
    "vhdx-block-twice": (
        patched(handmade_vhdx.vhdx(), 3 * MIB, le64(4 * MIB | 6) * 2),
        "corrupt-metadata",
    ),
    "vhdx-block-state": (patched(handmade_vhdx.vhdx(), 3 * MIB, le64(4 * MIB | 5)), "corrupt-metadata"),
    "vhdx-cut": (handmade_vhdx.vhdx()[: 4 * MIB], "truncated"),
    "vhdx-head-only": (handmade_vhdx.vhdx()[:65536], "truncated"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_field_has_its_rule(name: str) -> None:
    image, rule = HOSTILE[name]
    container = look(image)
    assert container.format == name.split("-")[0]
    assert rule in {problem.rule for problem in container.problems}


@pytest.mark.parametrize(
    "image", [handmade.vmdk(), STREAM, handmade.vdi(), handmade_vhdx.vhdx()], ids=lambda image: ""
)
def test_every_cut_is_seen(image: bytes) -> None:
    for part in range(1, 40):
        length = len(image) * part // 41
        assert rules(image[:length]) & {"truncated", "corrupt-header"}, length


def test_crc32c_agrees_with_the_vectors_of_rfc_3720() -> None:
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"a" + bytes(65535)) == int.from_bytes(
        handmade_vhdx.summed(b"a" + bytes(65535))[4:8], "little"
    )
