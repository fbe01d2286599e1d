"""FAT, read as Linux' vfat reads it: names, times, chains, and what is left to the kernel.

The tables of names and chains say what Linux does (fs/fat/dir.c, inode.c, cache.c); the appliance is asked
about the same in test_damaged_guests.py and test_reader_truth.py.
"""

import calendar
import struct
from pathlib import Path

import pytest
from phony import builder

from pipeline.tools.reader import fat, fat_names, fat_table
from pipeline.tools.reader.answers import NotThereError, UnableError
from pipeline.tools.reader.fat import Fat
from pipeline.tools.reader.volume import Pages

PART, DIRECTORY, LABEL, READ_ONLY = 0x0F, 0x10, 0x08, 0x01


def record(name: bytes, attributes: int = 0x20, *, start: int = 0, size: int = 0, lower: int = 0):
    high, low = divmod(start, 1 << 16)
    return struct.pack("<11sBB7xHHHHI", name.ljust(11), attributes, lower, high, 0, 0, low, size)


def checksum(name: bytes) -> int:
    found = 0
    for byte in name.ljust(11):
        found = ((found << 7 & 0x80) | found >> 1) + byte & 0xFF
    return found


def part(number: int, text: str, alias: bytes) -> bytes:
    units = text.encode("utf-16-le", "surrogatepass")
    units = (units + b"\0\0" * (len(units) < 26)).ljust(26, b"\xff")
    head = bytes([number]) + units[:10] + bytes([PART, 0, checksum(alias)])
    return head + units[10:22] + b"\0\0" + units[22:]


SHORT = b"LONG~1  TXT"
THIRTEEN = "thirteen char"
NAMES = {
    "8.3": ([record(b"README  TXT")], ["README.TXT"]),
    "lower case": ([record(b"README  TXT", lower=0x18)], ["readme.txt"]),
    "a lower extension": ([record(b"README  TXT", lower=0x10)], ["README.txt"]),
    "no extension": ([record(b"EFI", DIRECTORY)], ["EFI"]),
    "an extension alone": ([record(b"        TXT")], [".TXT"]),
    "blanks within": ([record(b"A B     C D")], ["A B.C D"]),
    "blanks alone": ([record(b"")], []),
    "code page 437": ([record(b"\x9aBER    TXT")], ["ÜBER.TXT"]),
    "05 for E5": ([record(b"\x05")], ["\N{GREEK SMALL LETTER SIGMA}"]),
    "ended by a zero": ([record(b"AB\0CD   E\0F")], ["AB.E"]),
    "deleted": ([record(b"\xe5OLD"), record(b"NEW")], ["NEW"]),
    "a label": ([record(b"ESP", LABEL), record(b"NEW")], ["NEW"]),
    "behind a zero": ([record(b"\0NONE"), record(b"NEW")], ["NEW"]),
    "long": ([part(0x41, "Long.txt", SHORT), record(SHORT)], ["Long.txt"]),
    "of two parts": (
        [part(0x42, " and more", SHORT), part(1, THIRTEEN, SHORT), record(SHORT)],
        [THIRTEEN + " and more"],
    ),
    "full": ([part(0x41, THIRTEEN, SHORT), record(SHORT)], [THIRTEEN]),
    "beyond 16 bits": ([part(0x41, "disk 💾", SHORT), record(SHORT)], ["disk 💾"]),
    "half a pair": ([part(0x41, "a\ud83db", SHORT), record(SHORT)], ["ab"]),
    "a wrong checksum": ([part(0x41, "Long.txt", b"OTHER"), record(SHORT)], ["LONG~1.TXT"]),
    "no first part": ([part(1, "Long.txt", SHORT), record(SHORT)], ["LONG~1.TXT"]),
    "a part missing": ([part(0x42, " more", SHORT), record(SHORT)], ["LONG~1.TXT"]),
    "a part of another": (
        [part(0x42, " more", SHORT), part(1, THIRTEEN, b"OTHER"), record(SHORT)],
        ["LONG~1.TXT"],
    ),
    "begun twice": (
        [part(0x42, " and more", SHORT), part(0x41, THIRTEEN, SHORT), record(SHORT)],
        [THIRTEEN],
    ),
    "begun anew": (
        [part(0x43, " lost", SHORT), part(0x41, "Long", SHORT), record(SHORT)],
        ["Long"],
    ),
    "too many parts": ([part(0x40 | 21, "Long", SHORT), record(SHORT)], ["LONG~1.TXT"]),
    "a deleted part": ([b"\xe5" + part(0x41, "L", SHORT)[1:], record(SHORT)], ["LONG~1.TXT"]),
    "before what is deleted": (
        [part(0x41, "Gone", SHORT), record(b"\xe5ONG~1  TXT"), record(b"NEW")],
        ["NEW"],
    ),
    "before a label": ([part(0x41, "Gone", SHORT), record(SHORT, LABEL), record(b"NEW")], ["NEW"]),
    "parts to the end": ([record(b"NEW"), part(0x41, "Gone", SHORT)], ["NEW"]),
}


