"""Partition tables made by sfdisk, and every way in which they can be wrong."""

import json
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.content import partitions

MIB = 1 << 20
SFDISK = "/usr/sbin/sfdisk"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
needs_sfdisk = pytest.mark.needs("sfdisk")


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        return self.data[offset : offset + length]


def disk(path: Path, script: str, size: int = 64 * MIB) -> bytearray:
    with open(path, "wb") as file:
        file.truncate(size)
    subprocess.run([SFDISK, "--no-reread", "-q", path], input=script, text=True, check=True)
    return bytearray(path.read_bytes())


def by_sfdisk(path: Path) -> dict:
    done = subprocess.run([SFDISK, "--json", path], capture_output=True, check=True)
    return json.loads(done.stdout)["partitiontable"]


def rules(table: partitions.PartitionTable) -> list[str]:
    return [problem.rule for problem in table.problems]


@pytest.fixture
def gpt(tmp_path):
    script = (
        "label: gpt\n"
        "start=2048, size=4096, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=EFI\n"
        "start=8192, size=2048, type=21686148-6449-6E6F-744E-656564454649, attrs=LegacyBIOSBootable\n"
        'start=16384, type=L, name="röot"\n'
    )
    return disk(tmp_path / "gpt", script)


@pytest.fixture
def mbr(tmp_path):
    script = (
        "label: dos\nlabel-id: 0x12345678\n"
        "start=2048, size=4096, type=83, bootable\nstart=8192, size=40960, type=5\n"
        "start=10240, size=2048, type=82\nstart=16384, size=2048, type=8e\nstart=20480, size=2048, type=7\n"
    )
    return disk(tmp_path / "mbr", script)


