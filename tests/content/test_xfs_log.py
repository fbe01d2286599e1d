"""The log of XFS: what mkfs.xfs makes, and logs that went round, held against xfs_logprint."""

import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.content import filesystems, xfs_log
from pipeline.source import Source

MIB = 1 << 20
ENV = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
MAGIC = 0xFEEDBABE
UNMOUNT = 0x20
pytestmark = pytest.mark.needs("mkfs.xfs", "xfs_logprint")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file system of mkfs.xfs, and the place of its log."""
    path = tmp_path_factory.mktemp("xfs") / "volume"
    with path.open("wb") as file:
        file.truncate(320 * MIB)
    subprocess.run(["mkfs.xfs", "-q", "-f", path], check=True, env=ENV)
    with Source.open(path) as source:
        place = xfs_log._place(source.read)
    assert place is not None
    return path, *place


def by_xfsprogs(path):
    """Whether xfs_logprint calls the log clean."""
    done = subprocess.run(
        ["xfs_logprint", "-t", path], capture_output=True, text=True, env=ENV, timeout=60
    )
    return "<CLEAN>" in done.stdout


def ours(path):
    with Source.open(path) as source:
        return filesystems.describe(source)


def record(cycle, block, *, unmount, blocks=1, size=32768):
    """A record as the kernel writes it: its header, then data whose blocks begin with the cycle."""
    lsn = cycle << 32 | block
    data = bytearray(512 * blocks)
    struct.pack_into(">IIBBH", data, 0, 7, 8 if unmount else 512 * blocks - 12, 0xAA,
                     UNMOUNT if unmount else 0x01, 0)  # fmt: skip
    head = struct.pack(
        ">IIIIQQIII", MAGIC, cycle, 2, 512 * blocks, lsn, lsn, 0, 0xFFFFFFFF, 1
    ).ljust(300, b"\0")
    head = (
        head[:44]
        + b"".join(data[at : at + 4] for at in range(0, len(data), 512))
        + head[44 + 4 * blocks :]
    )
    head = (head[:300] + struct.pack(">I", 1) + bytes(16) + struct.pack(">I", size)).ljust(
        512, b"\0"
    )
    for at in range(0, len(data), 512):
        struct.pack_into(">I", data, at, cycle)
    return head + bytes(data)


def log_of(path, start, count, cycle, head, last, uuid):
    """Write a log in its round ``cycle`` whose newest record ``last`` ends before block ``head``."""
    body = bytearray(512 * count)
    for number in range(count):
        struct.pack_into(">I", body, 512 * number, cycle if number < head else cycle - 1)
    block = head - len(last) // 512
    part = bytearray(last)
    part[304:320] = uuid
    if block >= 0:
        body[512 * block : 512 * head] = part
    else:
        cut = -512 * block
        body[len(body) - cut :] = part[:cut]
        body[: 512 * head] = part[cut:]
        struct.pack_into(">I", body, 0, cycle)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(body)


def test_what_mkfs_makes_is_clean(made):
    path, _, _ = made

    assert by_xfsprogs(path)
    assert ours(path).clean is True


@pytest.mark.parametrize("unmount", [True, False])
@pytest.mark.parametrize("where", ["start", "middle", "end"])
@pytest.mark.parametrize("cycle", [2, 9])
def test_a_log_that_went_round(made, unmount, where, cycle):
    path, start, count = made
    head = {"start": 40, "middle": count // 2 + 3, "end": count}[where]
    with Source.open(path) as source:
        uuid = source.read(32, 16)
    last = record(cycle, head - 2, unmount=unmount)

    log_of(path, start, count, cycle, head, last, uuid)

    found = ours(path)
    assert found.clean is unmount
    assert found.clean is by_xfsprogs(path)
    assert (found.detail is None) is unmount


def test_an_unmount_that_is_not_the_last_record_leaves_something_to_replay(made):
    path, start, count = made
    with Source.open(path) as source:
        uuid = source.read(32, 16)
    log_of(path, start, count, 3, 1000, record(3, 990, unmount=True), uuid)
    with path.open("r+b") as file:
        file.seek(start + 512 * 1000)
        file.write(struct.pack(">I", 3))  # a block more of this round

    assert ours(path).clean is False


def test_a_buffer_of_256_kib_has_eight_headers():
    data = record(4, 0, unmount=True, size=256 << 10)
    wide = (
        data[:512] + b"".join(struct.pack(">I", 4).ljust(512, b"\0") for _ in range(7)) + data[512:]
    )

    def end(data, uuid=bytes(16)):
        ring = xfs_log._Ring(lambda at, n: data[at : at + n], 0, len(data) // 512, (uuid,))
        return ring.end()

    assert end(wide) == "clean"
    assert end(wide[:-512]) == "dirty"
    assert end(wide, b"another log's id") == "foreign"


def test_a_log_on_another_device_or_behind_the_end_is_unknown(made):
    path, _, _ = made
    head = bytearray(path.read_bytes()[:4096])

    assert xfs_log.clean(lambda at, n: bytes(head)[at : at + n]) is None
    head[48:56] = bytes(8)
    assert xfs_log.clean(lambda at, n: bytes(head)[at : at + n]) is None


@given(st.binary(min_size=512, max_size=512), st.binary(max_size=8192))
def test_nothing_in_a_superblock_makes_it_raise(sector, log):
    data = b"XFSB" + sector[4:] + log

    assert xfs_log.clean(lambda at, n: data[at : at + n]) in (True, False, None)
