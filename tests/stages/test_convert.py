"""The stage convert, as the engine runs it: real images, the Rackspace profile, all target formats."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import vhd_files as files

from pipeline.engine import run_job
from pipeline.events import Event, Note, Progress
from pipeline.formats.vhd import Vhd
from pipeline.model import Artifact, Job, Options, Report
from pipeline.source import Source
from pipeline.targets.artifact import open_artifact
from pipeline.targets.choice import FORMATS
from stages.check import Check
from stages.convert import Convert
from stages.identify import Identify
from stages.inspect_disk import InspectDisk
from stages.keep import Keep
from stages.prove import Prove

MIB = 1 << 20
STAGES = (Identify(), InspectDisk(), Check(), Convert(), Prove(), Keep())
pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")


class Run:
    """One job in a directory, and what it told."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.events: list[Event] = []

    def __call__(self, image: Path, stages: Any = STAGES, **options: Any) -> Report:
        self.events.clear()
        job = Job(str(image), "rackspace", options=Options(guest="off", **options))
        return run_job(job, stages, self.events.append, job_dir=self.tmp_path / "jobs")

    def notes(self) -> str:
        return " ".join(item.text for item in self.events if isinstance(item, Note))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return files.raw_disk(tmp_path / "disk.raw", 30 * MIB, runs=5)


@pytest.fixture
def image(raw: Path, tmp_path: Path) -> Path:
    files.qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, tmp_path / "image.qcow2")
    return tmp_path / "image.qcow2"