@needs_sfdisk
@pytest.mark.parametrize("which", ["gpt", "mbr"])
def test_we_and_sfdisk_see_the_same_partitions(which, request, tmp_path):
    data = request.getfixturevalue(which)

    table = partitions.parse(Bytes(bytes(data)))

    theirs = by_sfdisk(tmp_path / which)["partitions"]
    prefix = str(tmp_path / which)
    assert [
        (f"{prefix}{part.number}", part.start // 512, part.size // 512) for part in table.partitions
    ] == [(item["node"], item["start"], item["size"]) for item in theirs]
    assert table.problems == ()


@needs_sfdisk
def test_a_gpt_with_names_types_and_boot_attribute(gpt):
    table = partitions.parse(Bytes(bytes(gpt)))

    assert (table.scheme, table.sector_size, table.protective_mbr) == ("gpt", 512, "standard")
    esp, bios, root = table.partitions
    assert (esp.type_name, esp.name, esp.bootable) == ("EFI system", "EFI", False)
    assert (bios.type_name, bios.bootable) == ("BIOS boot", True)
    assert (root.type, root.name) == (LINUX, "röot")


@needs_sfdisk
def test_logical_partitions_are_numbered_from_five(mbr):
    table = partitions.parse(Bytes(bytes(mbr)))

    assert [(part.number, part.type) for part in table.partitions] == [
        (1, "0x83"),
        (2, "0x05"),
        (5, "0x82"),
        (6, "0x8e"),
        (7, "0x07"),
    ]
    assert table.identifier == "12345678"
    assert [part.bootable for part in table.partitions][:2] == [True, False]


@needs_sfdisk
def test_a_chain_of_logical_partitions_that_loops_ends(mbr):
    # given the second extended boot record that points back at the first one
    second = 8192 + struct.unpack_from("<I", mbr, 8192 * 512 + 446 + 16 + 8)[0]
    struct.pack_into("<I", mbr, second * 512 + 446 + 16 + 8, 0)

    table = partitions.parse(Bytes(bytes(mbr)))

    assert rules(table) == ["partition-table-damaged"]
    assert "comes back to sector 8192" in table.problems[0].detail


@needs_sfdisk
@pytest.mark.parametrize(
    ("offset", "words"),
    [(512 + 24, "wrong checksum"), (1024 + 32, "entries at sector 2 have a wrong checksum")],
    ids=["header", "entries"],
)
def test_a_damaged_gpt_is_read_from_its_backup(gpt, offset, words):
    gpt[offset] ^= 1

    table = partitions.parse(Bytes(bytes(gpt)))

    assert rules(table) == ["gpt-primary"]
    assert words in table.problems[0].detail
    assert len(table.partitions) == 3


@needs_sfdisk
def test_a_gpt_without_its_backup(gpt):
    gpt[-512:] = bytes(512)

    table = partitions.parse(Bytes(bytes(gpt)))

    assert rules(table) == ["gpt-backup"]
    assert len(table.partitions) == 3


@needs_sfdisk
def test_a_gpt_disk_that_grew_has_its_backup_in_the_middle(gpt):
    table = partitions.parse(Bytes(bytes(gpt) + bytes(MIB)))

    assert rules(table) == ["gpt-backup"]
    assert "but the disk ends at sector" in table.problems[0].detail


@needs_sfdisk
def test_a_gpt_of_which_only_the_backup_is_left(gpt):
    gpt[512 : 34 * 512] = bytes(33 * 512)

    table = partitions.parse(Bytes(bytes(gpt)))

    assert (table.scheme, len(table.partitions)) == ("gpt", 3)
    assert rules(table) == ["gpt-primary"]


@needs_sfdisk
def test_a_gpt_that_is_damaged_at_both_ends(gpt):
    gpt[512 + 24] ^= 1
    gpt[-512 + 24] ^= 1

    table = partitions.parse(Bytes(bytes(gpt)))

    assert (table.scheme, table.partitions) == ("gpt", ())
    assert "no backup either" in table.problems[0].detail


@needs_sfdisk
@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (struct.pack("<B3xB3xII", 0, 0xEE, 1, 7), "odd"),
        (struct.pack("<B3xB3xII", 0, 0xEE, 0, 0xFFFFFFFF), "odd"),
        (struct.pack("<B3xB3xII", 0, 0xEE, 1, 0xFFFFFFFF), "standard"),
        (bytes(16) + struct.pack("<B3xB3xII", 0, 0xEE, 1, 0xFFFFFFFF), "odd"),
        (
            struct.pack("<B3xB3xII", 0, 0xEE, 1, 2047)
            + struct.pack("<B3xB3xII", 0x80, 0x83, 2048, 9),
            "hybrid",
        ),
        (bytes(16), "missing"),
    ],
)
def test_odd_protective_mbrs(gpt, entry, kind):
    gpt[446:510] = entry.ljust(64, b"\0")

    table = partitions.parse(Bytes(bytes(gpt)))

    assert (table.scheme, table.protective_mbr, len(table.partitions)) == ("gpt", kind, 3)


@needs_sfdisk
def test_an_mbr_that_announces_a_gpt_which_is_not_there(gpt):
    table = partitions.parse(Bytes(bytes(gpt[:512]) + bytes(MIB)))

    assert table.scheme == "mbr"
    assert "partition-table-damaged" in rules(table)


@needs_sfdisk
def test_partitions_beyond_the_disk_and_over_each_other(mbr):
    # given a third primary partition over the first one, and a disk that was cut
    mbr[446 + 32 : 446 + 48] = struct.pack("<B3xB3xII", 0, 0x83, 4096, 1 << 20)

    table = partitions.parse(Bytes(bytes(mbr)))

    assert "partition-outside-disk" in rules(table)
    assert "partition-overlap" in rules(table)


@pytest.mark.needs("mkfs.vfat", "mkntfs")
@pytest.mark.parametrize(
    "program", [["mkfs.vfat", "-F", "16"], ["mkfs.vfat", "-F", "32"], ["mkntfs", "-F", "-q"]]
)
def test_a_file_system_without_partitions_is_no_mbr(tmp_path, program):
    # given a boot sector that ends in 55 AA as well
    path = tmp_path / "volume"
    path.write_bytes(bytes(64 * MIB))
    subprocess.run(
        [*program, path],
        capture_output=True,
        check=True,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )

    table = partitions.parse(Bytes(path.read_bytes()))

    assert (table.scheme, table.partitions) == ("none", ())


