"""The disk without its free runs: same bytes where something is, zeros elsewhere, one map of both."""

import hashlib
import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import file_systems as made
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.content import free_space
from pipeline.content.free_space.view import ZeroedView
from pipeline.errors import SourceError
from pipeline.fileview import FileView
from pipeline.source import Source

MIB = 1 << 20


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An ext4 of blocks of 1 KiB on a disk that was full of the marker, so that there are no holes."""
    path = tmp_path_factory.mktemp("view") / "fs"
    made.ext(path, made.EXT["ext4, blocks of 1 KiB"], 40 * MIB)
    data = path.read_bytes()
    with Source.open(path) as source:
        spans = list(free_space.survey(source).between(0, source.size))
    filled = bytearray(data)
    for low, high in spans:
        filled[low:high] = (made.MARKER * ((high - low) // len(made.MARKER) + 1))[: high - low]
    path.write_bytes(filled)
    wanted = bytearray(filled)
    for low, high in spans:
        wanted[low:high] = bytes(high - low)
    return path, bytes(wanted)


def opened(path: Path) -> tuple[Source, ZeroedView]:
    source = Source.open(path)
    return source, ZeroedView(FileView(source, source.size), free_space.survey(source))


@pytest.mark.needs("mke2fs", "debugfs")
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_reads_of_any_range(image, data):
    path, wanted = image
    source, view = opened(path)
    with source:
        offset = data.draw(st.integers(0, len(wanted)))
        length = data.draw(st.integers(0, 3 * MIB))

        assert view.read(offset, length) == wanted[offset : offset + length]

        extents = list(view.extents(offset, length))
        end = min(len(wanted), offset + length)
        at = offset
        for extent in extents:
            assert extent.offset == at
            at += extent.length
            if extent.kind == "zero":
                assert not any(wanted[extent.offset : at])
        assert at == end or not extents
        assert all(a.kind != b.kind for a, b in itertools.pairwise(extents))


@pytest.mark.needs("mke2fs", "debugfs")
def test_several_threads_read_the_same(image):
    path, wanted = image
    source, view = opened(path)
    with source, ThreadPoolExecutor(4) as pool:
        pieces = pool.map(lambda at: view.read(at, MIB), range(0, len(wanted), MIB))
        assert b"".join(pieces) == wanted


@pytest.mark.needs("mke2fs", "debugfs", "e2fsck")
def test_what_is_left_is_the_same_file_system(image, tmp_path):
    path, wanted = image
    result = tmp_path / "result"
    source, view = opened(path)
    with source, open(result, "wb") as file:
        file.truncate(view.size)
        for extent in view.extents():
            if extent.kind == "data":
                file.seek(extent.offset)
                file.write(view.read(extent.offset, extent.length))

    assert result.read_bytes() == wanted
    assert made.MARKER in path.read_bytes()
    assert made.MARKER not in result.read_bytes()
    made.run("e2fsck", "-fn", result)
    assert contents(result, tmp_path / "a") == contents(path, tmp_path / "b")
    ids = [re.findall(r"Free blocks: .*", made.run("dumpe2fs", item)) for item in (path, result)]
    assert ids[0] == ids[1]


def contents(path: Path, target: Path) -> dict[str, str]:
    """Every file's sha256, every directory and link."""
    target.mkdir()
    made.run("debugfs", "-R", f"rdump / {target}", path)
    found = {}
    for item in sorted(target.rglob("*")):
        name = str(item.relative_to(target))
        if item.is_symlink():
            found[name] = str(item.readlink())
        elif item.is_file():
            found[name] = hashlib.sha256(item.read_bytes()).hexdigest()
        else:
            found[name] = "directory"
    assert len(found) > 50
    return found


@pytest.mark.needs("mke2fs", "debugfs")
def test_a_file_system_that_changes_meanwhile_is_no_bug_of_ours(image, tmp_path):
    path = tmp_path / "fs"
    path.write_bytes(image[0].read_bytes())
    source, view = opened(path)
    with source:
        with open(path, "r+b") as file:
            file.seek(2048)
            file.write(bytes(8192))  # the descriptors
        known = view._free.areas[0].map
        known.descriptor.cache_clear()
        known.bitmap.cache_clear()
        known._volume._reader._pages.clear()

        with pytest.raises(SourceError, match="not any more what it was") as raised:
            view.read(20 * MIB, 10)

    assert raised.value.code == "source-changed"
