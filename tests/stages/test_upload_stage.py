"""The way into a directory and the proof of what is there, through the engine."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine import run_job
from pipeline.events import Event, Note
from pipeline.model import Job, Options, Report, StageStatus
from stages import for_run

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")

MIB = 1 << 20


class Run:
    """Runs jobs into ``out``; ``between`` is called when the upload is done."""

    def __init__(self, tmp_path: Path) -> None:
        self.out = tmp_path / "out"
        self.out.mkdir()
        self.jobs = tmp_path / "jobs"
        self.between: Any = lambda: None
        self.events: list[Event] = []

    def __call__(self, image: Path, destination: str | None = None, **words: Any) -> Report:
        options = Options(guest="off", fail_on="never", **words)
        job = Job(str(image), "rackspace", destination or f"file://{self.out}/", options)
        return run_job(job, for_run(), self._see, job_dir=self.jobs)

    def _see(self, event: Event) -> None:
        self.events.append(event)
        if getattr(event, "stage", "") == "verify" and type(event).__name__ == "StageStarted":
            self.between()

    @property
    def stored(self) -> Path:
        (found,) = self.out.glob("*.vhd")
        return found

    def notes(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Note))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of 64 MiB with data in four places, as a qcow2."""
    directory = tmp_path_factory.mktemp("image")
    raw, path = directory / "disk.raw", directory / "disk.qcow2"
    rng = random.Random(5)
    with raw.open("wb") as file:
        file.truncate(64 * MIB)
        for place in (0, 5 * MIB + 512, 33 * MIB, 64 * MIB - 65536):
            file.seek(place)
            file.write(rng.randbytes(65536))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, path], check=True)
    return path


def same_disk(image: Path, stored: Path) -> bool:
    argv = ["qemu-img", "compare", "-f", "qcow2", "-F", "vpc", str(image), str(stored)]
    return subprocess.run(argv, capture_output=True).returncode == 0


@pytest.mark.parametrize("verify", ["manifest", "readback"])
def test_what_is_stored_is_proved(run: Run, image: Path, verify: Any):
    report = run(image, verify=verify)

    assert report.error is None
    assert report.receipt is not None
    assert report.receipt.verified == verify
    assert report.receipt.sha256  # one segment: hashed while it was sent
    assert same_disk(image, run.stored)
    assert report.facts["result"]["container"]["creator"] == "tap"
    assert [path.name for path in run.out.iterdir()] == ["disk.vhd"]


@pytest.mark.parametrize("place", [700, 3 * MIB, -200])
def test_what_changes_in_the_store_is_found(run: Run, image: Path, place: int):
    def damage() -> None:
        with run.stored.open("r+b") as file:
            file.seek(place, 0 if place > 0 else 2)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 4]))

    run.between = damage

    report = run(image)

    assert report.exit_code == 5
    assert report.error is not None
    assert report.error.code == "object-mismatch"


def test_the_same_job_again_finds_its_work_done(run: Run, image: Path):
    first = run(image)
    report = run(image)
    assert report.error is None
    assert report.receipt is not None
    assert first.receipt is not None
    assert (report.receipt.sent_bytes, report.receipt.url) == (0, first.receipt.url)


def test_an_object_of_somebody_else_is_in_the_way(run: Run, image: Path):
    run(image)
    run.stored.write_bytes(b"something else")
    report = run(image)
    assert report.exit_code == 5
    assert report.error is not None
    assert report.error.code == "object-exists"


def test_skip_needs_equal_content(run: Run, image: Path):
    run(image)
    skipped = run(image, if_exists="skip")
    assert skipped.error is None
    assert skipped.receipt is not None
    assert (skipped.receipt.sent_bytes, skipped.receipt.verified) == (0, "manifest")
    run.stored.write_bytes(b"something else")
    differs = run(image, if_exists="skip")
    assert differs.error is not None
    assert differs.error.code == "object-differs"


def test_a_dry_run_stores_nothing_and_tells_the_plan(run: Run, image: Path):
    report = run(image, dry_run=True)

    assert report.receipt is None
    assert [s.status for s in report.stages][-2:] == [StageStatus.SKIPPED, StageStatus.SKIPPED]
    assert "would go to" in str(report.stages[-2].reason)
    assert list(run.out.iterdir()) == []


@pytest.mark.parametrize("destination", ["swift://", "s3://x/..", "ftp://host/"])
def test_a_malformed_destination_is_a_usage_error(run: Run, image: Path, destination: str):
    report = run(image, destination)
    assert report.exit_code == 2
    assert report.error is not None
    assert report.error.code == "destination-malformed"


@pytest.mark.parametrize("name", ["../x.vhd", "a/b.vhd", "x" * 300])
def test_a_malformed_name_is_a_usage_error(run: Run, image: Path, name: str):
    report = run(image, name=name)
    assert report.exit_code == 2
    assert list(run.out.iterdir()) == []


def test_another_format_is_stored_but_not_called_fit(run: Run, image: Path):
    report = run(image, format="raw", verify="readback")

    assert report.error is None
    assert "rackspace" in run.notes()
    assert [path.name for path in run.out.iterdir()] == ["disk.raw"]
    assert (run.out / "disk.raw").stat().st_size == 64 * MIB


def test_a_missing_directory_is_made_only_when_that_is_asked_for(run: Run, image: Path):
    run.out.rmdir()
    report = run(image)
    assert report.error is not None
    assert report.error.code == "container-missing"
    assert run(image, create=True).error is None
