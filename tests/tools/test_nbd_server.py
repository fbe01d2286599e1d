"""Our own NBD server, spoken to by qemu-img, libnbd, and by clients that talk nonsense."""

import json
import random
import socket
import struct
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.errors import ConversionFailed
from pipeline.fileview import FileView
from pipeline.source import Extent, Source
from pipeline.tools import nbd_server

MIB = 1 << 20
SIZE = 20 * MIB + 100  # not a multiple of a sector


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("nbd") / "disk"
    chance = random.Random(3)
    with open(path, "wb") as file:
        for at in range(0, 20, 3):
            file.seek(at * MIB)
            file.write(chance.randbytes(700_000))
        file.truncate(SIZE)
    return path


@pytest.fixture
def served(image, tmp_path):
    path = tmp_path / "nbd"
    with Source.open(image) as source, nbd_server.serving(FileView(source, source.size), path):
        yield path


def node(path: Path) -> str:
    server = {"type": "unix", "path": str(path)}
    return "json:" + json.dumps({"driver": "raw", "file": {"driver": "nbd", "server": server}})


def qemu_img(*argv: object) -> str:
    return subprocess.run(
        ["qemu-img", *map(str, argv)], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.needs("qemu-img")
def test_qemu_img_reads_the_same_disk_and_skips_its_holes(image, served, tmp_path):
    qemu_img("convert", "-O", "qcow2", node(served), tmp_path / "out.qcow2")

    assert "identical" in qemu_img(
        "compare", "-f", "qcow2", "-F", "raw", tmp_path / "out.qcow2", image
    )
    runs = json.loads(qemu_img("map", "--output=json", node(served)))
    assert sum(run["length"] for run in runs if run["data"]) < 6 * MIB
    assert runs[-1]["start"] + runs[-1]["length"] == -(-SIZE // 512) * 512


@pytest.mark.needs("module:nbd")
def test_several_connections_at_once(image, served):
    import nbd

    data = image.read_bytes().ljust(-(-SIZE // 512) * 512, b"\0")

    def read(number: int) -> bool:
        handle = nbd.NBD()
        handle.add_meta_context("base:allocation")
        handle.connect_unix(str(served))
        assert handle.is_read_only()
        assert handle.get_size() == len(data)
        at = number * MIB
        return bytes(handle.pread(MIB, at)) == data[at : at + MIB]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(20)))


@pytest.mark.needs("module:nbd")
def test_what_cannot_be_done_is_an_error(image, served):
    import nbd

    before = image.read_bytes()
    handle = nbd.NBD()
    handle.set_strict_mode(0)
    handle.connect_unix(str(served))

    with pytest.raises(nbd.Error) as raised:
        handle.pread(512, SIZE + 4096)
    assert raised.value.errno == "EINVAL"
    assert len(handle.pread(512, 0)) == 512
    with pytest.raises(nbd.Error):  # it hangs up, for what follows a write is not known to be small
        handle.pwrite(b"x" * 512, 0)
    assert image.read_bytes() == before


class Broken:
    size = MIB

    def read(self, offset: int, length: int) -> bytes:
        raise AssertionError("nobody reads so")

    def fetch(self, parts):
        raise ConversionFailed("source-data-unreadable", "the storage fails", hint="copy it")

    def extents(self, offset=0, length=None):
        yield Extent(offset, length or MIB, "data")


@pytest.mark.needs("module:nbd")
def test_a_disk_that_cannot_be_read_says_so(tmp_path):
    import nbd

    with nbd_server.serving(Broken(), tmp_path / "nbd"):
        handle = nbd.NBD()
        handle.connect_unix(str(tmp_path / "nbd"))
        with pytest.raises(nbd.Error, match="Input/output error"):
            handle.pread(512, 0)


def option(number: int, data: bytes = b"") -> bytes:
    return struct.pack(">8sII", b"IHAVEOPT", number, len(data)) + data


NONSENSE = {
    "nothing": b"",
    "no flags": b"\0\0",
    "a web browser": b"GET / HTTP/1.1\r\nHost: disk\r\n\r\n" * 3,
    "a huge option": struct.pack(">I8sII", 3, b"IHAVEOPT", 7, 1 << 31),
    "an unknown option": struct.pack(">I", 3) + option(99, b"x" * 100),
    "a context without its name": struct.pack(">I", 3) + option(8) + option(10, struct.pack(">II", 0, 9)),
    "a name beyond the option": struct.pack(">I", 3) + option(8) + option(10, b"\xff" * 4),
    "no request": struct.pack(">I", 3) + option(1) + b"x" * 28,
    "a read of everything": struct.pack(">I", 3)
    + option(1)
    + struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 2**32 - 1),
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_ends_its_own_connection_only(name, served, image):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(served))
        client.sendall(NONSENSE[name])
        client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # it hung up before it had read everything
            while client.recv(65536):
                pass

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(served))
        client.sendall(struct.pack(">I", 3) + option(1))
        client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, 4096, 512))
        got = b""
        while len(got) < 18 + 10 + 16 + 512:
            got += client.recv(65536)
    assert got[-512:] == image.read_bytes()[4096:4608]


def test_the_end_does_not_wait_for_a_client_that_does_nothing(image, tmp_path):
    before = threading.active_count()
    path = tmp_path / "nbd"
    with (
        socket.socket(socket.AF_UNIX) as client,
        Source.open(image) as source,
        nbd_server.serving(FileView(source, source.size), path),
    ):
        client.connect(str(path))
        assert client.recv(8) == b"NBDMAGIC"
    assert threading.active_count() == before
