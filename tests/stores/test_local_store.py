"""What only a directory can get wrong; the rest is in the conformance suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from patterns import MIB, Pattern

from pipeline.errors import StoreError
from pipeline.stores import open_store, parse
from pipeline.transfer.protocol import UPLOAD_KEY, ObjectStore, Upload, upload_id
from pipeline.transfer.segments import SegmentPayload, ZeroMap

SEGMENT = 2 * MIB


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(parse(str(tmp_path)))


def started(store: ObjectStore, pattern: Pattern) -> Upload:
    return store.begin("d.vhd", upload_id("job", pattern.seed), pattern.size, SEGMENT, "")


def put(store: ObjectStore, upload: Upload, pattern: Pattern, number: int):
    offset = number * SEGMENT
    size = min(SEGMENT, pattern.size - offset)
    zeros = ZeroMap(pattern.extents())
    body = SegmentPayload(pattern, zeros, number=number, offset=offset, size=size)
    return store.put_segment(upload, body)


def test_holes_stay_holes(store: ObjectStore, tmp_path: Path):
    pattern = Pattern(12 * MIB)
    upload = started(store, pattern)
    segments = tuple(put(store, upload, pattern, number) for number in range(6))

    store.commit(upload, segments, replace=False)

    stored = tmp_path / "d.vhd"
    assert stored.read_bytes() == pattern.all()
    assert stored.stat().st_blocks * 512 < 10 * MIB


def test_a_torn_write_is_seen_when_the_upload_goes_on(store: ObjectStore, tmp_path: Path):
    pattern = Pattern(5 * MIB, holes=False)
    upload = started(store, pattern)
    sent = [put(store, upload, pattern, number) for number in range(2)]
    data = next(tmp_path.glob(".imgprep-*")) / "data"
    with data.open("r+b") as file:
        file.seek(SEGMENT + 100)
        file.write(bytes(512))
    with (data.parent / "log").open("a") as log:
        log.write("2 2097")  # the last line was not written to its end

    held = open_store(parse(str(tmp_path))).list_segments(upload)

    assert held[0] == sent[0]
    assert held[1].md5 != sent[1].md5
    assert set(held) == {0, 1}


def test_where_the_object_comes_from_is_written_on_it_until_it_changes(
    store: ObjectStore, tmp_path: Path
):
    pattern = Pattern(MIB)
    upload = store.begin(
        "d.vhd", upload_id("j", "c"), MIB, SEGMENT, "", metadata={"imgprep-source": "ü.qcow2"}
    )
    made = store.commit(upload, (put(store, upload, pattern, 0),), replace=False)
    assert made.metadata == {"imgprep-source": "ü.qcow2", UPLOAD_KEY: upload.id}
    assert made.etag == store.expected_etag((put_again(pattern),))

    os.utime(tmp_path / "d.vhd")

    later = store.stat("d.vhd")
    assert later is not None
    assert (later.etag, later.metadata) == (None, {})


def put_again(pattern: Pattern):
    from pipeline.transfer.protocol import StoredSegment

    return StoredSegment(0, pattern.size, pattern.md5(0, pattern.size))


def test_too_little_space_is_known_before_the_first_byte(store: ObjectStore, tmp_path: Path):
    with pytest.raises(StoreError) as caught:
        store.prepare(size=1 << 60)
    assert caught.value.code == "store-full"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs("mount")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small tmpfs")
def test_a_disk_that_fills_up_is_one_clear_error(tmp_path: Path):
    import subprocess

    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(tmp_path)], capture_output=True
    )
    if done.returncode:
        pytest.skip("this container may not mount")
    try:
        store = open_store(parse(str(tmp_path)))
        pattern = Pattern(8 * MIB, holes=False)
        upload = started(store, pattern)
        with pytest.raises(StoreError) as caught:
            [put(store, upload, pattern, number) for number in range(4)]
        assert caught.value.code == "store-full"
        assert not (tmp_path / "d.vhd").exists()
        store.discard(upload)
        assert list(tmp_path.iterdir()) == []
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.parametrize("path", ["/proc", "/sys"])
def test_a_place_that_cannot_be_written(path: str):
    store = open_store(parse(path))

    def attempt() -> None:
        store.prepare()
        started(store, Pattern(MIB))

    with pytest.raises(StoreError) as caught:
        attempt()
    assert caught.value.exit_code == 5
    assert path in caught.value.message


def test_a_file_is_no_directory(tmp_path: Path):
    (tmp_path / "x").write_text("")
    with pytest.raises(StoreError) as caught:
        open_store(parse(str(tmp_path / "x"))).prepare()
    assert caught.value.code == "container-missing"


def test_somebody_else_s_hidden_directory_is_not_ours(store: ObjectStore, tmp_path: Path):
    (tmp_path / ".imgprep-cache").mkdir()
    (tmp_path / ".imgprep-job-0123").write_text("x")
    assert store.unfinished() == ()


def test_what_is_left_counts_whole_segments_and_tells_the_disk_s_own_figure(
    store: ObjectStore, tmp_path: Path
):
    # given a segment of data, one of zeros, which is a hole, and half of a third one
    pattern = Pattern(12 * MIB)
    upload = started(store, pattern)
    put(store, upload, pattern, 0)
    put(store, upload, pattern, 1)
    with (tmp_path / f".{upload.id}" / "log").open("a") as log:
        log.write("2 2097")

    (left,) = store.unfinished()

    assert (left.segments, left.size) == (2, 2 * SEGMENT)
    data = (tmp_path / f".{upload.id}" / "data").stat()
    assert left.on_disk == data.st_blocks * 512
