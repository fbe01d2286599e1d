"""Our own NBD client against a server that was taken over: whatever it says, the caller's memory holds."""

import socket
import struct
import threading

import pytest

from pipeline.tools import nbd_client
from pipeline.tools.nbd_client import Connection, NbdError

OPTION = b"IHAVEOPT"
REPLY = 0x0003E889045565A9
SIZE = 1 << 20


def answer(option: int, kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">QIII", REPLY, option, kind, len(payload)) + payload


HANDSHAKE = {
    8: answer(8, 1),
    10: answer(10, 4, struct.pack(">I", 77) + b"base:allocation") + answer(10, 1),
    7: answer(7, 3, struct.pack(">HQH", 0, SIZE, 1)) + answer(7, 1),
}
GREETING = b"NBDMAGIC" + OPTION + struct.pack(">H", 3)


class Server:
    """Says what it is told to say; ``replies`` make an answer from a request's cookie."""

    def __init__(self, path, greeting=GREETING, handshake=HANDSHAKE, reply=None):
        self.greeting, self.handshake, self.reply = greeting, handshake, reply
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            end, _ = self.listening.accept()
            with end, end.makefile("rb") as stream:
                end.sendall(self.greeting)
                stream.read(4)
                while (head := stream.read(16)) and head[:8] == OPTION:
                    option, length = struct.unpack(">II", head[8:])
                    stream.read(length)
                    end.sendall(self.handshake[option])
                    if option == 7:
                        break
                while (request := stream.read(28)) and self.reply is not None:
                    end.sendall(self.reply(struct.unpack(">IHHQQI", request)[3]))
        except OSError:
            pass


def read(path, length=4096) -> bytearray:
    connection = Connection(path)
    data = bytearray(length)
    try:
        assert list(connection.fetch(iter([(0, memoryview(data))]))) == [0]
    finally:
        connection.close()
    return data


def simple(cookie: int, data: bytes = b"", error: int = 0) -> bytes:
    return struct.pack(">IIQ", 0x67446698, error, cookie) + data


def chunk(cookie: int, kind: int, payload: bytes, flags: int = 1) -> bytes:
    return struct.pack(">IHHQI", 0x668E33EF, flags, kind, cookie, len(payload)) + payload


def data_at(offset: int, data: bytes) -> bytes:
    return struct.pack(">Q", offset) + data


GOOD = {
    "a simple reply": lambda cookie: simple(cookie, b"s" * 4096),
    "two chunks, the second first": lambda cookie: (
        chunk(cookie, 1, data_at(2048, b"b" * 2048), 0) + chunk(cookie, 1, data_at(0, b"a" * 2048))
    ),
    "a hole, and nothing": lambda cookie: (
        chunk(cookie, 2, struct.pack(">QI", 0, 4096), 0) + chunk(cookie, 0, b"")
    ),
}


@pytest.mark.parametrize("what", GOOD)
def test_every_form_of_an_answer_is_understood(what, tmp_path):
    Server(tmp_path / "nbd", reply=GOOD[what])

    assert read(tmp_path / "nbd") in (b"s" * 4096, b"a" * 2048 + b"b" * 2048, bytes(4096))


