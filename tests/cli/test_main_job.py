"""The main job, as a person runs it: from an image to a stored, proved VHD."""

import hashlib
import os
import random
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")

DATA = 96 << 20
VIRTUAL = 1 << 30


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A qcow2 of 1 GiB with an MBR and 96 MiB of data that does not compress, in two places."""
    folder = tmp_path_factory.mktemp("image")
    raw = folder / "disk.raw"
    noise = random.Random(7).randbytes(DATA // 2)
    with raw.open("wb") as out:
        out.truncate(VIRTUAL)
        out.seek(1 << 20)
        out.write(noise)
        out.seek(VIRTUAL - DATA // 2)
        out.write(noise[::-1])
    subprocess.run(
        ["sfdisk", "--quiet", "--no-reread", raw],
        input="label: dos\n2048,,83,*\n",
        text=True,
        check=True,
        timeout=30,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )
    qcow2 = folder / "disk.qcow2"
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2], check=True, timeout=120
    )
    raw.unlink()
    return qcow2


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assert_same_disk(stored, image):
    done = subprocess.run(
        ["qemu-img", "compare", "-f", "vpc", "-F", "qcow2", stored, image],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("verify", ["manifest", "readback"])
def test_one_command_from_a_qcow2_to_a_proved_vhd(imgprep, image, tmp_path, verify):
    before = sha256(image)

    ended = imgprep("run", image, tmp_path / "store", "--guest=off", "--verify", verify, "--json")

    assert ended.code == 0, ended.stderr
    report = ended.report
    assert report["receipt"]["verified"] == verify
    assert report["artifact"]["format"] == "vhd"
    assert [
        stage["status"]
        for stage in report["stages"]
        if stage["name"] not in ("inspect_guest", "pack")
    ] == (["done"] * 8)
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["disk.vhd"]
    stored = tmp_path / "store" / "disk.vhd"
    assert stored.stat().st_size == report["receipt"]["size"]
    if verify == "readback":
        assert report["receipt"]["sha256"] == sha256(stored)
    else:
        assert "second pass" in report["receipt"]["sha256_note"]
    assert_same_disk(stored, image)
    assert sha256(image) == before


def test_what_a_person_sees(imgprep, image, tmp_path):
    ended = imgprep("run", image, tmp_path / "store", "--guest=off")

    assert ended.code == 0, ended.stderr
    for words in ("qcow2", "1 GiB", "disk.vhd", "imgprep "):
        assert words in ended.stdout
    assert "upload" in ended.stderr


def test_a_dry_run_plans_everything_and_stores_nothing(imgprep, image, tmp_path):
    ended = imgprep("run", image, tmp_path / "store", "--guest=off", "--dry-run", "--create")

    assert ended.code == 0, ended.stderr
    assert not (tmp_path / "store").exists() or not any((tmp_path / "store").iterdir())


def test_an_object_that_is_there_is_not_replaced_unasked(imgprep, image, tmp_path):
    store = tmp_path / "store"
    first = imgprep("run", image, store, "--guest=off")
    assert first.code == 0, first.stderr
    (store / "other.vhd").write_text("mine")

    failed = imgprep("run", image, store, "--guest=off", "--name", "other.vhd")
    assert failed.code == 5
    assert "--if-exists" in failed.stderr
    assert (store / "other.vhd").read_text() == "mine"

    skipped = imgprep("run", image, store, "--guest=off", "--if-exists=skip")
    assert skipped.code == 0, skipped.stderr

    replaced = imgprep(
        "run", image, store, "--guest=off", "--name=other.vhd", "--if-exists=replace"
    )
    assert replaced.code == 0, replaced.stderr
    assert_same_disk(store / "other.vhd", image)


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_continues(imgprep, image, tmp_path):
    # given what an undisturbed run gives
    undisturbed = imgprep("run", image, tmp_path / "a", "--guest=off")
    assert undisturbed.code == 0, undisturbed.stderr

    # when the same job is killed at five moments: some time after the end of some stage
    moments = random.Random(time.time_ns())
    later = [moments.choice(("identify", "inspect_disk", "check", "convert")) for _ in range(4)]
    for stage in ["identify", *later]:
        process = imgprep.start("run", image, tmp_path / "b", "--guest=off", "--if-exists=skip")
        for line in process.stderr:
            if line.startswith(stage):
                break
        time.sleep(moments.uniform(0, 0.3) if stage == "convert" else 0)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert stage != "identify" or process.returncode == -signal.SIGKILL
        names = {path.name for path in (tmp_path / "b").glob("*") if path.name[0] != "."}
        assert names <= {"disk.vhd"}

    # then repeating it ends with the same bytes, and nothing else
    ended = imgprep("run", image, tmp_path / "b", "--guest=off", "--if-exists=skip", "--json")
    assert ended.code == 0, ended.stderr
    assert sha256(tmp_path / "b" / "disk.vhd") == sha256(tmp_path / "a" / "disk.vhd")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["disk.vhd"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop_it_says_how_to_go_on(imgprep, image, tmp_path, number, code):
    process = imgprep.start("run", image, tmp_path / "store", "--guest=off")
    for line in process.stderr:
        if line.startswith("identify"):
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert not (tmp_path / "store" / "disk.vhd").exists()

    ended = imgprep("run", image, tmp_path / "store", "--guest=off", "--json")
    assert ended.code == 0, ended.stderr
    assert ended.report["stages"][1]["status"] == "reused"


@pytest.fixture(scope="module")
def sample():
    """The image of `make run`: a real Debian, built once and cached."""
    done = subprocess.run(
        ["fixtures/debian/build"], capture_output=True, text=True, timeout=900, check=True
    )
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.appliance
@pytest.mark.timeout(1200)
@pytest.mark.needs("mmdebstrap", "module:guestfs")
def test_a_real_debian_goes_the_whole_way(imgprep, sample, tmp_path):
    ended = imgprep("run", sample, tmp_path / "store", "--json", timeout=600)

    assert ended.code == 0, ended.stderr
    report = ended.report
    assert report["verdict"] in ("accepted", "accepted-with-advice")
    guest = report["facts"]["guest"]
    assert (guest["os"], guest["distro"], guest["version"]) == ("linux", "debian", "12")
    assert (guest["arch"], guest["firmware"]) == ("x86_64", "bios")
    errors = [item for item in report["findings"] if item["severity"] == "error"]
    assert errors == []
    (stored,) = (tmp_path / "store").iterdir()
    assert_same_disk(stored, sample)
    assert stored.stat().st_size < os.path.getsize(sample) * 4
