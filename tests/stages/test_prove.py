"""Everything that is made is judged before a byte of it is sent."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import handmade
import pytest

from pipeline.beside import Beside
from pipeline.engine import run_job
from pipeline.events import Event, Note, StageStarted
from pipeline.formats import vhd_layout
from pipeline.formats.vhd import Vhd
from pipeline.model import Job, Options, Report, StageStatus, Status
from pipeline.source import Source
from pipeline.tools import nbd, qemu_img
from stages import for_run, for_upload

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")

MIB, GIB = 1 << 20, 1 << 30
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"


class Runner:
    """Runs jobs into ``out`` and looks around while it does."""

    def __init__(self, tmp_path: Path) -> None:
        self.out = tmp_path / "out"
        self.jobs = tmp_path / "jobs"
        self.events: list[Event] = []
        self.scratch = 0  # bytes in the job directory when the upload began

    def __call__(
        self, image: Path, profile: str = "rackspace", stages: Any = None, **words: Any
    ) -> Report:
        options = Options(**{"guest": "off", "create": True, "fail_on": "never", **words})
        job = Job(str(image), profile, f"file://{self.out}/", options)
        return run_job(job, stages or for_run(), self._see, job_dir=self.jobs)

    def _see(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, StageStarted) and event.stage == "verify":
            files = self.jobs.glob("*/scratch/**/*")
            self.scratch = sum(path.stat().st_blocks * 512 for path in files if path.is_file())

    @property
    def stored(self) -> list[str]:
        return [path.name for path in self.out.iterdir()] if self.out.exists() else []

    def warnings(self) -> str:
        return "\n".join(
            event.text
            for event in self.events
            if isinstance(event, Note) and event.level == "warning"
        )


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def raw_disk(path: Path, size: int, *places: int) -> Path:
    rng = random.Random(3)
    with path.open("wb") as file:
        file.truncate(size)
        for place in places:
            file.seek(place)
            file.write(rng.randbytes(65536))
    return path


def profile_of(tmp_path: Path, target: dict[str, Any], *requirements: dict[str, Any]) -> str:
    """A cloud of our own; each requirement is a schema over facts."""
    listed = []
    for number, schema in enumerate(requirements):
        path = tmp_path / f"rule-{number}.json"
        words = {
            "severity": "error",
            "message": "It does not fit.",
            "expected": "that it fits",
            "remedy": "Make it fit.",
            "source": {"address": "https://example.org/", "date": "2026-01-01"},
            "needs": ["container.virtual_size"],
            "fixed_by": "convert",
        }
        document = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "What this cloud wants",
            "description": "A requirement of a test.",
            **schema,
            "x-finding": words | schema.get("x-finding", {}),
            "x-cases": {"pass": [{"container": {}}], "fail": [{"container": {}}]},
        }
        path.write_text(json.dumps(document))
        listed.append({"$ref": path.name})
    path = tmp_path / "cloud.json"
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A cloud",
        "description": "A cloud of a test.",
        "allOf": listed,
        "x-target": target,
    }
    path.write_text(json.dumps(document))
    return str(path)


def wants(**facts: Any) -> dict[str, Any]:
    return {"properties": {"container": {"properties": facts}}}


def test_another_variant_than_the_profile_takes_is_told_and_sent(run: Runner, tmp_path: Path):
    report = run(raw_disk(tmp_path / "d.raw", 4 * MIB, 0), format="vhd-fixed")

    assert (report.error, report.exit_code) == (None, 0)
    assert "takes vhd (dynamic)" in run.warnings()
    assert report.result is None
    assert report.facts["result"]["container"]["variant"] == "fixed"
    assert run.stored == ["d.vhd"]


def test_what_the_profile_refuses_is_never_sent(run: Runner, tmp_path: Path):
    target = {"format": "vhd", "variant": "fixed", "suffix": ".vhd"}
    whole = wants(virtual_size={"multipleOf": MIB})
    profile = profile_of(tmp_path, target, whole)

    report = run(raw_disk(tmp_path / "d.raw", 4 * MIB + 512, 0), profile)

    assert report.error is not None
    assert (report.error.code, report.exit_code) == ("result-unfit", 4)
    assert report.result is not None
    assert [(item.rule, item.status) for item in report.result.findings] == [
        ("rule-0", Status.FAIL)
    ]
    assert run.stored == []
    stages = {stage.name: stage.status for stage in report.stages}
    assert stages["prove"] is StageStatus.FAILED
    assert "upload" not in stages


def test_the_size_rule_of_the_target_makes_it_fit(run: Runner, tmp_path: Path):
    target = {"format": "vhd", "variant": "fixed", "suffix": ".vhd", "size_multiple": MIB}
    profile = profile_of(tmp_path, target, wants(virtual_size={"multipleOf": MIB}))

    report = run(raw_disk(tmp_path / "d.raw", 4 * MIB + 512, 0), profile)

    assert report.error is None
    assert report.result is not None
    assert report.result.findings == ()
    assert (run.out / "d.vhd").stat().st_size == 5 * MIB + 512


@pytest.mark.parametrize(("strict", "code"), [(False, 0), (True, 7)])
def test_what_nobody_can_tell_about_the_result_is_sent_unless_strict(
    run: Runner, tmp_path: Path, strict: bool, code: int
):
    unknown = {
        "if": {"properties": {"container": {"properties": {"format": {"const": "vhd"}}}}},
        "then": wants(shape={"const": "round"}),
        "x-finding": {"needs": ["container.shape"], "severity": "warning"},
    }
    target = {"format": "vhd", "variant": "fixed", "suffix": ".vhd"}
    profile = profile_of(tmp_path, target, unknown)

    report = run(raw_disk(tmp_path / "d.raw", 4 * MIB, 0), profile, strict=strict)

    assert report.exit_code == code, report.error
    assert report.result is not None
    assert [item.status for item in report.result.findings] == [Status.UNKNOWN]
    assert run.stored == ([] if strict else ["d.vhd"])


@pytest.mark.parametrize("size", [512, 3 * MIB, 4 * MIB + 512, 136365211648, 127 * GIB])
def test_every_reader_sees_the_same_size_of_a_fixed_vhd(tmp_path: Path, size: int):
    footer = vhd_layout.footer(size, UUID(int=1), 7, fixed=True)
    with (tmp_path / "d.vhd").open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(footer)

    argv = ["qemu-img", "info", "--output=json", "-f", "vpc", tmp_path / "d.vhd"]
    said = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    with Source.open(tmp_path / "d.vhd") as source:
        found = Vhd().inspect(source)

    assert said["virtual-size"] == found.virtual_size == size
    assert (found.variant, found.problems) == ("fixed", ())


def test_a_fixed_vhd_needs_no_scratch(run: Runner, tmp_path: Path):
    raw = raw_disk(tmp_path / "d.raw", 2 * GIB, 0, GIB)
    image = tmp_path / "d.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True)

    report = run(image, format="vhd-fixed")

    assert report.error is None
    assert run.scratch == 0
    stored = run.out / "d.vhd"
    assert stored.stat().st_size == 2 * GIB + 512
    assert stored.stat().st_blocks * 512 < 64 * MIB
    compared = ["qemu-img", "compare", "-f", "qcow2", "-F", "vpc", image, stored]
    assert subprocess.run(compared, capture_output=True).returncode == 0


def test_a_run_starts_one_server_and_asks_for_one_map(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    raw = raw_disk(tmp_path / "d.raw", 64 * MIB, 0, 33 * MIB)
    image = tmp_path / "d.qcow2"
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", raw, image], check=True)
    calls: list[str] = []
    serve, map_ = nbd.serve, qemu_img.map_

    def serving(*arguments: Any, **words: Any) -> Any:
        calls.append("qemu-nbd")
        return serve(*arguments, **words)

    def mapping(*arguments: Any, **words: Any) -> Any:
        calls.append("map")
        return map_(*arguments, **words)

    monkeypatch.setattr(nbd, "serve", serving)
    monkeypatch.setattr(qemu_img, "map_", mapping)

    report = run(image, verify="readback")

    assert report.error is None
    assert sorted(calls) == ["map", "qemu-nbd"]


@pytest.mark.parametrize("format_name", ["qcow2", "vmdk", "vdi", "vhdx"])
def test_what_qemu_wrote_is_looked_into_as_well(run: Runner, tmp_path: Path, format_name: str):
    image = raw_disk(tmp_path / "d.raw", 8 * MIB, 0)

    report = run(image, format=format_name)

    assert report.error is None
    result = report.facts["result"]
    assert (result["container"]["format"], result["disk"]["virtual_size"]) == (
        format_name,
        8 * MIB,
    )


class TestUpload:
    def test_what_is_prepared_is_stored_as_it_is(self, run: Runner, tmp_path: Path):
        image = raw_disk(tmp_path / "d.raw", 4 * MIB, 0)

        report = run(image, None, for_upload(), fail_on="error", verify="readback")

        assert (report.error, report.exit_code) == (None, 0)
        assert (run.out / "d.raw").read_bytes() == image.read_bytes()
        assert report.receipt is not None
        assert report.receipt.verified == "readback"

    def test_a_disc_is_refused(self, run: Runner, tmp_path: Path):
        (tmp_path / "d.img").write_bytes(handmade.iso())

        report = run(tmp_path / "d.img", None, for_upload(), fail_on="error")

        assert (report.exit_code, run.stored) == (1, [])
        assert "iso-image" in {item.rule for item in report.findings}

    def test_with_a_profile_only_a_conversion_would_mend_is_an_error(
        self, run: Runner, tmp_path: Path
    ):
        image = raw_disk(tmp_path / "d.raw", 4 * MIB, 0)

        report = run(image, "rackspace", for_upload(), fail_on="error")

        assert (report.exit_code, run.stored) == (1, [])
        assert "vhd-format" in {item.rule for item in report.findings if item.severity == "error"}


def test_nothing_is_left_beside_what_is_kept(run: Runner, tmp_path: Path):
    kept = tmp_path / "kept"
    kept.mkdir()
    image = raw_disk(tmp_path / "d.raw", 4 * MIB, 0)

    for name in ("vhd", "qcow2"):
        report = run(
            image, stages=for_run(keep=True), keep=str(kept / name), format=name, name=name
        )
        assert report.error is None

    assert sorted(path.name for path in kept.iterdir()) == ["qcow2", "vhd"]
    with Beside(kept, "x"):
        pass
