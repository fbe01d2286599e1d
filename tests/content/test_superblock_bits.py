"""Single bits of superblocks, and places in them that a sum alone leads to."""

import struct

import made_volumes
import pytest
from handmade import Memory, le32, le64, patched

from pipeline.content import allocation, filesystems, fs_sizes
from pipeline.source import Extent
from tests.content import test_every_superblock as superblocks
from tests.content.test_every_superblock import KIB, at

RAID = le32(0xA92B4EFC)

# --------------------------------------------------------------------------------------------- ext


@pytest.mark.parametrize("bit", range(32))
def test_each_feature_of_an_ext(bit):
    # given libblkid's rule: what an ext2 or ext3 may have of the features that bind (ext4 otherwise)
    def kind(compatible=0, incompatible=0, read_only=0):
        words = struct.pack("<III", compatible, incompatible, read_only)
        image = at(4 * KIB, (1024 + 0x38, b"\x53\xef"), (1024 + 0x5C, words))
        return filesystems.signature(Memory(image))

    journal = {2: "ext3"}
    assert kind(compatible=1 << bit) == journal.get(bit, "ext2")
    assert kind(incompatible=1 << bit) == {1: "ext2", 2: "ext2", 3: "jbd", 4: "ext2"}.get(
        bit, "ext4"
    )
    assert kind(read_only=1 << bit) == ("ext2" if bit < 3 else "ext4")


@pytest.mark.parametrize(
    ("state", "incompatible", "detail"),
    [(1, 0, None), (0, 0, "it was not unmounted"), (2, 0, "errors were seen in it"),
     (3, 0, "errors were seen in it"), (4, 0, "it was not unmounted"), (5, 0, None), (0xFD, 0xFB, None),
     (1, 4, "its journal holds changes that were not written back"),
     (2, 4, "its journal holds changes that were not written back")],
)  # fmt: skip
def test_the_state_of_an_ext(state, incompatible, detail):
    image = at(
        4 * KIB,
        (1024 + 0x38, b"\x53\xef" + bytes([state])),
        (1024 + 0x60, bytes([incompatible & ~8])),
    )

    found = filesystems.describe(Memory(image))

    assert (found.clean, found.detail) == (detail is None, detail)


# ----------------------------------------------------------------------------- at the end: RAID, ZFS


@pytest.mark.parametrize(
    ("length", "places"),
    [
        (131072, (122880, 65536)),  # 8 KiB before the end; the beginning of the last 64 KiB
        (131584, (122880, 65536)),
        (135168, (126976, 65536)),
        (196608, (188416, 131072)),
        (197120, (188416, 131072)),
        (1051136, (1040384, 983040)),
    ],
)
def test_where_a_raid_member_has_its_superblock_at_the_end(length, places):
    for place in range(length % 512, length - 4, 512):
        image = Memory(bytes(length)).also(place, RAID)
        expected = "linux_raid_member" if place in (0, 4096, *places) else None
        if place % 4096 == 0 or expected:
            assert filesystems.signature(image, 0, length) == expected, place


