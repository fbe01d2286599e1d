import os
import socket

import pytest

from pipeline.errors import SourceError
from pipeline.source import Source


def code_of(path):
    with pytest.raises(SourceError) as caught:
        Source.open(path)
    assert caught.value.exit_code == 3
    return caught.value.code


def test_bytes_come_from_anywhere_in_the_file(tmp_path):
    image = tmp_path / "image.raw"
    image.write_bytes(bytes(range(256)) * 4)

    with Source.open(image) as source:
        assert source.size == 1024
        assert source.read(250, 10) == bytes([250, 251, 252, 253, 254, 255, 0, 1, 2, 3])
        assert source.read(1020, 100) == bytes([252, 253, 254, 255])
        assert source.read(5000, 1) == b""


def test_what_is_not_a_file_is_refused_by_kind(tmp_path):
    fifo, sock = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sock))

        assert code_of(tmp_path) == "source-not-a-file"
        assert code_of(fifo) == "source-not-a-file"
        assert code_of(sock) == "source-not-a-file"
    assert code_of("/dev/zero") == "source-not-a-file"
    assert code_of(tmp_path / "missing") == "source-missing"


def test_a_symbolic_link_is_followed_once_and_a_loop_is_not(tmp_path):
    (tmp_path / "image").write_bytes(b"data")
    (tmp_path / "link").symlink_to("image")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")

    with Source.open(tmp_path / "link") as source:
        assert source.read(0, 4) == b"data"
        assert source.path == tmp_path / "image"
    assert code_of(tmp_path / "loop") == "source-unreadable"
    assert code_of(tmp_path / "dangling") == "source-missing"


def test_a_name_that_no_file_can_have_is_an_error_of_ours():
    assert code_of("a\0b") == "source-unreadable"


@pytest.mark.parametrize("change", ["grow", "rewrite", "touch"])
def test_a_source_that_changes_is_noticed(tmp_path, change):
    image = tmp_path / "image"
    image.write_bytes(b"x" * 4096)
    with Source.open(image) as source:
        source.require_unchanged()

        if change == "grow":
            with image.open("ab") as out:
                out.write(b"more")
        elif change == "rewrite":
            with image.open("r+b") as out:
                out.write(b"y")
            os.utime(image, ns=(1, 1))
        else:
            os.utime(image, ns=(1, 1))

        with pytest.raises(SourceError) as caught:
            source.require_unchanged()
    assert caught.value.code == "source-changed"
    assert str(image) in caught.value.message


def test_replacing_the_path_does_not_change_what_is_read(tmp_path):
    image, other = tmp_path / "image", tmp_path / "other"
    image.write_bytes(b"checked")
    other.write_bytes(b"swapped")
    with Source.open(image) as source:
        os.replace(other, image)

        assert source.read(0, 7) == b"checked"
