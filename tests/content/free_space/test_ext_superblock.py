"""The superblock of ext: where each number stands, which are possible, and what follows for each group.

Bytes that no field is read from are noise here, and no two fields hold the same.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import made_volumes as made
import pytest
from vhd_files import MemoryDisk

from pipeline.content.free_space import ext_superblock
from pipeline.content.free_space.base import KeptError
from pipeline.content.free_space.ext_superblock import Superblock

FIELDS = {
    "inodes": (0, "<I"),
    "blocks": (4, "<I"),
    "free": (0xC, "<I"),
    "first": (0x14, "<I"),
    "log_block": (0x18, "<I"),
    "log_cluster": (0x1C, "<I"),
    "per_group": (0x20, "<I"),
    "clusters": (0x24, "<I"),
    "inodes_per_group": (0x28, "<I"),
    "state": (0x3A, "<H"),
    "revision": (0x4C, "<B"),
    "inode_size": (0x58, "<H"),
    "compatible": (0x5C, "<I"),
    "incompatible": (0x60, "<I"),
    "read_only": (0x64, "<I"),
    "uuid": (0x68, "16s"),
    "reserved": (0xCE, "<H"),
    "descriptor": (0xFE, "<H"),
    "first_meta": (0x104, "<I"),
    "blocks_high": (0x150, "<I"),
    "free_high": (0x158, "<I"),
    "checksum_kind": (0x175, "<B"),
    "backup": (0x24C, "<I"),
    "other_backup": (0x250, "<I"),
    "seed": (0x270, "<I"),
}
SMALL: Mapping[str, Any] = {
    "inodes": 120, "blocks": 1 + 3 * 2048 - 5, "free": 777, "first": 1, "log_block": 0,
    "per_group": 2048, "inodes_per_group": 40, "state": 1, "revision": 1, "inode_size": 256,
    "compatible": 0x1200, "incompatible": 0x28042, "read_only": 0xA001, "uuid": made.UUID,
    "reserved": 258, "first_meta": 300, "backup": 513, "other_backup": 70_000,
}  # fmt: skip
WIDE: Mapping[str, Any] = {
    "inodes": 32_793 * 24, "blocks": 12_345, "blocks_high": 1, "free": 5, "free_high": 3,
    "first": 0, "log_block": 2, "log_cluster": 4, "per_group": 131_072 - 96,
    "clusters": (131_072 - 96) // 4, "inodes_per_group": 24, "state": 0x0005, "revision": 1,
    "inode_size": 512, "compatible": 0, "incompatible": 0x2080 | 0x200, "read_only": 0x600,
    "uuid": made.UUID, "reserved": 3, "descriptor": 128, "first_meta": 9, "backup": 1,
    "other_backup": 2, "checksum_kind": 1, "seed": 0xFEDCBA98,
}  # fmt: skip


def disk(fields: Mapping[str, Any], size: int | None = None) -> MemoryDisk:
    """A volume that is as large as its superblock says, or ``size``."""
    raw = bytearray((n * 37 + 11) % 251 | 1 for n in range(1024))
    for name, value in fields.items():
        at, form = FIELDS[name]
        struct.pack_into(form, raw, at, value)
    struct.pack_into("<I", raw, 0x3FC, made.raw_crc32c(bytes(raw[:0x3FC])))
    blocks = fields["blocks"] | fields.get("blocks_high", 0) << 32
    told = max(2048, blocks * (1024 << min(fields["log_block"], 7)))
    return MemoryDisk(told if size is None else size, {1024: bytes(raw)})


def reason(fields: Mapping[str, Any], size: int | None = None) -> str | None:
    """Why it is refused; None: it is not."""
    try:
        ext_superblock.parse(disk(fields, size))
    except KeptError as error:
        return str(error)
    return None


def test_every_field_of_a_small_one() -> None:
    # given what only a wide one has, which here means nothing
    fields = {**SMALL, "descriptor": 512, "blocks_high": 7, "free_high": 8}

    assert ext_superblock.parse(disk(fields, 7 << 20)) == Superblock(
        block_size=1024,
        ratio=1,
        blocks=6140,
        free_blocks=777,
        first_data_block=1,
        blocks_per_group=2048,
        inodes_per_group=40,
        inode_size=256,
        descriptor_size=32,
        reserved_gdt=258,
        first_meta_group=300,
        backups=(513, 70_000),
        compatible=0x1200,
        incompatible=0x28042,
        read_only=0xA001,
        uuid=made.UUID,
        seed=made.raw_crc32c(made.UUID),
    )


def test_every_field_of_a_wide_one_with_clusters_and_checksums() -> None:
    found = ext_superblock.parse(disk(WIDE))

    assert found == Superblock(
        block_size=4096,
        ratio=4,
        blocks=(1 << 32) + 12_345,
        free_blocks=(3 << 32) + 5,
        first_data_block=0,
        blocks_per_group=130_976,
        inodes_per_group=24,
        inode_size=512,
        descriptor_size=128,
        reserved_gdt=3,
        first_meta_group=9,
        backups=(1, 2),
        compatible=0,
        incompatible=0x2280,
        read_only=0x600,
        uuid=made.UUID,
        seed=0xFEDCBA98,
    )
    assert (found.checksums, found.per_block, found.own_block, found.table_blocks) == (
        True, 32, 0, 3,
    )  # fmt: skip


def test_an_old_revision_has_inodes_of_128_bytes() -> None:
    found = ext_superblock.parse(disk({**SMALL, "revision": 0}))

    assert (found.inode_size, found.table_blocks) == (128, 5)


TWO_KIB = {**SMALL, "log_block": 1, "first": 0, "blocks": 6140}
CLUSTERS = {**WIDE, "log_block": 0, "log_cluster": 0, "blocks_high": 0, "blocks": 1 << 20,
            "per_group": 1 << 19, "inodes": 48, "descriptor": 64}  # fmt: skip
_GROUPS = "its number of blocks a group is not possible"
_CLUSTERS = "its cluster size is not possible"
_FIRST = "its first data block is not possible"
_INODES = "its numbers of inodes contradict"
_EACH = "its number of inodes a group is not possible"
_SIZES = "its inodes' size is not possible"
_LIES = "its descriptors' size lies"
_ERRORS = "errors were seen in it"


def clustered(shift: int) -> Mapping[str, Any]:
    """Blocks of 1 KiB in clusters of so many bits more."""
    return {**CLUSTERS, "log_cluster": shift, "clusters": (1 << 19) >> shift}


def grouped(per_group: int, base: Mapping[str, Any] = SMALL, ratio: int = 1) -> Mapping[str, Any]:
    """With groups of this size, and the numbers that hang together with it."""
    blocks = (base["blocks"] | base.get("blocks_high", 0) << 32) - base["first"]
    groups = -(-blocks // per_group) if per_group else 1
    more = {"per_group": per_group, "clusters": per_group // ratio}
    return {**base, **more, "inodes": groups * base["inodes_per_group"]}


LIMITS: dict[str, tuple[Mapping[str, Any], str | None]] = {
    "blocks of 64 KiB": ({**TWO_KIB, "log_block": 6}, None),
    "blocks of 128 KiB": ({**TWO_KIB, "log_block": 7}, "its block size is not possible"),
    "block 0 in blocks of 1 KiB": ({**SMALL, "first": 0, "blocks": 6139}, _FIRST),
    "block 2 in blocks of 1 KiB": ({**SMALL, "first": 2}, _FIRST),
    "blocks of 2 KiB": (TWO_KIB, None),
    "block 1 in blocks of 2 KiB": ({**TWO_KIB, "first": 1}, _FIRST),
    "clusters that nobody has": ({**SMALL, "log_cluster": 77, "clusters": 5}, None),
    "clusters of a block": ({**clustered(0), **grouped(8192, {**clustered(0), "first": 1})}, None),
    "clusters of two blocks": (grouped(1 << 14, clustered(1), 2), None),
    "clusters of 2 blocks, from 1": (grouped(1 << 14, {**clustered(1), "first": 1}, 2), _FIRST),
    "clusters of 65536 blocks": (clustered(16), None),
    "clusters of 131072 blocks": (clustered(17), _CLUSTERS),
    "clusters below a block": ({**WIDE, "log_cluster": 1}, _CLUSTERS),
    "too many clusters a group": ({**WIDE, "clusters": WIDE["clusters"] + 1},
                                  "its clusters and blocks a group contradict"),
    "far too many clusters a group": (
        {**WIDE, "clusters": WIDE["clusters"] + (1 << 24)},
        "its clusters and blocks a group contradict",
    ),
    "too few clusters a group": ({**WIDE, "clusters": WIDE["clusters"] - 1},
                                 "its clusters and blocks a group contradict"),
    "no blocks a group": (grouped(0), _GROUPS),
    "8 blocks a group": (grouped(8), None),
    "12 blocks a group": (grouped(12), _GROUPS),
    "8192 blocks a group": (grouped(8192), None),
    "8200 blocks a group": (grouped(8200), _GROUPS),
    "the most clusters a group": (grouped(131_072, WIDE, 4), None),
    "more clusters a group": (grouped(131_072 + 32, WIDE, 4), _GROUPS),
    "half a byte of clusters": (grouped(131_072 - 16, WIDE, 4), _GROUPS),
    "no block": ({**SMALL, "blocks": 1, "inodes": 40}, "it says that it has no blocks"),
    "none at all": ({**SMALL, "blocks": 0, "inodes": 40}, "it says that it has no blocks"),
    "one block": ({**SMALL, "blocks": 2, "inodes": 40}, None),
    "2048 blocks": ({**SMALL, "blocks": 2049, "inodes": 40}, None),
    "2049 blocks": ({**SMALL, "blocks": 2050, "inodes": 80}, None),
    "an inode too many": ({**SMALL, "inodes": 121}, _INODES),
    "an inode too few": ({**SMALL, "inodes": 119}, _INODES),
    "no inodes": ({**SMALL, "inodes": 0, "inodes_per_group": 0}, _EACH),
    "1 inode a group": ({**SMALL, "inodes": 3, "inodes_per_group": 1}, None),
    "8192 inodes a group": ({**SMALL, "inodes": 3 * 8192, "inodes_per_group": 8192}, None),
    "8193 inodes a group": ({**SMALL, "inodes": 3 * 8193, "inodes_per_group": 8193}, _EACH),
    **{f"inodes of {n}": ({**SMALL, "inode_size": n}, None) for n in (128, 256, 512, 1024)},
    **{f"inodes of {n}": ({**SMALL, "inode_size": n}, _SIZES) for n in (0, 64, 127, 129, 192, 768,
                                                                        1025, 2048)},
    **{f"descriptors of {n}": ({**WIDE, "descriptor": n}, None) for n in (32, 64, 512, 1024)},
    **{f"descriptors of {n}": ({**WIDE, "descriptor": n}, _LIES)
       for n in (0, 16, 31, 33, 48, 96, 1023, 2048, 4096)},
    **{f"state {n}": ({**SMALL, "state": n}, None) for n in (1, 5, 0xFFFD)},
    **{f"state {n}": ({**SMALL, "state": n}, "it was not unmounted") for n in (0, 4, 0xFFFC)},
    **{f"state {n}": ({**SMALL, "state": n}, _ERRORS) for n in (2, 3, 0xFFFF)},
    **{f"checksums of kind {n}": ({**WIDE, "checksum_kind": n},
                                  "its checksums are of an unknown kind") for n in (0, 2, 255)},
    "no checksums of kind 7": ({**SMALL, "checksum_kind": 7}, None),
    "a journal to replay": ({**SMALL, "incompatible": 0x28046},
                            "its journal holds changes that were not written back"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_which_numbers_are_possible(name: str) -> None:
    fields, wanted = LIMITS[name]

    assert reason(fields) == wanted


def test_as_many_groups_as_are_looked_at() -> None:
    most = 1 << 20
    fields = grouped(8, {**SMALL, "blocks": 1 + 8 * most, "inodes_per_group": 4})
    more = grouped(8, {**fields, "blocks": 2 + 8 * most})

    assert ext_superblock.parse(disk(fields)).groups == most
    assert reason(more) == f"it has {most + 1} block groups, more than are looked at"


def test_a_volume_that_is_a_byte_too_small() -> None:
    words = "it says that it has 6287360 bytes, in a place of 6287359"

    assert reason(SMALL, 6140 * 1024) is None
    assert reason(SMALL, 6140 * 1024 - 1) == words
    assert reason(WIDE, ((1 << 32) + 12_345) * 4096) is None
    assert "in a place of" in (reason(WIDE, ((1 << 32) + 12_345) * 4096 - 1) or "")
    assert reason(SMALL, 2047) == "its superblock would lie at byte 1024, outside of it"


def test_a_checksum_over_all_that_stands_before_it() -> None:
    for at in (0, 0x3FB, 0x3FC, 0x3FF):
        raw = bytearray(disk(WIDE).data[1024])
        raw[at] ^= 1
        with pytest.raises(KeptError, match="its superblock has a wrong checksum"):
            ext_superblock.parse(MemoryDisk(1 << 50, {1024: bytes(raw)}))
    raw = bytearray(disk(SMALL).data[1024])
    raw[0x3FC] ^= 1
    assert ext_superblock.parse(MemoryDisk(1 << 50, {1024: bytes(raw)})).groups == 3


# By e2fsprogs' names: what of each kind leaves a block bitmap's meaning alone.
KNOWN = {
    "compatible": {0: "dir_prealloc", 2: "has_journal", 3: "ext_attr", 4: "resize_inode",
                   5: "dir_index", 9: "sparse_super2", 10: "fast_commit", 11: "stable_inodes",
                   12: "orphan_file"},
    "incompatible": {1: "filetype", 6: "extent", 4: "meta_bg", 7: "64bit", 8: "mmp",
                     9: "flex_bg", 10: "ea_inode", 13: "metadata_csum_seed", 14: "large_dir",
                     15: "inline_data", 16: "encrypt", 17: "casefold"},
    "read_only": {0: "sparse_super", 1: "large_file", 2: "btree_dir", 3: "huge_file",
                  4: "uninit_bg", 5: "dir_nlink", 6: "extra_isize", 8: "quota", 9: "bigalloc",
                  10: "metadata_csum", 12: "read-only", 13: "project", 15: "verity",
                  16: "orphan_present"},
}  # fmt: skip
KINDS = {"compatible": "compatible", "incompatible": "incompatible",
         "read_only": "read-only compatible"}  # fmt: skip


@pytest.mark.parametrize("field", KNOWN)
def test_a_feature_that_nobody_knows_is_kept_away_from(field: str) -> None:
    for bit in range(32):
        if field == "incompatible" and bit == 2:
            continue  # the journal's, above
        told = reason({**SMALL, field: 1 << bit, "checksum_kind": 1})
        words = f"it has unknown {KINDS[field]} features {1 << bit:#x}"
        assert (told == words) == (bit not in KNOWN[field]), (field, bit, told)


# ----------------------------------------------------------------------- what follows for the groups

LAYOUTS = {
    "plain": made.Layout(groups=800),
    "not sparse": made.Layout(groups=300, sparse=False),
    "two backups": made.Layout(groups=300, backups=(1, 299)),
    "reserved": made.Layout(groups=300, reserved=5),
    "wide": made.Layout(groups=300, descriptor=128),
    "meta groups": made.Layout(groups=300, meta_from=0),
    "meta groups from the third": made.Layout(groups=300, meta_from=3, reserved=2),
    "meta groups of 1024": made.Layout(groups=300, meta_from=1, descriptor=1024),
    "meta groups, two backups": made.Layout(groups=300, meta_from=2, backups=(64, 100)),
    "2 KiB": made.Layout(groups=300, block=2048, per_group=104, last=9),
    "2 KiB, meta groups": made.Layout(groups=300, block=2048, meta_from=0, descriptor=256),
    "clusters": made.Layout(groups=300, ratio=4, last=39),
    "clusters, meta groups": made.Layout(groups=300, ratio=8, meta_from=0, last=57),
    "clusters, 4 KiB": made.Layout(groups=30, block=4096, ratio=16, per_group=128, last=97),
}


def superblock(layout: made.Layout) -> Superblock:
    """What says so."""
    return Superblock(
        block_size=layout.block,
        ratio=layout.ratio,
        blocks=layout.blocks,
        free_blocks=0,
        first_data_block=layout.first,
        blocks_per_group=layout.per_group,
        inodes_per_group=8,
        inode_size=128,
        descriptor_size=layout.descriptor,
        reserved_gdt=layout.reserved,
        first_meta_group=layout.meta_from or 0,
        backups=layout.backups or (0, 0),
        compatible=0x1C04 | (0x200 if layout.backups is not None else 0),
        incompatible=0x28042 | (0x10 if layout.meta_from is not None else 0),
        read_only=0xA002 | (0x1 if layout.sparse else 0),
        uuid=b"",
        seed=0,
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_stands_at_the_begin_of_each_group(name: str) -> None:
    layout = LAYOUTS[name]
    found, size = superblock(layout), layout.block
    homes: dict[int, int] = {}  # the first copy of each block of descriptors
    for group in range(layout.groups):
        start = layout.first + group * layout.per_group
        blocks = layout.last if group == layout.groups - 1 else layout.per_group
        assert (found.start(group), found.size(group)) == (start, blocks)
        assert found.clusters(group) == len(range(0, blocks, layout.ratio))
        assert found.has_superblock(group) == layout.copied(group), group
        assert found.groups == layout.groups
        before = 1024 // size - layout.first if group == 0 else 0
        held = layout.descriptors(group)
        assert found.base(group) == before + layout.copied(group) + len(held), group
        meta = layout.meta_from is not None and group // layout.per_block >= layout.meta_from
        for index, number in enumerate(held[: None if meta else len(held) - layout.reserved]):
            homes.setdefault(number, start + before + layout.copied(group) + index)
    for group in range(layout.groups):
        assert found.descriptor_block(group) == homes[group // layout.per_block], group


def test_which_groups_have_a_backup_far_behind() -> None:
    found = superblock(made.Layout())
    powers = {base**n for base in (3, 5, 7) for n in range(1, 13)}

    for number in sorted({near + by for near in powers for by in (-2, -1, 0, 1, 2)}):
        assert found.has_superblock(number) == (number in powers | {0, 1}), number


@pytest.mark.parametrize(
    ("inodes", "size", "block", "blocks"),
    [(8, 128, 1024, 1), (9, 128, 1024, 2), (16, 128, 1024, 2), (17, 128, 1024, 3),
     (1, 256, 4096, 1), (300, 256, 4096, 19), (8192, 1024, 1024, 8192)],
)  # fmt: skip
def test_the_blocks_of_a_table_of_inodes(inodes: int, size: int, block: int, blocks: int) -> None:
    found = replace(
        superblock(made.Layout()), inodes_per_group=inodes, inode_size=size, block_size=block
    )

    assert found.table_blocks == blocks


def test_where_the_superblock_itself_lies() -> None:
    sizes = [1 << n for n in range(10, 17)]
    found = [replace(superblock(made.Layout()), block_size=size) for size in sizes]

    assert [each.own_block for each in found] == [1, 0, 0, 0, 0, 0, 0]
    assert [each.checksums for each in (found[0], replace(found[0], read_only=0xBFF))] == [
        False
    ] * 2


def test_the_checksum_begins_where_it_is_told_to() -> None:
    assert ext_superblock.raw_crc(0xFFFFFFFF, b"123456789") == 0xE3069283 ^ 0xFFFFFFFF
    assert ext_superblock.raw_crc(0x12345678, b"abc") == made.raw_crc32c(b"abc", 0x12345678)
