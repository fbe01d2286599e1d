"""Thirty mixed images through kills: every report is there, every good image stored once, no byte differs."""

import gzip
import hashlib
import os
import random
import signal
import subprocess

import places
import pytest
from phony import builder

from tests.batch import clusters, images

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.xdist_group("servers"),
    pytest.mark.needs("qemu-img", "qemu-nbd", "ntfs-3g", "mkntfs"),
]

ROUNDS = 5
GOOD, PACKED = 12, 4


@pytest.fixture
def mixed(tmp_path):
    """12 good, 4 packed, 4 discs, 4 cut short or damaged, 4 too large; beside it 2 Windows."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number in range(GOOD):
        images.good(folder / f"good-{number}.qcow2", seed=number, megabytes=4, size=32 << 20)
    for number in range(PACKED):
        inner = images.good(tmp_path / f"packed-{number}.qcow2", seed=50 + number)
        (folder / f"packed-{number}.qcow2.gz").write_bytes(gzip.compress(inner.read_bytes(), 1))
    for number in range(4):
        images.iso(folder / f"disc-{number}.img")
    for number in range(4):
        whole = images.good(tmp_path / "whole.qcow2", seed=90 + number).read_bytes()
        (folder / f"cut-{number}.qcow2").write_bytes(whole[: 70_000 + number * 5000])
    for number in range(4):
        large = folder / f"large-{number}.qcow2"
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", large, f"{300 + number}G"], check=True
        )
    builder()  # makes the folder of the guests known
    guests = builder("guest_variants")
    for kind in (guests.windows_server, guests.windows_of_vmware):
        place = tmp_path / "windows" / f"{kind.__name__}.raw"
        place.parent.mkdir(exist_ok=True)
        work = tmp_path / kind.__name__
        work.mkdir()
        kind(place, work)
    assert len([*folder.iterdir(), *(tmp_path / "windows").iterdir()]) == 30
    return folder


def manifest(path, folder, to):
    windows = {"image": f"{folder.parent}/windows/", "options": {"guest": "direct"}}
    how = {"guest": "off", "unpack": True}
    return images.manifest(path, [f"{folder}/", windows], to=to, options=how)


def objects(place):
    return {name: hashlib.sha256(place.read(name)).hexdigest() for name in place.objects()}


def verdicts(imgprep, directory):
    found = images.status(imgprep, directory)
    return {task["source"]: (task["state"], task["exit_code"]) for task in found["tasks"]}


def killed_somewhere(imgprep, file, events, rng, env):
    """Begin, and kill the whole process group after a random number of things that happened."""
    before = events.read_bytes().count(b"\n") if events.exists() else 0
    until = before + rng.randrange(2, 60)
    process = subprocess.Popen(
        imgprep.argv("batch", file, "--jobs", 2, "-q", "--events", events),
        cwd=clusters.ROOT,
        env=imgprep.env | env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    images.wait_for(
        lambda: (
            process.poll() is not None
            or (events.exists() and events.read_bytes().count(b"\n") >= until)
        ),
        "something to kill",
        240,
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.servers
@pytest.mark.timeout(1800)
def test_the_whole_group_killed_five_times_over_a_real_swift(imgprep, request, mixed, tmp_path):
    calm = places.make(request.config, "swift", tmp_path)
    rough = places.make(request.config, "swift", tmp_path)
    first = imgprep(
        "batch", manifest(tmp_path / "calm.json", mixed, calm.url), timeout=900, **calm.env
    )
    file = manifest(tmp_path / "rough.json", mixed, rough.url)
    rng = random.Random(14)
    for _ in range(ROUNDS):
        killed_somewhere(imgprep, file, tmp_path / "events", rng, rough.env)

    last = imgprep("batch", file, timeout=900, **rough.env)

    assert last.code == first.code == 1, last.stderr
    assert verdicts(imgprep, tmp_path / "rough.batch") == verdicts(imgprep, tmp_path / "calm.batch")
    found = verdicts(imgprep, tmp_path / "rough.batch")
    assert len(found) == 30
    assert [each for name, each in found.items() if "/windows/" in name] == [("refused", 1)] * 2
    stored = objects(rough)
    assert stored == objects(calm)
    assert len(stored) == GOOD + PACKED
    assert sorted(rough.everything().values()) == sorted(calm.everything().values())


@pytest.mark.needs("module:distributed")
@pytest.mark.timeout(1800)
def test_workers_and_the_scheduler_killed_and_paused(imgprep, mixed, tmp_path):
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    calmly = ("--identity", "content")  # as on a cluster, so that the bytes are the same
    first = imgprep(
        "batch", manifest(tmp_path / "calm.json", mixed, str(calm)), *calmly, timeout=900
    )
    file = manifest(tmp_path / "rough.json", mixed, str(rough))
    (tmp_path / "cluster").mkdir()

    def stored(count):
        return lambda: len(list(rough.glob("*.vhd"))) >= count

    with clusters.running(tmp_path / "cluster", imgprep.env, 3) as found:
        process = imgprep.start("batch", file, "--scheduler", found.address)
        images.wait_for(stored(2), "two objects", 240)
        found.workers[0].kill()
        images.wait_for(stored(4), "two more", 240)
        found.workers[1].send_signal(signal.SIGSTOP)
        images.wait_for(stored(7), "three more", 240)
        found.scheduler.kill()
        found.scheduler.wait()
        _, said = process.communicate(timeout=240)
        assert process.returncode == 3, said
        found.workers[1].send_signal(signal.SIGCONT)
        found.start_scheduler()
        found.add_worker()
        found.add_worker()
        clusters.arrived(found, 2)
        last = imgprep("batch", file, "--scheduler", found.address, timeout=900)

    assert last.code == first.code == 1, last.stderr
    assert verdicts(imgprep, tmp_path / "rough.batch") == verdicts(imgprep, tmp_path / "calm.batch")
    assert {path.name: path.read_bytes() for path in rough.iterdir()} == {
        path.name: path.read_bytes() for path in calm.iterdir()
    }
