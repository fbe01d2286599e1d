"""--identity content: the same bytes are the same source, wherever they lie."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    raw, path = tmp_path / "raw", tmp_path / "disk.qcow2"
    with raw.open("wb") as out:
        out.truncate(16 << 20)
        out.seek(5 << 20)
        out.write(random.Random(1).randbytes(1 << 20))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, path], check=True, timeout=60)
    return path


def copied(image: Path, folder: Path) -> Path:
    """As on another machine: another inode, other times."""
    folder.mkdir()
    path = Path(shutil.copy(image, folder / image.name))
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def run(imgprep, image: Path, out: Path, jobs: Path, identity: str):
    options = ("--guest", "off", "--fail-on", "never", "--json", "--identity", identity)
    return imgprep("run", image, out, "--job-dir", jobs, *options)


def test_a_copy_makes_the_same_bytes_and_goes_on_with_the_same_upload(imgprep, image, tmp_path):
    out = tmp_path / "out"
    first = run(imgprep, image, out, tmp_path / "one", "content")
    assert first.code == 0, first.stderr
    copy = copied(image, tmp_path / "elsewhere")

    again = run(imgprep, copy, out, tmp_path / "two", "content")
    beside = run(imgprep, copy, tmp_path / "beside", tmp_path / "three", "content")

    assert again.code == 0, again.stdout
    receipt = again.report["receipt"]
    assert (receipt["sent_bytes"], receipt["reused_bytes"]) == (0, receipt["size"])
    assert again.report["job"]["id"] == first.report["job"]["id"]
    assert beside.code == 0
    assert (tmp_path / "beside" / "disk.vhd").read_bytes() == (out / "disk.vhd").read_bytes()


def test_by_stat_a_copy_is_another_source(imgprep, image, tmp_path):
    out = tmp_path / "out"
    assert run(imgprep, image, out, tmp_path / "one", "stat").code == 0
    copy = copied(image, tmp_path / "elsewhere")
    again = run(imgprep, copy, out, tmp_path / "two", "stat")
    assert again.code == 5
    assert again.report["error"]["code"] == "object-exists"


def test_a_finished_job_is_repeated_with_success(imgprep, image, tmp_path):
    """Also when its job directory is gone."""
    out = tmp_path / "out"
    assert run(imgprep, image, out, tmp_path / "one", "stat").code == 0
    for jobs in ("one", "two"):
        again = run(imgprep, image, out, tmp_path / jobs, "stat")
        assert again.code == 0, again.stdout
        assert again.report["receipt"]["sent_bytes"] == 0
        assert again.report["receipt"]["verified"] == "manifest"