def test_zeros_have_no_table():
    assert partitions.parse(Bytes(bytes(MIB))).scheme == "none"


def test_a_gpt_of_4096_byte_sectors():
    # given a table as a disk with 4 KiB sectors has it (sfdisk makes none on a file of this release)
    entry = bytes.fromhex("af3dc60f838472478e793d69d8477de4") + bytes(range(16))
    entries = (entry + struct.pack("<QQQ", 256, 511, 0) + bytes(72)).ljust(16384, b"\0")
    head = struct.pack(
        "<8sIIIIQQQQ16sQIII",
        b"EFI PART",
        0x10000,
        92,
        0,
        0,
        1,
        2047,
        6,
        2041,
        bytes(16),
        2,
        128,
        128,
        zlib.crc32(entries),
    )
    head = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
    mbr = (bytes(446) + struct.pack("<B3xB3xII", 0, 0xEE, 1, 0xFFFFFFFF)).ljust(
        510, b"\0"
    ) + b"\x55\xaa"
    data = bytearray(mbr.ljust(4096, b"\0") + head.ljust(4096, b"\0") + entries).ljust(
        8 * MIB, b"\0"
    )

    table = partitions.parse(Bytes(bytes(data)))

    assert (table.scheme, table.sector_size) == ("gpt", 4096)
    assert [(part.start, part.size, part.type) for part in table.partitions] == [(MIB, MIB, LINUX)]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (b"", None),
        (b"GRUB ", "grub"),
        (b"Operating system load error.", "syslinux"),
        (b"\xfa\xeb", "unknown"),
    ],
)
def test_boot_code(code, name):
    entry = struct.pack("<B3xB3xII", 0x80, 0x83, 2048, 4096)
    sector = code.ljust(446, b"\0") + entry.ljust(64, b"\0") + b"\x55\xaa"

    assert partitions.parse(Bytes(sector + bytes(4 * MIB))).boot_code == name


def test_what_a_gpt_left_behind_does_not_damage_an_mbr():
    entry = struct.pack("<B3xB3xII", 0x80, 0x83, 2048, 4096)
    sector = bytes(446) + entry.ljust(64, b"\0") + b"\x55\xaa"
    stale = b"EFI PART".ljust(512, b"\xaa")

    table = partitions.parse(Bytes(sector + stale + bytes(4 * MIB)))

    assert (table.scheme, table.problems) == ("mbr", ())


# ----------------------------------------------------------- places and numbers, field by field

SECTORS = 4096
LAST = SECTORS - 1
ENTRY = bytes.fromhex("af3dc60f838472478e793d69d8477de4") + bytes(range(16))


def gpt_entries(*spans: tuple[int, int]) -> bytes:
    table = b"".join(
        ENTRY + struct.pack("<QQQ", first, last, 0) + bytes(72) for first, last in spans
    )
    return table.ljust(16384, b"\0")


def gpt_header(own: int, other: int, entries_lba: int, entries: bytes) -> bytes:
    head = struct.pack(
        "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other, 34, LAST - 33, bytes(16),
        entries_lba, 128, 128, zlib.crc32(entries),
    )  # fmt: skip
    return (head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]).ljust(512, b"\0")


def gpt_disk(
    entries: bytes,
    *,
    entries_lba: int = 2,
    other: int = LAST,
    backup: tuple[int, int] | None = (LAST, LAST - 32),
) -> bytes:
    """``backup``: the sectors of the other header and of its entries, where there is one."""
    guard = struct.pack("<B3xB3xII", 0, 0xEE, 1, LAST)
    data = bytearray((bytes(446) + guard).ljust(510, b"\0") + b"\x55\xaa").ljust(
        SECTORS * 512, b"\0"
    )

    def put(sector: int, part: bytes) -> None:
        data[sector * 512 : sector * 512 + len(part)] = part

    put(1, gpt_header(1, other, entries_lba, entries))
    put(entries_lba, entries)
    if backup is not None:
        put(backup[1], entries)
        put(backup[0], gpt_header(backup[0], 1, backup[1], entries))
    return bytes(data)