BAD = {
    "an error": lambda cookie: simple(cookie, error=5),
    "an error with words": lambda cookie: chunk(cookie, 0x8001, struct.pack(">IH", 5, 3) + b"bad"),
    "another cookie": lambda cookie: simple(cookie + 1, b"x" * 4096),
    "data before the place": lambda cookie: chunk(cookie, 1, data_at(1 << 63, b"x" * 512)),
    "data behind the place": lambda cookie: chunk(cookie, 1, data_at(4096, b"x" * 512)),
    "too much data": lambda cookie: chunk(cookie, 1, data_at(0, b"x" * 8192)),
    "the same data twice": lambda cookie: (
        chunk(cookie, 1, data_at(0, b"x" * 4096), 0) + chunk(cookie, 1, data_at(0, b"y" * 4096))
    ),
    "too little data": lambda cookie: chunk(cookie, 1, data_at(0, b"x" * 100)),
    "a hole without end": lambda cookie: chunk(cookie, 2, struct.pack(">QI", 0, 0xFFFFFFFF)),
    "a hole of another form": lambda cookie: chunk(cookie, 2, bytes(100)),
    "an unknown chunk": lambda cookie: chunk(cookie, 99, b"12345678"),
    "allocation that nobody asked for": lambda cookie: chunk(cookie, 5, bytes(12)),
    "an error of 4 GiB": lambda cookie: struct.pack(
        ">IHHQI", 0x668E33EF, 1, 0x8001, cookie, 0xFFFFFFFF
    ),
    "no NBD": lambda _cookie: b"HTTP/1.1 200 OK\r\n\r\n" * 4,
    "nothing": lambda _cookie: b"",
}


@pytest.mark.parametrize("what", BAD)
def test_what_breaks_the_protocol_is_an_error(what, tmp_path, monkeypatch):
    monkeypatch.setattr(nbd_client, "STALLED_S", 1)
    Server(tmp_path / "nbd", reply=BAD[what])

    with pytest.raises(NbdError):
        read(tmp_path / "nbd")


@pytest.mark.parametrize(
    ("greeting", "handshake"),
    [
        (b"NBDMAGIC" + bytes(8) + bytes(2), HANDSHAKE),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian\n", HANDSHAKE),
        (b"NBDMAGIC" + OPTION + struct.pack(">H", 0), HANDSHAKE),
        (GREETING, {**HANDSHAKE, 7: answer(7, 0x80000006)}),
        (GREETING, {**HANDSHAKE, 7: answer(7, 1)}),
        (GREETING, {**HANDSHAKE, 7: answer(8, 1)}),
        (GREETING, {**HANDSHAKE, 7: struct.pack(">QIII", REPLY, 7, 3, 0xFFFFFFFF)}),
    ],
    ids=["magic", "other", "old", "refused", "no size", "wrong option", "4 GiB"],
)
def test_a_server_that_is_none_is_an_error(greeting, handshake, tmp_path, monkeypatch):
    monkeypatch.setattr(nbd_client, "STALLED_S", 1)
    Server(tmp_path / "nbd", greeting, handshake)

    with pytest.raises(NbdError):
        Connection(tmp_path / "nbd")


def test_a_server_without_structured_replies_is_read_all_the_same(tmp_path):
    refusing = {**HANDSHAKE, 8: answer(8, 0x80000001)}
    Server(tmp_path / "nbd", GREETING, refusing, lambda cookie: simple(cookie, b"p" * 4096))

    assert read(tmp_path / "nbd") == b"p" * 4096


@pytest.mark.parametrize(
    "reply",
    [
        lambda cookie: chunk(cookie, 5, struct.pack(">III", 78, 512, 0)),
        lambda cookie: chunk(cookie, 5, struct.pack(">I", 77)),
        lambda cookie: chunk(cookie, 5, struct.pack(">II", 77, 512)),
        lambda cookie: chunk(cookie, 0, b""),
        lambda cookie: chunk(cookie + 1, 5, struct.pack(">III", 77, 512, 0)),
    ],
    ids=["context", "empty", "cut", "none", "cookie"],
)
def test_allocation_that_makes_no_sense_is_an_error(reply, tmp_path):
    Server(tmp_path / "nbd", reply=reply)

    with pytest.raises(NbdError):
        Connection(tmp_path / "nbd").status(0, SIZE)


def test_allocation_is_told_as_it_is(tmp_path):
    Server(
        tmp_path / "nbd",
        reply=lambda cookie: chunk(cookie, 5, struct.pack(">IIIII", 77, 512, 0, 1024, 3)),
    )

    assert Connection(tmp_path / "nbd").status(0, SIZE) == [(512, 0), (1024, 3)]
