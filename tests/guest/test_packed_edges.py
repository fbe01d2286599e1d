"""Packed files and databases at their edges: as much as the limit, and one byte more."""

import sqlite3

import pytest
from guests import trees
from test_drivers import lz4_legacy
from test_every_byte import LZOP, names

from pipeline.guest import initramfs, sqlitefile
from pipeline.guest.tree import TreeError


@pytest.mark.parametrize(("most", "fits"), [(999, False), (1000, True), (1001, True)])
def test_as_much_as_the_limit_comes_out_of_an_initramfs(monkeypatch, most, fits):
    monkeypatch.setattr(initramfs, "LARGEST_PLAIN", most)
    pieces = [b"x" * 400, b"y" * 599, b"z"]

    if fits:
        assert list(initramfs._limited(iter(pieces))) == pieces
    else:
        with pytest.raises(initramfs.NotReadableError, match=f"more than {most} bytes"):
            list(initramfs._limited(iter(pieces)))


def test_a_block_of_lzo_is_no_larger_than_the_limit(monkeypatch):
    plain = trees.cpio(["a", "b"])
    size = len(plain).to_bytes(4, "big")
    whole = LZOP[:17] + bytes(4) + LZOP[21:] + size * 2 + plain + bytes(4)
    for most, fits in ((len(plain) - 1, False), (len(plain), True), (len(plain) + 1, True)):
        monkeypatch.setattr(initramfs, "_LZO_BLOCK", most)
        expected = (
            {"names": ["a", "b", "TRAILER!!!"]}
            if fits
            else {"names": [], "error": f"an lzo block of {len(plain)} bytes"}
        )
        assert names(whole) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_an_initramfs_may_end_without_padding(size):
    # given one archive of one file, of which the bytes up to the next multiple of four are not there
    numbers = [0, 0o100644, 0, 0, 1, 0, size, 0, 0, 0, 0, 2, 0]
    header = b"070701" + b"".join(b"%08x" % number for number in numbers)

    assert names(header + b"a\0" + b"x" * size) == {"names": ["a"]}


def test_a_database_s_list_of_tables_may_be_odd():
    # given a list of tables whose rows are too short to say where a table is
    rows = iter([["table", "Name", "x"], ["table"], [], ["view", "Name", "x", 2]])
    reader = object.__new__(sqlitefile.Database)

    def walk(*_):
        return rows

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqlitefile, "_walk", walk)
        with pytest.raises(TreeError, match="no table Name"):
            list(sqlitefile.rows(reader, "Name", 9))


def test_a_list_of_tables_that_takes_many_pages(tmp_path):
    # given so many tables that the first page only leads to others
    path = tmp_path / "db"
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA page_size=512")
        for number in range(60):
            made.execute(f"CREATE TABLE t{number} (a)")
            made.execute(f"INSERT INTO t{number} VALUES ({number + 100})")
    made.close()
    content = path.read_bytes()
    assert content[100] == 5
    reader = sqlitefile.Database(lambda at, length: content[at : at + length])

    for number in range(60):
        assert list(sqlitefile.rows(reader, f"t{number}", 9)) == [[number + 100]]


def test_a_part_of_lz4_that_ends_with_four_bytes():
    packed = lz4_legacy(trees.cpio(["a"]))
    ends = "the packed data ends too early"

    assert names(packed + b"\x02\x21\x4c\x18") == {"names": ["a", "TRAILER!!!"]}
    for more in (4, 5, 8):
        found = names(packed + (9).to_bytes(4, "little").ljust(more, b"x"))
        assert found == {"names": ["a", "TRAILER!!!"], "error": ends}
    assert names(packed + b"\x09\0\0")["error"] == "its compression"  # three bytes are no length