@pytest.mark.parametrize("entries_lba", [2, 3, 40, 1000, LAST - 64])
def test_the_entries_are_where_the_header_says_and_nowhere_else(entries_lba):
    # given two partitions over each other, in a table at that sector
    entries = gpt_entries((2048, 3000), (3000, 3500))
    decoy = bytearray(gpt_disk(entries, entries_lba=entries_lba))
    if entries_lba >= 40:
        decoy[1024 : 1024 + 16384] = gpt_entries((50, 60))

    table = partitions.parse(Bytes(bytes(decoy)))

    assert [(part.start // 512, part.end // 512) for part in table.partitions] == [
        (2048, 3001),
        (3000, 3501),
    ]
    (overlap,) = table.problems
    assert (overlap.rule, overlap.offset) == ("partition-overlap", entries_lba * 512)


def test_too_many_partitions_are_told_at_their_table():
    span = struct.pack("<QQQ", 2048, 2047, 0)
    entries = (ENTRY + span + bytes(72)) * 300
    head = struct.pack(
        "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, LAST, 34, LAST - 33, bytes(16),
        500, 300, 128, zlib.crc32(entries),
    )  # fmt: skip
    data = bytearray(gpt_disk(gpt_entries()))
    data[512:1024] = (head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]).ljust(512, b"\0")
    data[500 * 512 : 500 * 512 + len(entries)] = entries

    table = partitions.parse(Bytes(bytes(data)))

    assert len(table.partitions) == partitions.MAX_PARTITIONS
    found = [item for item in table.problems if item.rule == "partition-table-damaged"]
    assert [(item.offset, item.length) for item in found] == [(500 * 512, 300 * 128)]


@pytest.mark.parametrize("other", [0, 1, LAST, LAST + 1, 1 << 63])
def test_another_header_that_cannot_be_there_is_looked_for_at_the_end(other):
    table = partitions.parse(Bytes(gpt_disk(gpt_entries((2048, 3000)), other=other)))

    assert table.problems == ()


@pytest.mark.parametrize("other", [2, 3, 2000, LAST - 1])
def test_another_header_is_looked_for_where_the_first_one_says(other):
    data = gpt_disk(
        gpt_entries((2048, 3000)),
        entries_lba=100,
        other=other,
        backup=(other, 300 if other < 300 else LAST - 100),
    )

    table = partitions.parse(Bytes(data))

    (problem,) = table.problems
    assert problem.rule == "gpt-backup"
    assert problem.detail == f"it is at sector {other}, but the disk ends at sector {LAST}"


def mbr_sector(*entries: tuple[int, int, int]) -> bytes:
    """Type, first sector, sectors."""
    packed = b"".join(struct.pack("<B3xB3xII", 0, *entry) for entry in entries)
    return (bytes(446) + packed).ljust(510, b"\0") + b"\x55\xaa"


def mbr_disk(sectors: dict[int, bytes]) -> Bytes:
    data = bytearray(SECTORS * 512)
    for at, sector in sectors.items():
        data[at * 512 : at * 512 + 512] = sector
    return Bytes(bytes(data))


