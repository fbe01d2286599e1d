"""The superblock of an XFS, field by field: what is believed, and what makes its free space unknown."""

from __future__ import annotations

import dataclasses

import pytest
from made_xfs import BITS, BLOCK, BLOCKS, LOG, METADATA, PER_GROUP, SIZE, UUID, Head

from pipeline.content.free_space import xfs
from pipeline.content.free_space.base import KeptError
from pipeline.content.free_space.xfs_tree import Geometry


class Beginning:
    """A volume of which only the superblock is there."""

    def __init__(self, raw: bytes, size: int = SIZE) -> None:
        self.raw, self.size = raw, size

    def read(self, offset: int, length: int) -> bytes:
        assert offset == 0
        return self.raw[:length]


def believed(head: Head, size: int = SIZE) -> Geometry:
    return xfs._superblock(Beginning(head.raw, size))[0]


def refused(head: Head | bytes, size: int = SIZE) -> str | None:
    """Why it is not believed, None where it is."""
    try:
        xfs._superblock(Beginning(head if isinstance(head, bytes) else head.raw, size))
    except KeptError as error:
        return str(error)
    return None


WHOLE = Geometry(5, BLOCK, 1024, BLOCKS, PER_GROUP, 1 << BITS, 3, 1 << BITS | LOG, 10, 0, METADATA)


def test_all_of_its_numbers_are_taken_from_their_places() -> None:
    assert xfs._superblock(Beginning(Head().raw)) == (WHOLE, 0x0123456789)
    other = Head(4, incompatible=0x21, read_only=0x21, compatible=0x21)
    told = dataclasses.replace(WHOLE, version=4, uuid=UUID)
    assert xfs._superblock(Beginning(other.raw)) == (told, 0x0123456789)


