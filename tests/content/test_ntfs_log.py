"""The log of an NTFS: what ntfs-3g refuses to write to is in need of a replay to us too."""

import struct
import subprocess
from pathlib import Path

import pytest
from test_filesystems import ENV, make

from pipeline.content import filesystems, ntfs_log
from pipeline.source import Source

PAGE, NOBODY = 4096, 0xFFFF
UNCLEAN = 15  # what ntfs-3g.probe ends with where a log is to be replayed
pytestmark = pytest.mark.needs("mkntfs", "ntfsinfo", "ntfs-3g.probe")


def page(*, lsn=100, client=0, flags=0, size=2 << 20, magic=b"RSTR"):
    """A page that says where a replay begins; client 0: a file system is at work."""
    used, free = (client, NOBODY) if client != NOBODY else (NOBODY, 0)
    area = struct.pack(
        "<QHHHHIHHQIHHII", lsn, 1, free, used, flags, 67 - size.bit_length(), 48 + 160, 48, size,
        0, 48, 64, 1, 0,
    )  # fmt: skip
    record = struct.pack("<QQHHH6xI", 1, lsn, NOBODY, NOBODY, 0, 8) + "NTFS".encode("utf-16-le")
    count = PAGE // 512 + 1
    head = struct.pack("<4sHHQIIHHH", magic, 30, count, 0, PAGE, PAGE, 48, 1, 1)
    data = bytearray(head.ljust(48, b"\0") + area + record.ljust(160, b"\0")).ljust(PAGE, b"\0")
    data[30:32] = b"\x01\0"
    for sector in range(512, PAGE + 1, 512):  # each sector ends with the update's number
        data[30 + 2 * (sector // 512) : 32 + 2 * (sector // 512)] = data[sector - 2 : sector]
        data[sector - 2 : sector] = b"\x01\0"
    return bytes(data)


def log_of(path: Path) -> int:
    """Where the log begins, from the program's own listing of its clusters."""
    said = subprocess.run(
        ["ntfsinfo", "-i", "2", "-v", path], capture_output=True, text=True, env=ENV
    ).stdout
    lines = [line.split() for line in said.splitlines()]
    at = next(n for n, words in enumerate(lines) if words[1:3] == ["VCN", "LCN"])
    return int(lines[at + 1][1], 16) * 4096


def seen(path: Path):
    """What we and ntfs-3g say."""
    argv = ["ntfs-3g.probe", "--readwrite", path]
    probe = subprocess.run(argv, capture_output=True, env=ENV, timeout=60).returncode
    with Source.open(path) as source:
        return filesystems.describe(source), probe


@pytest.mark.parametrize(
    ("pages", "clean"),
    [
        ((page(), page()), False),
        ((page(client=NOBODY), page(client=NOBODY)), True),
        ((page(flags=2), page(flags=2)), True),
        ((page(lsn=200), page(lsn=100, client=NOBODY)), False),
        ((page(lsn=100), page(lsn=200, client=NOBODY)), True),
        ((page(lsn=200, client=NOBODY), page(lsn=100)), True),
        ((page(lsn=100, client=NOBODY), page(lsn=200)), False),
        ((b"\xff" * PAGE, b"\xff" * PAGE), True),
    ],
)
def test_a_log_that_is_to_be_replayed_is_seen_as_ntfs_3g_sees_it(pages, clean, tmp_path):
    path = make(tmp_path, "ntfs")
    with path.open("r+b") as file:
        file.seek(log_of(path))
        file.write(b"".join(pages))

    found, probe = seen(path)

    assert (probe == UNCLEAN) == (not clean), probe
    assert (found.type, found.label, found.clean) == ("ntfs", "System", clean)
    words = "its log holds changes that were not written back"
    assert found.detail == (None if clean else words)


def test_a_log_that_says_nothing_leaves_it_unknown(tmp_path):
    path = make(tmp_path, "ntfs")
    with path.open("r+b") as file:
        file.seek(log_of(path))
        file.write(bytes(2 * PAGE))

    assert seen(path)[0].clean is None


@pytest.mark.parametrize("record", [b"", b"FILE", bytes(1024), b"FILE" + b"\xff" * 1020])
def test_a_record_that_names_no_log_leaves_it_unknown(record):
    assert ntfs_log.clean(record, 4096, lambda at, length: bytes(length)) is None
