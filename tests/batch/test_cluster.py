"""A batch on a real Dask cluster: the same ledger, workers that die, a scheduler that goes away."""

import hashlib
import json
import shutil
import signal
import subprocess

import pytest

from pipeline import __version__
from pipeline.batch.budget import Capacity
from tests.batch import clusters, images
from tests.remote.web import Ranged, Web

pytestmark = [
    pytest.mark.needs("module:distributed", "qemu-img", "qemu-nbd"),
    pytest.mark.xdist_group("cluster"),
]


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(tmp_path, count, megabytes=2):
    listed = [
        images.good(tmp_path / f"{n}.qcow2", seed=n, megabytes=megabytes, size=megabytes * 4 << 20)
        for n in range(count)
    ]
    disc = images.iso(tmp_path / "disc.img")
    return images.manifest(
        tmp_path / "m.json", [*listed, disc], to=str(tmp_path / "s"), options={"guest": "off"}
    )


def states(imgprep, directory):
    found = images.status(imgprep, directory)
    return {task["source"].rpartition("/")[2]: task["state"] for task in found["tasks"]}


def test_the_same_command_on_a_cluster_gives_the_same_objects(imgprep, tmp_path):
    file = manifest(tmp_path, 3)
    here = imgprep("batch", file, "--dir", tmp_path / "here", "--identity", "content")
    assert here.code == 1, here.stderr
    expected = {path.name: sha256(path) for path in (tmp_path / "s").iterdir()}
    for path in (tmp_path / "s").iterdir():
        path.unlink()
    (tmp_path / "cluster").mkdir()
    with clusters.running(tmp_path / "cluster", imgprep.env, 2) as found:
        ended = imgprep(
            "batch", file, "--scheduler", found.address, "--events", tmp_path / "e",
            "--report", f"json={tmp_path / 'reports.json'}",
        )  # fmt: skip

    assert ended.code == 1, ended.stderr
    options = [
        item["job"]["options"] for item in json.loads((tmp_path / "reports.json").read_text())
    ]
    assert {each["identity"] for each in options} == {"content"}
    both = Capacity.of_machine(tmp_path, jobs=2).connections  # two workers on one host share them
    assert {each["connections"] for each in options} == {both}
    assert {path.name: sha256(path) for path in (tmp_path / "s").iterdir()} == expected
    told = [json.loads(line) for line in (tmp_path / "e").read_text().splitlines()]
    assert {line["worker"] for line in told if line["event"] == "TaskStarted"} > set()
    assert any(line["event"] == "TaskEvent" for line in told)
    assert states(imgprep, tmp_path / "m.batch") == {
        "0.qcow2": "done", "1.qcow2": "done", "2.qcow2": "done", "disc.img": "refused",
    }  # fmt: skip


def test_workers_read_images_at_addresses_themselves(imgprep, tmp_path):
    qcow2 = images.good(tmp_path / "disk.qcow2")
    raw = ["qemu-img", "convert", "-O", "raw", qcow2, tmp_path / "disk.raw"]
    subprocess.run(raw, check=True, timeout=60)
    (tmp_path / "cluster").mkdir()
    with (
        Web(tmp_path, Ranged).running() as site,
        clusters.running(tmp_path / "cluster", imgprep.env, 1) as found,
    ):
        listed = [site.url("disk.raw"), {"image": site.url("disk.qcow2"), "name": "copied.vhd"}]
        file = images.manifest(
            tmp_path / "m.json", listed, to=str(tmp_path / "s"), options={"guest": "off"}
        )
        ended = imgprep("batch", file, "--scheduler", found.address)

    assert ended.code == 0, ended.stderr
    for name in ("disk.vhd", "copied.vhd"):
        same = ["qemu-img", "compare", "-f", "vpc", "-F", "qcow2", tmp_path / "s" / name, qcow2]
        assert subprocess.run(same, capture_output=True, timeout=60).returncode == 0
    assert not list((tmp_path / "cluster").rglob("fetched"))


def test_a_scheduler_that_is_not_there_is_told(imgprep, tmp_path):
    ended = imgprep("batch", manifest(tmp_path, 1), "--scheduler", "tcp://127.0.0.1:9")

    assert ended.code == 3
    assert "scheduler-unreachable" in ended.stderr
    assert set(states(imgprep, tmp_path / "m.batch").values()) == {"pending"}


def test_everything_wrong_with_the_workers_is_told_before_anything_starts(imgprep, tmp_path):
    file = manifest(tmp_path, 1)
    (tmp_path / "cluster").mkdir()
    other = tmp_path / "other" / "pipeline"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise ImportError('there is no imgprep here')\n")
    older = tmp_path / "older"  # an imgprep that differs in its version alone
    shutil.copytree(clusters.ROOT / "pipeline", older / "pipeline")
    (older / "pipeline" / "__init__.py").write_text('__version__ = "0.0.1"\n')
    for name in ("stages", "schemas"):
        (older / name).symlink_to(clusters.ROOT / name)
    with clusters.running(tmp_path / "cluster", imgprep.env, 0) as found:
        found.add_worker("")
        clusters.arrived(found, 1)
        without = imgprep("batch", file, "--scheduler", found.address)
        found.add_worker(env={"PYTHONPATH": str(other.parent)})
        found.add_worker(env={"PATH": str(tmp_path)})
        found.add_worker(env={"PYTHONPATH": str(older)})
        clusters.arrived(found, 4)
        unfit = imgprep("batch", file, "--scheduler", found.address)

    assert without.code == 3
    assert "cluster-without-resource" in without.stderr
    assert unfit.code == 3
    assert "cluster-unfit" in unfit.stderr
    assert "has no imgprep" in unfit.stderr
    assert "has no qemu-img" in unfit.stderr
    assert f"has imgprep 0.0.1, here is {__version__}" in unfit.stderr
    assert "4 problems with 3 workers" in unfit.stderr
    assert set(states(imgprep, tmp_path / "m.batch").values()) == {"pending"}