def test_features_tell_which_uuid_metadata_has() -> None:
    assert believed(Head(incompatible=0x1)).uuid == UUID
    assert believed(Head(incompatible=0x8)).uuid == UUID
    assert believed(Head(incompatible=0x4)).uuid == METADATA
    for mask in (0x1, 0x2, 0x4, 0x8, 0xF):
        assert believed(Head(read_only=mask)).read_only == mask


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"version": 3}, "it has version 3, which is not looked into"),
        ({"version": 6}, "it has version 6, which is not looked into"),
        ({"version": 5, "making": 1}, "its making was not finished"),
        ({"version": 4, "making": 0x80}, "its making was not finished"),
        ({"sector": 256}, "its sector size is not possible"),
        ({"sector": 511}, "its sector size is not possible"),
        ({"sector": 512}, None),
        ({"sector": 768}, "its sector size is not possible"),
        ({"sector": 1280}, "its sector size is not possible"),
        ({"sector": 2048}, None),
        ({"sector": 4096}, "its group size is not possible"),  # more than a block
        ({"block_bits": 10}, "its block size is not possible"),
        ({"block_bits": 12}, "its block size is not possible"),
        ({"block": 2049, "block_bits": 11}, "its block size is not possible"),
        ({"per_group": 0}, "its group size is not possible"),
        ({"per_group": 1025, "groups": 2}, "its group size is not possible"),
        ({"per_group": 1024, "groups": 2}, None),
        ({"per_group": 513}, None),
        ({"per_group": 512}, "its group size contradicts"),
        ({"per_group": 511}, "its group size contradicts"),
        ({"per_group": 1, "group_bits": 0}, "its groups are smaller than mkfs makes them"),
        ({"groups": 2}, "its number of groups contradicts its size"),
        ({"groups": 4}, "its number of groups contradicts its size"),
        ({"blocks": 1201}, None),
        ({"blocks": 1200}, "its number of groups contradicts its size"),
        ({"blocks": 1200, "groups": 2}, None),
        ({"log": 0}, "its log lies on another device"),
        ({"log": 1}, None),
        ({"log": 590}, None),
        ({"log": 591}, "its log lies outside"),
        ({"log": 1 << BITS | 590}, None),
        ({"log": 1 << BITS | 591}, "its log lies outside"),
        ({"log": 2 << BITS | 3}, None),
        ({"log": 3 << BITS | 3}, "its log lies outside"),
        ({"log": 1 << 40 | 3}, "its log lies outside"),
        ({"log_blocks": 0}, "its log lies outside"),
        ({"log_blocks": 1}, None),
        ({"log_blocks": 560}, None),
        ({"log_blocks": 561}, "its log lies outside"),
        ({"log_blocks": 0x01000001}, "its log lies outside"),
        ({"incompatible": 0x11}, "it is marked as in need of repair"),
        ({"incompatible": 0x110}, "it is marked as in need of repair"),
        ({"read_only": 0x12}, "it has unknown read-only compatible features 0x10"),
        ({"incompatible": 0x103}, "it has unknown incompatible features 0x100"),
        ({"compatible": 0x3}, "it has unknown compatible features 0x3"),
        ({"features": 0x1C0}, "it has unknown features 0x40"),
        ({"bits": 0xF6B0}, "it has unknown version bits 0x4200"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(changed: dict[str, int], words: str | None) -> None:
    assert refused(Head(**changed)) == words


@pytest.mark.parametrize(
    ("block", "possible"), [(256, False), (512, True), (4096, True), (65536, True), (131072, False)]
)
def test_a_block_has_a_possible_size(block: int, possible: bool) -> None:
    per_group = max(1 << 20, 64 * block) // block
    head = Head(block=block, sector=512, per_group=per_group, blocks=2 * per_group, groups=2,
                group_bits=per_group.bit_length() - 1, log=9)  # fmt: skip
    words = None if possible else "its block size is not possible"
    assert refused(head, head.blocks * block) == words


@pytest.mark.parametrize("sector", [512, 1024, 4096, 32768])
def test_the_checksum_is_of_its_whole_sector(sector: int) -> None:
    head = Head(block=32768, sector=sector)
    assert refused(head, BLOCKS * 32768) is None
    for at in (sector - 1, 223, 228, 300):
        raw = bytearray(head.raw)
        raw[at] ^= 1
        assert refused(bytes(raw), BLOCKS * 32768) == "its superblock has a wrong checksum"
    short = "its superblock would lie at byte 0, outside of it"
    assert refused(head.raw[: sector - 1]) == short
    assert refused(head.raw[:511]) == short


def test_a_superblock_has_its_name() -> None:
    for magic in (b"XFSA", b"XFSC", b"XFS\0", b"XAGF"):
        assert refused(magic + Head().raw[4:]) == "its superblock has no magic number"


@pytest.mark.parametrize(
    ("block", "per_group", "words"),
    [
        (2048, 512, None),
        (2048, 511, "its groups are smaller than mkfs makes them"),
        (1024, 1024, None),
        (1024, 1023, "its groups are smaller than mkfs makes them"),
    ],
)
def test_groups_have_a_mib_at_the_least(block: int, per_group: int, words: str | None) -> None:
    bits = (per_group - 1).bit_length()
    head = Head(block=block, per_group=per_group, group_bits=bits, blocks=3 * per_group, log=9)
    assert refused(head, 3 * per_group * block) == words


def test_there_may_be_hundreds_of_groups() -> None:
    many = {"blocks": 299 * PER_GROUP + 7, "groups": 300}
    size = many["blocks"] * BLOCK
    assert believed(Head(**many), size).groups == 300
    assert believed(Head(**many, log=299 << BITS | 3), size).groups == 300
    assert refused(Head(**many, log=300 << BITS | 3), size) == "its log lies outside"
    words = f"it says that it has {size} bytes, in a place of {size - 1}"
    assert refused(Head(**many), size - 1) == words
    assert refused(Head(**many), size + 1) is None


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("field", "kind", "known"),
    [
        ("features", "features", {1, 3, 7, 8, 9}),
        ("read_only", "read-only compatible features", {0, 1, 2, 3}),
        ("compatible", "compatible features", set()),
        ("incompatible", "incompatible features", {0, 1, 2, 3, 5, 6, 7}),
    ],
)
def test_only_features_that_are_known_leave_it_believed(
    version: int, field: str, kind: str, known: set[int]
) -> None:
    """The last three are fields of version 5 alone."""
    for bit in range(32):
        told: str | None = f"it has unknown {kind} {1 << bit:#x}"
        if (field, bit) == ("incompatible", 4):
            told = "it is marked as in need of repair"
        if bit in known or (version == 4 and field != "features"):
            told = None
        assert refused(Head(version, **{field: 1 << bit})) == told, bit


@pytest.mark.parametrize("version", [4, 5])
def test_only_version_bits_that_are_known_leave_it_believed(version: int) -> None:
    for bit in range(4, 16):
        told = f"it has unknown version bits {1 << bit:#x}" if bit in (9, 14) else None
        assert refused(Head(version, bits=1 << bit)) == told, bit


def test_version_4_has_no_checksum() -> None:
    raw = bytearray(Head(4).raw)
    raw[300] ^= 1
    assert refused(bytes(raw)) is None
