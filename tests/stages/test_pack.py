"""What is packed is judged again, now that its size is known: nothing too large is stored."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from pipeline import profile
from pipeline.engine import run_job
from pipeline.events import ignore
from pipeline.model import Job, Options, Report, Status
from stages import for_run

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk of 4 MiB, of which 1 MiB does not shrink."""
    path = tmp_path / "disk.raw"
    head = bytes(446) + bytes.fromhex("80000200830000000008000000100000") + bytes(48) + b"\x55\xaa"
    path.write_bytes(head.ljust(MIB, b"\0") + random.Random(1).randbytes(MIB) + bytes(2 * MIB))
    return path


def run(image: Path, limit: int, directory: Path) -> Report:
    """To a cloud like Linode that takes so many bytes packed."""
    mine = directory / "mine.json"
    mine.write_text(
        json.dumps(
            {
                "$schema": profile.DIALECT,
                "title": "A small cloud",
                "description": "Linode, with another limit on what is packed.",
                "allOf": [{"$ref": "imgprep:profiles/linode.json"}],
                "$defs": {
                    "max-packed-size": {"$dynamicAnchor": "max-packed-size", "maximum": limit}
                },
            }
        )
    )
    options = Options(guest="off", fail_on="never", create=True)
    job = Job(str(image), str(mine), f"file://{directory}/out/", options)
    return run_job(job, for_run(), ignore, job_dir=directory / "jobs")


def test_what_is_too_large_when_it_is_packed_is_not_stored(image: Path, tmp_path: Path) -> None:
    report = run(image, MIB, tmp_path)

    assert report.error is not None
    assert (report.error.code, report.exit_code) == ("result-unfit", 4)
    assert report.result is not None
    failed = {item.rule for item in report.result.findings if item.status is Status.FAIL}
    assert "packed-size-limit" in failed
    assert not list((tmp_path / "out").glob("*"))


def test_what_is_small_enough_is_stored(image: Path, tmp_path: Path) -> None:
    report = run(image, 2 * MIB, tmp_path)

    assert report.error is None, report.error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["disk.img.gz"]
    assert report.result is not None
    assert "packed-size-limit" in report.result.passed
    assert "packed-size-limit" not in report.result.not_applicable
