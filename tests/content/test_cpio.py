"""Names in an initramfs, from the real cpio, in all the ways in which distributions pack it."""

import gzip
import lzma
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.content import cpio


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def archive(directory, names: dict[str, bytes]) -> bytes:
    """Made by cpio itself."""
    directory.mkdir()
    for name, content in names.items():
        (directory / name).write_bytes(content)
    done = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"],
        input="\n".join(names).encode(), cwd=directory, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.needs("cpio")
@pytest.mark.parametrize("size", [1, 7, 110, 512, 1 << 20])
def test_names_whatever_the_pieces(tmp_path, size):
    data = archive(tmp_path / "a", {"init": b"x" * 1001, "module.ko": b"", "last": b"1"})

    names = list(cpio.names(iter(cut(data, size))))

    assert names == ["init", "module.ko", "last", "TRAILER!!!"]


@pytest.mark.needs("cpio")
def test_plain_archives_in_front_of_a_compressed_one(tmp_path):
    # given microcode, as Debian and Fedora put it in front
    front = archive(tmp_path / "a", {"GenuineIntel.bin": b"\1" * 5000})
    packed = gzip.compress(archive(tmp_path / "b", {"init": b""}))

    names, at = cpio.plain_part(Bytes(front + bytes(1536) + packed))

    assert names == ["GenuineIntel.bin", "TRAILER!!!"]
    assert at == len(front) + 1536
    assert cpio.packing((front + bytes(1536) + packed)[at:]) == "gzip"


@pytest.mark.needs("cpio")
def test_two_archives_in_one_stream(tmp_path):
    data = archive(tmp_path / "a", {"one": b"1"}) + bytes(6) + archive(tmp_path / "b", {"two": b""})

    assert list(cpio.names(iter([data]))) == ["one", "TRAILER!!!", "two", "TRAILER!!!"]


@pytest.mark.parametrize(
    ("data", "name"),
    [(gzip.compress(b""), "gzip"), (lzma.compress(b""), "xz"), (b"\x7fELF", None)],
    ids=["gzip", "xz", "none"],
)
def test_compressions(data, name):
    assert cpio.packing(data) == name


@pytest.mark.parametrize("data", [b"070701" + b"z" * 200, b"rubbish" * 30, b"070701" + b"F" * 104])
def test_damage_is_said(data):
    with pytest.raises(cpio.NotReadableError):
        list(cpio.names(iter([data + bytes(5000)])))


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_stream_ends_or_is_called_damaged(pieces):
    try:
        names = list(cpio.names(iter([b"070701", *pieces])))
    except cpio.NotReadableError:
        return
    assert len(names) <= 5