@pytest.mark.parametrize("what", NAMES)
def test_names_are_those_that_linux_shows(what):
    records, names = NAMES[what]

    assert [item.name for item in fat_names.entries(b"".join(records))] == names


def test_lower_case_outside_ascii_is_left_to_the_kernel():
    with pytest.raises(UnableError, match="outside ASCII"):
        list(fat_names.entries(record(b"\x9aBER", lower=0x08)))


def test_a_name_is_found_in_any_case_of_ascii_long_or_short_and_the_first_of_two():
    records = [part(0x41, "Größe.txt", SHORT), record(SHORT, size=1), record(b"OTHER", size=2)]
    records += [record(b"OTHER", size=3)]
    directory = fat.Directory(b"".join(records), [0], 4096)

    found = {
        name: entry.size
        for name in ("größe.TXT", "GRÖßE.txt", "long~1.txt", "other", "Other..", "", "..", "none")
        if (entry := directory.find(name)) is not None
    }

    assert found == {"größe.TXT": 1, "long~1.txt": 1, "other": 2, "Other..": 2}


@pytest.mark.parametrize(
    ("date", "time"),
    [
        ((1980, 1, 1), (0, 0, 0)),
        ((1984, 2, 29), (23, 59, 58)),
        ((2000, 3, 1), (1, 2, 4)),
        ((2026, 8, 26), (12, 30, 0)),
        ((2100, 2, 28), (0, 0, 0)),
        ((2100, 3, 1), (0, 0, 0)),
        ((2107, 12, 31), (23, 59, 58)),
    ],
)
def test_times_are_utc(date, time):
    year, month, day = date
    hours, minutes, seconds = time
    raw = bytearray(record(b"A"))
    struct.pack_into("<H", raw, 22, hours << 11 | minutes << 5 | seconds // 2)
    struct.pack_into("<H", raw, 24, (year - 1980) << 9 | month << 5 | day)

    assert fat._seconds(bytes(raw)) == calendar.timegm((*date, *time))


def test_a_date_of_zeros_is_the_first_day():
    assert fat._seconds(record(b"A")) == calendar.timegm((1980, 1, 1, 0, 0, 0))


# ------------------------------------------------------------------------- a file system in memory

KIB = 1 << 10
CLUSTER = 512
CLUSTERS = {12: 100, 16: 5000, 32: 3000}


class Volume:
    """A FAT of clusters of one sector, made by hand; entries of its table are set with ``chain``."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        sectors = -(-(CLUSTERS[bits] + 2) * bits // 8 // 512)
        root = 0 if bits == 32 else 16
        self.table = 512
        self.root = 512 + sectors * 512
        self.data = self.root + root * 32
        self.raw = bytearray(self.data + CLUSTERS[bits] * CLUSTER)
        short = 0 if bits == 32 else sectors
        struct.pack_into("<HBHBHHBH", self.raw, 11, 512, 1, 1, 1, root, 0, 0xF8, short)
        struct.pack_into("<II", self.raw, 32, len(self.raw) // 512, sectors)
        if bits == 32:
            struct.pack_into("<I", self.raw, 44, 2)
            self.chain(2)
            self.root = self.at(2)

    def at(self, cluster: int) -> int:
        return self.data + (cluster - 2) * CLUSTER

    def chain(self, *clusters: int, end: int | None = None) -> None:
        """Let each lead to the next, and the last to the end."""
        last = (1 << min(self.bits, 28)) - 1 if end is None else end
        for cluster, value in zip(clusters, (*clusters[1:], last), strict=True):
            self.set(cluster, value)

    def set(self, cluster: int, value: int) -> None:
        if self.bits == 12:
            at = self.table + cluster * 3 // 2
            old = int.from_bytes(self.raw[at : at + 2], "little")
            kept = old & 0xF if cluster & 1 else old & 0xF000
            new = kept | (value << 4 if cluster & 1 else value)
            self.raw[at : at + 2] = new.to_bytes(2, "little")
            return
        width = self.bits // 8
        at = self.table + cluster * width
        self.raw[at : at + width] = value.to_bytes(width, "little")

    def put(self, at: int, *records: bytes) -> None:
        data = b"".join(records)
        self.raw[at : at + len(data)] = data

    def fat(self) -> Fat:
        raw = bytes(self.raw)
        return Fat(Pages(len(raw), lambda at, length: raw[at : at + length]))


def dots(own: int, parent: int) -> bytes:
    return record(b".", DIRECTORY, start=own) + record(b"..", DIRECTORY, start=parent)


@pytest.fixture(params=CLUSTERS)
def volume(request) -> Volume:
    """A file of three clusters out of order, and a directory with another one and a file."""
    made = Volume(request.param)
    made.put(
        made.root,
        record(b"FILE", start=5, size=1200),
        record(b"DIR", DIRECTORY, start=6),
        record(b"HOLE", READ_ONLY, size=700),
    )
    made.chain(5, 9, 4)
    made.chain(6)
    made.chain(7)
    made.put(
        made.at(6), dots(6, 0), record(b"BELOW", DIRECTORY, start=7), record(b"A", start=8, size=3)
    )
    made.put(made.at(7), dots(7, 6))
    made.chain(8)
    for cluster in (5, 9, 4, 8):
        made.put(made.at(cluster), b"%04d" % cluster * 128)
    return made


def test_what_is_sound_is_read(volume):
    read = volume.fat()
    whole = b"".join(b"%04d" % cluster * 128 for cluster in (5, 9, 4))

    assert read.names("/") == ["FILE", "DIR", "HOLE"]
    assert read.names("/DIR") == ["BELOW", "A"]
    assert read.names("/dir/below") == []
    assert [item and item[:3] for item in read.stat("/", ["file", "DIR", "HOLE", "none"])] == [
        ("file", 1200, 0o755),
        ("directory", 0, 0o755),
        ("file", 700, 0o555),
        None,
    ]
    assert read.read("/FILE", 0, 5000) == whole[:1200]
    assert [read.read("/FILE", at, 600) for at in (1100, 500, 0, 1200)] == [
        whole[1100:1200],
        whole[500:1100],
        whole[:600],
        b"",
    ]
    assert read.read("/DIR/A", 0, 9) == b"000"
    assert read.read("/HOLE", 0, 700) == bytes(700)
    used = 6 + (volume.bits == 32)
    assert read.free() == {"free": (CLUSTERS[volume.bits] - used) * CLUSTER}
    for path in ("/DIR", "/none"):
        with pytest.raises(NotThereError):
            read.read(path, 0, 1)
    with pytest.raises(NotThereError):
        read.names("/FILE")


def test_reserved_bits_of_fat32_are_of_no_meaning():
    made = Volume(32)
    made.put(made.root, record(b"FILE", start=5, size=1000))
    made.chain(5, 0xF0000009, end=0)
    made.set(9, 0x8FFFFFFF)
    made.set(20, 0xA0000000)  # free

    assert made.fat().read("/FILE", 0, 1000) == bytes(1000)
    assert made.fat().free() == {"free": (CLUSTERS[32] - 3) * CLUSTER}


CHAINS = {
    "free": (5, 0),
    "cluster 1": (5, 1),
    "none that is there": (5, 0xF00),
    "the end": (5, 0xFFF8),
    "a bad cluster": (5, 0xFFF7),
}


@pytest.mark.parametrize("what", CHAINS)
def test_a_chain_that_is_shorter_than_its_file_is_left_to_the_kernel(what):
    made = Volume(16 if CHAINS[what][1] > 0xF00 else 12)
    made.put(made.root, record(b"FILE", start=5, size=1200))
    made.set(*CHAINS[what])

    with pytest.raises(UnableError):
        made.fat().read("/FILE", 0, 10)  # the kernel gives no part of its first page
    assert made.fat().stat("/", ["FILE"])[0][:2] == ("file", 1200)


def test_what_stands_before_the_damage_is_read():
    made = Volume(16)
    made.put(made.root, record(b"FILE", start=5, size=100 * KIB))
    made.chain(*range(5, 5 + 20))

    read = made.fat()

    assert read.read("/FILE", 0, 8192) == bytes(8192)
    with pytest.raises(UnableError, match="too short"):
        read.read("/FILE", 8192, 1)


def test_a_file_in_a_loop_is_read_no_further_than_there_are_clusters():
    made = Volume(12)
    made.put(made.root, record(b"FILE", start=5, size=1 << 31))
    made.chain(5, 6, end=5)

    assert len(made.fat().read("/FILE", 0, 40 * KIB)) == 40 * KIB
    with pytest.raises(UnableError, match="loop"):
        made.fat().read("/FILE", 1 << 30, 10)


def test_a_directory_whose_chain_has_a_loop_is_left_to_the_kernel(volume):
    volume.set(6, 6)

    with pytest.raises(UnableError, match="does not end"):
        volume.fat().stat("/", ["DIR"])
    assert volume.fat().stat("/", ["FILE"])[0][0] == "file"


def test_a_directory_within_itself_is_left_to_the_kernel(volume):
    # given a directory that says to be the one above it, so that it stands in its own entries
    volume.put(volume.at(6) + 64, record(b"BELOW", DIRECTORY, start=6))
    read = volume.fat()

    assert read.names("/DIR/BELOW") == ["BELOW", "A"]
    assert read.read("/DIR/BELOW/A", 0, 9) == b"000"
    for ask in (
        lambda: read.stat("/DIR/BELOW", ["BELOW"]),
        lambda: read.names("/DIR/BELOW/BELOW"),
    ):
        with pytest.raises(UnableError, match="within itself"):
            ask()


@pytest.mark.parametrize(
    ("start", "said"), [(0, "the root"), (8, "its own entries"), (1, "no cluster 1")]
)
def test_what_is_no_directory_is_left_to_the_kernel(start, said, volume):
    volume.put(volume.root + 32, record(b"DIR", DIRECTORY, start=start))

    with pytest.raises(UnableError, match=said):
        volume.fat().stat("/", ["DIR"])


def test_damaged_entries_of_its_own_are_names_like_others(volume):
    volume.put(volume.at(6), record(b"X", DIRECTORY, start=6))

    assert volume.fat().names("/DIR") == ["X", "BELOW", "A"]
    assert volume.fat().names("/DIR/X") == ["X", "BELOW", "A"]


def test_a_slash_in_a_name_keeps_a_directory_from_being_listed(volume):
    volume.put(volume.root, record(b"FI/E"))
    read = volume.fat()

    with pytest.raises(UnableError, match="a name in the directory"):
        read.names("/")
    assert read.names("/DIR") == ["BELOW", "A"]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (11, b"\0\0"),
        (11, b"\0\3"),
        (11, b"\0\x20"),
        (13, b"\0"),
        (13, b"\3"),
        (14, b"\0\0"),
        (16, b"\0"),
        (17, b"\1\0"),
        (22, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        (32, b"\1\0\0\0"),
        (22, b"\xff\xff"),
    ],
)
def test_boot_sectors_that_linux_refuses_are_refused(at, value):
    made = Volume(16)
    made.put(at, value)

    with pytest.raises(UnableError):
        made.fat()


def test_what_is_cut_off_is_said(tmp_path):
    made = Volume(32)
    made.put(made.root, record(b"FILE", start=2500, size=10))
    made.chain(2500)
    del made.raw[made.at(2000) :]

    with pytest.raises(UnableError, match="behind the end"):
        made.fat().read("/FILE", 0, 10)
    with pytest.raises(UnableError, match="cut off"):
        fat_table.Table(Pages(100, lambda _at, length: bytes(length)))


@pytest.mark.needs("mkfs.vfat", "mcopy")
def test_what_mtools_wrote_is_read(tmp_path):
    tree = {"EFI/BOOT/a long name.efi": b"MZ" * 9000, "README.TXT": b"read", "lower.txt": b"low"}
    path: Path = builder("guest_disks").fat(tmp_path / "volume", 4, tree)
    raw = path.read_bytes()
    read = Fat(Pages(len(raw), lambda at, length: raw[at : at + length]))

    assert sorted(read.names("/")) == ["EFI", "README.TXT", "lower.txt"]
    for name, content in tree.items():
        assert read.read(f"/{name}", 0, 20_000) == content