def test_a_partition_below_128_kib_has_no_superblock_at_its_end():
    for length in (131071, 131070, 130944, 127 * KIB):
        sectors = length // 512
        for place in ((sectors - 16) // 8 * 4096, length // 65536 * 65536 - 65536):
            image = Memory(bytes(length)).also(place, RAID if place else bytes(4))
            assert filesystems.signature(image, 0, length) is None


@pytest.mark.parametrize(
    ("rings", "kind"),
    [((0, 1, 2, 127), "zfs_member"), ((0, 1, 127, 128), None), ((-1, 0, 1, 127), None), ((0, 1, 127), None)],
)  # fmt: skip
def test_where_the_uberblocks_of_zfs_are(rings, kind):
    marks = ((128 * KIB + ring * KIB, le64(0x00BAB10C)) for ring in rings)

    assert filesystems.signature(Memory(at(264 * KIB, *marks))) == kind


# -------------------------------------------------------------------------------------------- FAT


def fat(sectors, cluster=1, root=16, reserved=1, copies=2, table=32, entry=b"\xff\xff"):
    """A FAT12 or FAT16, by how many clusters it has; what its table's second entry is."""
    numbers = struct.pack("<HBHBHHBH", 512, cluster, reserved, copies, root, 0, 0xF8, table)
    image = superblocks._FAT16.ljust(128 * KIB, b"\0")
    image = patched(patched(image, 11, numbers), 32, le32(sectors))
    return Memory(patched(image, reserved * 512, b"\xf8\xff" + entry))


def marked(**numbers):
    """Whether the marks of FAT16 count: a FAT12 has none."""
    return not filesystems.describe(fat(**numbers, entry=b"\xff\x7f")).clean


@pytest.mark.parametrize("cluster", [1, 2, 4, 64])
@pytest.mark.parametrize(("root", "of_root"), [(16, 1), (17, 2), (32, 2), (33, 3), (512, 32)])
@pytest.mark.parametrize(
    ("reserved", "copies", "table"), [(1, 2, 32), (3, 1, 32), (7, 2, 19), (1, 1, 300)]
)
def test_a_fat_with_4085_clusters_is_a_fat16(cluster, root, of_root, reserved, copies, table):
    before = reserved + copies * table + of_root
    shape = {
        "cluster": cluster,
        "root": root,
        "reserved": reserved,
        "copies": copies,
        "table": table,
    }

    assert marked(sectors=before + 4085 * cluster, **shape)
    assert marked(sectors=before + 4086 * cluster, **shape)
    assert not marked(sectors=before + 4085 * cluster - 1, **shape)


@pytest.mark.parametrize(
    ("entry", "state", "detail"),
    [(b"\xff\xff", 0, None), (b"\xff\x7f", 0, "it was not unmounted"),
     (b"\xff\xbf", 0, "errors were seen in it"),
     (b"\xff\x3f", 0, "it was not unmounted"), (b"\0\xc0", 0, None), (b"\xff\xff", 1, "it was not unmounted"),
     (b"\xff\xff", 2, "errors were seen in it"), (b"\xff\xff", 3, "it was not unmounted"),
     (b"\xff\xff", 4, None)],
)  # fmt: skip
def test_the_marks_of_a_fat16(entry, state, detail):
    found = filesystems.describe(fat(9000, entry=entry).also(37, bytes([state])))

    assert (found.clean, found.detail) == (detail is None, detail)


# ------------------------------------------------------------------------------------------- NTFS


def attribute(kind, value, length=None):
    start = 24
    size = length or (start + len(value) + 7) // 8 * 8
    head = struct.pack("<IIBBHHHIH", kind, size, 0, 0, 0, 0, 0, len(value), start)
    return (head.ljust(start, b"\0") + value).ljust(size, b"\0")


NAME = "Volume".encode("utf-16-le")
DIRTY = bytes(10) + b"\1\0"


def ntfs(*attributes, mft=8, record=1024, per_record=-10, sector=512, cluster=1, end=b"\xff" * 4):
    """An NTFS with these attributes in $Volume, its MFT at that cluster."""
    content = b"FILE".ljust(20, b"\0") + struct.pack("<H", 56)
    content = (content.ljust(56, b"\0") + b"".join(attributes) + end)[:record]
    boot = superblocks._ntfs()[:512]
    boot = patched(patched(boot, 11, struct.pack("<HB", sector, cluster)), 48, le64(mft))
    boot = patched(boot, 64, struct.pack("<b", per_record))
    return Memory(at(256 * KIB, (0, boot), (mft * sector * cluster + 3 * record, content)))


@pytest.mark.parametrize(
    ("attributes", "label", "dirty"),
    [
        ((attribute(0x60, NAME),), "Volume", None),
        ((attribute(0x60, NAME), attribute(0x70, DIRTY)), "Volume", True),
        ((attribute(0x70, bytes(12)), attribute(0x60, NAME)), "Volume", False),
        ((attribute(0x10, NAME * 4), attribute(0x30, NAME), attribute(0x50, NAME)), None, None),
        ((attribute(0x60, NAME), attribute(0x70, DIRTY), attribute(0x80, bytes(12))), "Volume", True),
        ((attribute(0x60, NAME), attribute(0x80, DIRTY), attribute(0xA0, NAME)), "Volume", None),
        ((attribute(0x70, DIRTY[:11]),), None, None),
        ((attribute(0x70, DIRTY + b"\0"),), None, True),
        ((attribute(0x70, bytes(10) + b"\xfe\xff"),), None, False),
        ((attribute(0x70, b"\xff" * 10 + bytes(2) + b"\xff"),), None, False),
        ((attribute(0x10, b""), attribute(0x60, NAME)), "Volume", None),
        ((attribute(0x10, b"", 23), attribute(0x60, NAME)), None, None),
        ((attribute(0xFFFFFFFF, b"", 24), attribute(0x60, NAME)), None, None),
        ((attribute(0xFFFFFFFE, b"", 24), attribute(0x60, NAME)), "Volume", None),
        ((attribute(0x60, b""),), None, None),
    ],
)  # fmt: skip
def test_the_attributes_of_volume(attributes, label, dirty):
    found = filesystems.describe(ntfs(*attributes))

    assert found.label == label
    assert found.clean is (False if dirty else None)
    assert found.detail == ("its dirty flag is set" if dirty else None)


@pytest.mark.parametrize("short", [0, 1, 16, 24, 31])
def test_an_attribute_at_the_end_of_a_record(short):
    # given a record that is full to its last byte, or ends within its last attribute
    room = 1024 - 56 - 40
    filler = attribute(0x10, b"", room + short)

    found = filesystems.describe(ntfs(filler, attribute(0x60, NAME, 40), end=b""))

    label = NAME[: max(0, 16 - short)].decode("utf-16-le", "replace") if short < 17 else ""
    assert found.label == (label or None)


@pytest.mark.parametrize(("length", "label"), [(63, None), (64, "Volume"), (65, "Volume")])
def test_the_shortest_record_of_the_mft(length, label):
    record = (
        b"FILE".ljust(20, b"\0") + struct.pack("<H", 24) + bytes(2) + attribute(0x60, NAME, 40)
    )[:length]

    assert filesystems._ntfs_volume(record.ljust(length, b"\0"))[0] == label


def test_the_last_bytes_of_a_record_may_be_an_attribute():
    # given the flags of a volume in an attribute that is nothing but its head
    last = struct.pack("<IIBBHHHIH", 0x70, 24, 0, 0, 1, 0, 0, 12, 0).ljust(24, b"\0")
    filler = attribute(0x10, b"", 1024 - 56 - 24)

    assert filesystems.describe(ntfs(filler, last, end=b"")).detail == "its dirty flag is set"


def test_nothing_behind_a_record_belongs_to_it():
    # given a record that its first attribute fills to the end, and a label behind it
    whole = ntfs(attribute(0x10, b"", 1024 - 56), record=1024, end=b"")
    place = 8 * 512 + 3 * 1024

    behind = whole.also(place + 1024, attribute(0x60, NAME))

    assert filesystems.describe(behind).label is None


@pytest.mark.parametrize(
    ("code", "sectors"), [(0xFF, 2), (0xFE, 4), (0xFC, 16), (0x81, None), (0x80, 128)]
)
def test_a_cluster_s_size_may_be_a_power(code, sectors):
    image = ntfs(attribute(0x60, NAME), mft=1, cluster=sectors or 1).also(13, bytes([code]))

    assert filesystems.describe(image).label == ("Volume" if sectors else None)


def test_an_ntfs_whose_dirty_flag_cannot_be_read_is_not_called_clean():
    whole = Memory(made_volumes.ntfs())
    record = made_volumes.NTFS_MFT * 512 + 3 * 1024

    assert filesystems.describe(whole).clean is True
    assert filesystems.describe(whole.also(record, b"BAAD")).clean is None


@pytest.mark.parametrize("mft", [8, 9, 12, 15, 31, 47])
@pytest.mark.parametrize(
    ("record", "per_record"), [(1024, -10), (1024, 2), (512, 1), (4096, -12), (1536, 3)]
)
def test_where_volume_lies_in_the_mft(mft, record, per_record):
    image = ntfs(attribute(0x60, NAME), mft=mft, record=record, per_record=per_record)

    assert filesystems.describe(image).label == "Volume"


@pytest.mark.parametrize(
    ("sector", "cluster", "per_record", "read"),
    [(512, 1, 1, True), (255, 1, 1, False), (256, 1, 1, True), (512, 128, 1, True), (512, 128, 2, False),
     (4096, 16, 1, True), (4112, 16, 1, False), (257, 1, 127, True)],
)  # fmt: skip
def test_how_large_a_record_may_be(sector, cluster, per_record, read):
    size = sector * cluster * per_record
    image = ntfs(
        attribute(0x60, NAME),
        mft=1,
        record=size,
        sector=sector,
        cluster=cluster,
        per_record=per_record,
    )

    assert filesystems.describe(image).label == ("Volume" if read else None)


# ------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize(
    ("mark", "version", "size"),
    [(b"SWAPSPACE2", 1, 4 * 4096), (b"SWAPSPACE2", 0, None), (b"SWAPSPACE2", 2, None),
     (b"SWAP-SPACE", 1, None),
     (b"SWAPSPACE1", 1, None), (b"SWAPSPACE3", 1, None)],
)  # fmt: skip
def test_the_size_of_a_swap_area(mark, version, size):
    image = at(16 * KIB, (1024, struct.pack("<II", version, 3)), (4086, mark))

    assert fs_sizes.stated(Memory(image), "swap") == size


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("high", [0, 1, 0x80000001])
@pytest.mark.parametrize("features", [0x80, 0x7F, 0x100])
def test_the_size_of_an_ext(shift, high, features):
    numbers = (
        (1028, le32(0x80000003)),
        (1048, le32(shift)),
        (1120, le32(features)),
        (1360, le32(high)),
    )
    blocks = 0x80000003 + (high * (1 << 32) if features == 0x80 else 0)

    found = fs_sizes.stated(Memory(at(4 * KIB, *numbers)), "ext4")

    assert found == (blocks * 1024 * 2**shift if shift <= 6 else None)


def test_the_allocation_of_nothing():
    assert allocation.of([], 0) == {"cell": 1, "data": []}
    assert allocation.of([Extent(0, 600, "data"), Extent(600, 424, "zero")], 1024)["data"][
        148:152
    ] == [100, 100, 0, 0]