def test_a_qcow2_becomes_the_vhd_that_xenserver_takes(
    run: Run, image: Path, raw: Path, tmp_path: Path
) -> None:
    report = run(image, keep=str(tmp_path / "out.vhd"))

    assert report.error is None
    data = (tmp_path / "out.vhd").read_bytes()
    assert report.artifact == {
        "format": "vhd",
        "variant": "dynamic",
        "virtual_size": 30 * MIB,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert files.against_xenserver(data) == set()
    assert "identical" in files.qemu_img(
        "compare", "-f", "raw", "-F", "vpc", raw, tmp_path / "out.vhd"
    )
    assert [item for item in run.events if isinstance(item, Progress)][-1].done == len(data)


def test_the_same_job_gives_the_same_bytes(run: Run, image: Path, tmp_path: Path) -> None:
    one = run(image, keep=str(tmp_path / "1.vhd"))
    two = run(image, keep=str(tmp_path / "2.vhd"))

    assert one.artifact is not None
    assert two.artifact is not None
    assert one.artifact["sha256"] == two.artifact["sha256"]


def test_without_an_output_nothing_is_written(run: Run, image: Path, tmp_path: Path) -> None:
    before = {item.name for item in tmp_path.iterdir()}

    report = run(image)

    assert report.artifact is not None
    assert report.artifact["format"] == "vhd"
    assert {item.name for item in tmp_path.iterdir()} - before == {"jobs"}


def test_a_conforming_vhd_is_passed_through(run: Run, tmp_path: Path) -> None:
    (tmp_path / "image.vhd").write_bytes(files.ours(20 * MIB, [2, 3]))

    report = run(tmp_path / "image.vhd", keep=str(tmp_path / "out.vhd"))

    assert report.error is None
    assert (tmp_path / "out.vhd").read_bytes() == (tmp_path / "image.vhd").read_bytes()


NOT_CONFORMING = {
    "another creator": lambda data: files.set_footer(data, creator=b"qem2"),
    "an old version": lambda data: files.set_footer(data, creator_version=0x10001),
    "an odd size": lambda data: files.set_footer(data, current_size=20 * MIB - 512),
    "hidden": lambda data: files.set_footer(data, hidden=1),
    "no uuid": lambda data: files.set_footer(data, uuid=bytes(16)),
    "no batmap": lambda data: data[:2048] + bytes(512) + data[2560:],
}


@pytest.mark.parametrize("name", NOT_CONFORMING)
def test_a_vhd_that_lacks_something_is_written_anew(run: Run, tmp_path: Path, name: str) -> None:
    data = NOT_CONFORMING[name](files.ours(20 * MIB, [2, 3]))
    (tmp_path / "image.vhd").write_bytes(data)

    report = run(tmp_path / "image.vhd", keep=str(tmp_path / "out.vhd"))

    assert report.error is None
    written = (tmp_path / "out.vhd").read_bytes()
    found = Vhd().inspect(files.Bytes(written))
    assert (found.problems, found.virtual_size) == ((), 20 * MIB)
    assert files.against_xenserver(written) == set()
    place = int.from_bytes(written[1536 + 8 : 1536 + 12], "big") * 512 + 512
    assert written[place : place + files.BLOCK] == files.filled(2, 7)


def test_a_fixed_vhd_with_an_old_footer_is_written_anew(
    run: Run, raw: Path, tmp_path: Path
) -> None:
    files.qemu_img(
        "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on",
        raw, tmp_path / "fixed.vhd",
    )  # fmt: skip
    os.truncate(tmp_path / "fixed.vhd", 30 * MIB + 511)

    report = run(tmp_path / "fixed.vhd", keep=str(tmp_path / "out.vhd"))

    assert report.error is None
    assert "identical" in files.qemu_img(
        "compare", "-f", "raw", "-F", "vpc", raw, tmp_path / "out.vhd"
    )


def test_an_odd_size_is_rounded_up_and_told(run: Run, tmp_path: Path) -> None:
    odd = files.raw_disk(tmp_path / "odd.raw", 21 * MIB + 512)

    report = run(odd)

    assert report.artifact is not None
    assert report.artifact["virtual_size"] == 22 * MIB
    assert f"from {21 * MIB + 512} to {22 * MIB} bytes" in run.notes()


QEMU_NAMES = {"vhd-fixed": "vpc", "qcow2-compressed": "qcow2", "vmdk-sparse": "vmdk"}


@pytest.mark.needs("sgdisk")
def test_a_gpt_that_is_no_longer_at_the_end_is_told(run: Run, tmp_path: Path) -> None:
    odd, gpt = files.raw_disk(tmp_path / "odd.raw", 21 * MIB + 512), tmp_path / "gpt.raw"
    with gpt.open("wb") as file:
        file.truncate(21 * MIB + 512)
    subprocess.run(["sgdisk", "--new=1:2048:20000", gpt], check=True, capture_output=True)

    run(odd)
    assert "GPT" not in run.notes()
    report = run(gpt)

    assert report.error is None, report.error
    assert report.artifact is not None
    assert report.artifact["virtual_size"] == 22 * MIB
    assert "the backup of its GPT stays at the old end" in run.notes()


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "vhd"])
def test_the_other_formats(run: Run, image: Path, raw: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / "kept"

    report = run(image, keep=str(output), format=name)

    assert report.error is None
    assert report.artifact is not None
    assert report.artifact["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert "identical" in files.qemu_img(
        "compare", "-f", "raw", "-F", QEMU_NAMES.get(name, name), raw, output
    )
    assert [item.name for item in tmp_path.iterdir() if item.name.startswith(".")] == []


def test_a_file_in_scratch_can_be_read_as_an_artifact(
    run: Run, image: Path, tmp_path: Path
) -> None:
    held: list[bytes] = []

    class Upload:
        name, version, reusable = "upload", 1, False

        def options(self, job: Job) -> dict[str, Any]:
            return {}

        def run(self, context: Any) -> Any:
            from pipeline.model import Outcome

            artifact: Artifact = context.artifact
            with open_artifact(artifact, context.disk) as opened:
                held.append(opened.read(0, opened.size))
            return Outcome()

    report = run(image, (*STAGES, Upload()), format="vdi")

    assert report.error is None
    (tmp_path / "copy.vdi").write_bytes(held[0])
    assert "identical" in files.qemu_img(
        "compare", "-f", "qcow2", "-F", "vdi", image, tmp_path / "copy.vdi"
    )


def test_an_unknown_format_is_a_usage_error(run: Run, image: Path) -> None:
    report = run(image, format="floppy")

    assert report.error is not None
    assert (report.error.code, report.exit_code) == ("format-unknown", 2)
    assert "qcow2-compressed" in report.error.hint


@pytest.mark.parametrize("name", ["vhd", "qcow2"])
def test_an_output_that_exists_is_kept(run: Run, image: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").write_text("precious")

    refused = run(image, keep=str(tmp_path / "out"), format=name)
    kept = (tmp_path / "out").read_text()
    replaced = run(image, keep=str(tmp_path / "out"), format=name, if_exists="replace")

    assert refused.error is not None
    assert (refused.error.code, refused.exit_code, kept) == ("output-exists", 2, "precious")
    assert replaced.error is None
    assert (tmp_path / "out").stat().st_size > MIB


DAMAGE = {
    "a block behind the end": (lambda d: files.set_entry(d, 3, 1 << 30), "vhd-block-bounds"),
    "overlapping blocks": (
        lambda d: files.set_entry(d, 3, files.entry(d, 2) + 8),
        "vhd-block-overlap",
    ),
    "cut short": (lambda d: d[: 5 * MIB // 2], "vhd-truncated"),
    "a parent": (lambda d: files.set_footer(d, disk_type=4), "vhd-parent"),
    "a wrong checksum but a good copy": (
        lambda d: d[:-400] + b"!" + d[-399:],
        "vhd-footer",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_vhd_is_refused_by_name_and_not_converted(
    run: Run, tmp_path: Path, name: str
) -> None:
    change, rule = DAMAGE[name]
    (tmp_path / "image.vhd").write_bytes(change(files.ours(20 * MIB, [2, 3])))

    report = run(tmp_path / "image.vhd", keep=str(tmp_path / "out.vhd"))

    assert (report.error, report.exit_code) == (None, 1)
    assert rule in {finding.rule for finding in report.findings if finding.range is not None}
    assert not (tmp_path / "out.vhd").exists()


def test_a_disk_above_2040_gib_is_refused_with_its_size(run: Run, tmp_path: Path) -> None:
    huge = files.raw_disk(tmp_path / "huge.raw", (2040 << 30) + 512, runs=0)

    report = run(huge, keep=str(tmp_path / "out.vhd"), fail_on="never")

    said = " ".join(finding.message for finding in report.findings)
    assert str((2040 << 30) + 512) in said + (report.error.message if report.error else "")
    assert report.error is not None
    assert (report.error.code, report.exit_code) == ("vhd-too-large", 4)
    assert not (tmp_path / "out.vhd").exists()


def test_the_time_stamp_is_never_in_the_future(run: Run, raw: Path, tmp_path: Path) -> None:
    os.utime(raw, (4_000_000_000, 4_000_000_000))

    run(raw, keep=str(tmp_path / "out.vhd"))

    with Source.open(tmp_path / "out.vhd") as file:
        assert Vhd().inspect(file).details["timestamp"] == "2000-01-01T00:00:00Z"


@pytest.mark.parametrize("name", ["vhd", "qcow2"])
def test_a_checksum_that_nobody_wants_is_not_computed(
    run: Run, image: Path, tmp_path: Path, name: str
) -> None:
    report = run(image, keep=str(tmp_path / "out"), format=name, checksum="none")

    assert report.error is None
    assert report.artifact is not None
    assert "sha256" not in report.artifact