def test_workers_whose_tools_differ_are_told_of(imgprep, tmp_path):
    file = images.manifest(tmp_path / "m.json", [images.iso(tmp_path / "disc.img")])
    (tmp_path / "cluster").mkdir()
    older = tmp_path / "tools" / "qemu-img"
    older.parent.mkdir()
    older.write_text("#!/bin/sh\necho qemu-img version 6.1.0\n")
    older.chmod(0o755)
    with clusters.running(tmp_path / "cluster", imgprep.env, 1) as found:
        found.add_worker(env={"PATH": f"{older.parent}:{imgprep.env['PATH']}"})
        clusters.arrived(found, 2)
        ended = imgprep("batch", file, "--scheduler", found.address)

    assert ended.code == 1, ended.stderr
    (told,) = (line for line in ended.stderr.splitlines() if "the workers have" in line)
    assert told.count(" qemu ") == 2
    assert "qemu 6.1.0" in told


def test_a_worker_that_dies_has_its_job_done_elsewhere(imgprep, tmp_path):
    file = manifest(tmp_path, 4, megabytes=24)
    (tmp_path / "cluster").mkdir()
    with clusters.running(tmp_path / "cluster", imgprep.env, 2) as found:
        process = imgprep.start("batch", file, "--scheduler", found.address)
        images.wait_for(lambda: (tmp_path / "s").exists(), "the first upload")
        found.workers[0].kill()
        _, said = process.communicate(timeout=240)

    assert process.returncode == 1, said
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        f"{n}.vhd" for n in range(4)
    ]
    for number in range(4):
        same = [
            "qemu-img", "compare", "-f", "vpc", "-F", "qcow2",
            tmp_path / "s" / f"{number}.vhd", tmp_path / f"{number}.qcow2",
        ]  # fmt: skip
        assert subprocess.run(same, capture_output=True, timeout=60).returncode == 0


def test_a_scheduler_that_goes_away_loses_nothing(imgprep, tmp_path):
    file = manifest(tmp_path, 4, megabytes=24)
    (tmp_path / "cluster").mkdir()
    with clusters.running(tmp_path / "cluster", imgprep.env, 1) as found:
        process = imgprep.start("batch", file, "--scheduler", found.address)
        images.wait_for(lambda: list((tmp_path / "s").glob("*.vhd")), "the first object")
        found.scheduler.kill()
        found.scheduler.wait()
        _, said = process.communicate(timeout=120)
        assert process.returncode == 3, said
        assert "scheduler-lost" in said
        assert set(states(imgprep, tmp_path / "m.batch").values()) <= {"done", "pending", "refused"}
        found.start_scheduler()
        found.add_worker()  # Dask's own ends when its scheduler does
        clusters.arrived(found, 1)
        again = imgprep("batch", file, "--scheduler", found.address, timeout=240)

    assert again.code == 1, again.stderr
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        f"{n}.vhd" for n in range(4)
    ]


def test_a_stop_reaches_what_runs_on_the_workers(imgprep, tmp_path):
    file = manifest(tmp_path, 2, megabytes=150)
    (tmp_path / "cluster").mkdir()
    with clusters.running(tmp_path / "cluster", imgprep.env, 1) as found:
        process = imgprep.start(
            "batch", file, "--scheduler", found.address, "--events", tmp_path / "e"
        )
        images.wait_for(
            lambda: (tmp_path / "e").exists() and "StageFinished" in (tmp_path / "e").read_text(),
            "work",
        )
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 143, said
        again = imgprep("batch", file, "--scheduler", found.address, timeout=240)

    assert again.code == 1, again.stderr


def test_short_jobs_that_wait_at_a_worker_come_back_when_the_batch_is_stopped(imgprep, tmp_path):
    file = manifest(tmp_path, 16)
    (tmp_path / "cluster").mkdir()
    with clusters.running(tmp_path / "cluster", imgprep.env, 1) as found:
        process = imgprep.start("batch", file, "--scheduler", found.address)
        images.wait_for(lambda: len(list((tmp_path / "s").glob("*.vhd"))) >= 5, "some objects")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 143, said
        first = states(imgprep, tmp_path / "m.batch")
        again = imgprep("batch", file, "--scheduler", found.address, timeout=240)

    assert set(first.values()) <= {"done", "pending", "refused"}
    assert again.code == 1, again.stderr
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == sorted(
        f"{n}.vhd" for n in range(16)
    )