def numbered(table: partitions.PartitionTable) -> list[tuple[int, int]]:
    return [(part.number, part.start // 512) for part in table.partitions]


def test_an_entry_without_a_type_or_without_a_size_is_no_partition():
    first = mbr_sector((0, 100, 50), (0x83, 200, 50), (0x83, 300, 0))

    assert numbered(partitions.parse(mbr_disk({0: first}))) == [(2, 200)]


def test_a_file_system_behind_entries_that_are_none_is_the_whole_disk_s():
    superblock = struct.pack("<H", 0xEF53).rjust(58, b"\0").ljust(512, b"\0")
    for entry in ((0, 100, 50), (0x83, 100, 0)):
        disk = mbr_disk({0: mbr_sector(entry), 2: superblock})

        assert partitions.parse(disk).scheme == "none"


def test_an_extended_partition_without_a_size_is_not_walked():
    first = mbr_sector((0x05, 100, 0), (0x83, 200, 50))
    chain = mbr_sector((0x83, 1, 10))

    table = partitions.parse(mbr_disk({0: first, 100: chain}))

    assert (numbered(table), table.problems) == ([(2, 200)], ())


def test_logical_partitions_count_on_from_five_over_two_chains():
    # given two extended partitions, the first with three links and entries that are none
    first = mbr_sector((0x83, 50, 10), (0x05, 100, 400), (0x0F, 1000, 400), (0x83, 3000, 10))
    sectors = {
        0: first,
        100: mbr_sector((0x83, 10, 20), (0x05, 100, 100), (0, 7, 7)),
        200: mbr_sector((0x82, 10, 20), (0x05, 200, 100), (0x83, 9, 0)),
        300: mbr_sector((0x83, 30, 20), (0x05, 0, 0)),
        1000: mbr_sector((0x83, 10, 20), (0x05, 50, 100)),
        1050: mbr_sector((0x8E, 10, 20)),
    }

    table = partitions.parse(mbr_disk(sectors))

    assert table.problems == ()
    assert numbered(table) == [
        (1, 50), (2, 100), (3, 1000), (4, 3000), (5, 110), (6, 210), (7, 330), (8, 1010),
        (9, 1060),
    ]  # fmt: skip


def test_a_gpt_that_is_damaged_at_both_ends_yields_to_an_mbr_with_partitions_alone():
    damaged = bytearray(gpt_disk(gpt_entries((2048, 3000))))
    damaged[512 + 24] ^= 1
    damaged[LAST * 512 + 24] ^= 1
    for entry, scheme in (((0x83, 100, 50), "mbr"), ((0x83, 100, 0), "gpt"), ((0, 100, 50), "gpt")):
        damaged[:512] = mbr_sector(entry)

        assert partitions.parse(Bytes(bytes(damaged))).scheme == scheme, entry


@given(
    start=st.binary(max_size=2048),
    signature=st.sampled_from([b"", b"\x55\xaa"]),
    rest=st.binary(max_size=2048),
)
def test_nothing_that_lies_in_a_sector_makes_it_raise(start, signature, rest):
    data = (start.ljust(510, b"\0")[:510] + signature).ljust(512, b"\0") + rest

    table = partitions.parse(Bytes(data))

    assert all(part.size >= 0 and part.start >= 0 for part in table.partitions)


@given(changes=st.lists(st.tuples(st.integers(0, 91), st.integers(0, 255)), max_size=6))
def test_a_gpt_header_with_right_checksums_and_any_numbers(changes):
    # given a header whose checksum is right whatever its fields say
    raw = bytearray(
        struct.pack(
            "<8sIIIIQQQQ16sQIII",
            b"EFI PART",
            0x10000,
            92,
            0,
            0,
            1,
            127,
            34,
            94,
            bytes(16),
            2,
            128,
            128,
            0,
        )
    )
    for offset, value in changes:
        raw[offset] = value
    raw[16:20] = bytes(4)
    size = int.from_bytes(raw[12:16], "little")
    raw[16:20] = struct.pack(
        "<I", zlib.crc32(bytes(raw[: min(size, 92)]).ljust(min(size, 512), b"\0"))
    )
    data = bytes(512) + bytes(raw).ljust(512, b"\0") + bytes(126 * 512)

    table = partitions.parse(Bytes(data))

    assert table.scheme in ("gpt", "mbr", "none")
