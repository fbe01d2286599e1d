"""``imgprep batch`` as a person runs it: real images, real worker processes, real kills."""

import json
import os
import signal
import subprocess
from functools import partial

import pytest

from tests.batch import images

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Good ones, an ISO, and what is no disk image."""
    folder = tmp_path_factory.mktemp("mixed")
    for number in range(3):
        images.good(folder / f"good-{number}.qcow2", seed=number)
    images.iso(folder / "disc.img")
    (folder / "cut.vhdx").write_bytes(b"vhdxfile" + bytes(1000))
    return folder


def states(imgprep, directory):
    found = images.status(imgprep, directory)
    return {task["source"].rpartition("/")[2]: task["state"] for task in found["tasks"]}


def test_one_command_does_all_of_them_and_a_second_nothing_more(imgprep, mixed, tmp_path):
    store = tmp_path / "store"
    file = images.manifest(
        tmp_path / "m.json", [f"{mixed}/"], to=str(store), options={"guest": "off"}
    )

    ended = imgprep("batch", file, "--jobs", 2)

    assert ended.code == 1, ended.stderr
    assert states(imgprep, tmp_path / "m.batch") == {
        "good-0.qcow2": "done", "good-1.qcow2": "done", "good-2.qcow2": "done",
        "disc.img": "refused", "cut.vhdx": "refused",
    }  # fmt: skip
    assert sorted(path.name for path in store.iterdir()) == [f"good-{n}.vhd" for n in range(3)]
    assert "5 images: 3 done, 2 refused" in ended.stdout
    assert "x iso-image" in ended.stdout or "optical" in ended.stdout
    before = {path: path.stat().st_mtime_ns for path in store.iterdir()}

    again = imgprep("batch", file, "--jobs", 2)

    assert again.code == 1
    assert again.stderr == ""
    assert before == {path: path.stat().st_mtime_ns for path in store.iterdir()}


def test_images_need_no_manifest(imgprep, mixed, tmp_path):
    ended = imgprep(
        "batch", mixed / "good-0.qcow2", mixed / "good-1.qcow2", "--to", tmp_path / "store",
        "--guest=off", "--dir", tmp_path / "b", "--json",
    )  # fmt: skip

    assert ended.code == 0, ended.stderr
    assert [item["verdict"] for item in json.loads(ended.stdout)] == ["undetermined"] * 2
    assert len(list((tmp_path / "store").iterdir())) == 2


def test_nothing_is_begun_when_the_manifest_is_wrong(imgprep, mixed, tmp_path):
    file = images.manifest(
        tmp_path / "m.json", [f"{mixed}/good-0.qcow2", "a.qcow2", "b.qcow2"], to=str(tmp_path / "s")
    )

    ended = imgprep("batch", file)

    assert ended.code == 2
    assert "m.json:1:" in ended.stderr
    assert "a.qcow2" in ended.stderr
    assert "b.qcow2" in ended.stderr
    assert not (tmp_path / "m.batch").exists()
    assert not (tmp_path / "s").exists()


def test_options_that_a_manifest_decides_are_not_ignored(imgprep, mixed, tmp_path):
    file = images.manifest(tmp_path / "m.json", [mixed / "good-0.qcow2"])

    ended = imgprep("batch", file, "--guest", "off", "--if-exists=skip")

    assert ended.code == 2
    assert "option-beside-manifest" in ended.stderr
    assert "--guest, --if-exists" in ended.stderr


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--limit-rate", "3x", "rate-malformed"),
        ("--limit-rate", "0.1", "rate-malformed"),
        ("--only", "some", "state-unknown"),
    ],
)
def test_a_wrong_option_is_told_before_the_images_are_looked_for(
    imgprep, tmp_path, option, value, rule
):
    ended = imgprep("batch", "nowhere.raw", "--to", tmp_path / "store", option, value)

    assert ended.code == 2
    assert rule in ended.stderr
    assert "nowhere" not in ended.stderr


def test_a_cluster_and_identity_stat_do_not_go_together(imgprep, mixed, tmp_path):
    ended = imgprep(
        "batch", mixed / "good-0.qcow2", "--to", tmp_path / "s", "--identity=stat",
        "--scheduler", "tcp://127.0.0.1:9", "--dir", tmp_path / "b",
    )  # fmt: skip

    assert ended.code == 2
    assert "with --scheduler leave it out or say 'content'" in ended.stderr
    assert not (tmp_path / "b").exists()


def test_a_changed_image_is_done_again(imgprep, tmp_path):
    good = images.good(tmp_path / "a.qcow2")
    file = images.manifest(tmp_path / "m.json", [good], options={"guest": "off"})
    assert imgprep("batch", file).code == 0
    images.iso(good)

    assert imgprep("batch", file).code == 1
    assert states(imgprep, tmp_path / "m.batch") == {"a.qcow2": "refused"}


def test_after_so_many_failures_nothing_more_is_begun(imgprep, mixed, tmp_path):
    listed = [mixed / "disc.img", mixed / "good-0.qcow2", mixed / "good-1.qcow2"]
    file = images.manifest(tmp_path / "m.json", listed, options={"guest": "off"})

    ended = imgprep("batch", file, "--fail-fast", "--jobs", 1)

    assert ended.code == 1
    assert states(imgprep, tmp_path / "m.batch") == {
        "disc.img": "refused", "good-0.qcow2": "skipped", "good-1.qcow2": "skipped",
    }  # fmt: skip
    assert imgprep("batch", file, "--only", "skipped").code == 1
    assert set(states(imgprep, tmp_path / "m.batch").values()) == {"refused", "done"}


def test_what_failed_is_done_again_by_retry(imgprep, mixed, tmp_path):
    blocked = tmp_path / "store"
    blocked.write_text("in the way")
    listed = [mixed / "good-0.qcow2"]
    file = images.manifest(
        tmp_path / "m.json", listed, to=f"{blocked}/x/", options={"guest": "off"}
    )
    first = imgprep("batch", file)
    assert first.code == 5, first.stderr
    assert "imgprep batch retry" in first.stdout
    blocked.unlink()

    ended = imgprep("batch", "retry", tmp_path / "m.batch")

    assert ended.code == 0, ended.stderr
    assert [path.name for path in (blocked / "x").iterdir()] == ["good-0.vhd"]


def test_a_second_batch_on_the_same_directory_says_so(imgprep, mixed, tmp_path):
    slow = [images.good(tmp_path / f"{n}.qcow2", seed=n, megabytes=8) for n in range(4)]
    file = images.manifest(
        tmp_path / "m.json", slow, to=str(tmp_path / "s"), options={"guest": "off"}
    )
    first = imgprep.start("batch", file, "--jobs", 1)
    images.wait_for((tmp_path / "m.batch" / "ledger.db").exists, "a ledger")

    second = imgprep("batch", file)
    _, first_err = first.communicate(timeout=120)

    assert first.returncode == 0, first_err
    assert second.code == 3 or "4 done" in second.stdout  # the first may have been quick
    if second.code == 3:
        assert "batch-locked" in second.stderr


def test_the_whole_process_group_may_be_killed_again_and_again(imgprep, tmp_path):
    count = 6
    listed = [
        images.good(tmp_path / f"{n}.qcow2", seed=n, megabytes=6, size=64 << 20)
        for n in range(count)
    ]
    disc = images.iso(tmp_path / "disc.img")
    store = tmp_path / "s"
    file = images.manifest(
        tmp_path / "m.json", [*listed, disc], to=str(store), options={"guest": "off"}
    )

    def enough(process, before):
        stored = len(list(store.glob("*.vhd"))) if store.exists() else 0
        return process.poll() is not None or stored > before

    for round_ in range(3):
        process = subprocess.Popen(
            imgprep.argv("batch", file, "--jobs", 2, "-q"),
            cwd=images.Path(__file__).resolve().parents[2],
            env=imgprep.env,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        images.wait_for(partial(enough, process, round_), "progress")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    ended = imgprep("batch", file, "--jobs", 2)

    assert ended.code == 1, ended.stderr
    assert sorted(path.name for path in store.iterdir()) == [f"{n}.vhd" for n in range(count)]
    for number, image in enumerate(listed):
        same = ["qemu-img", "compare", "-f", "vpc", "-F", "qcow2", store / f"{number}.vhd", image]
        assert subprocess.run(same, capture_output=True, timeout=60).returncode == 0
    assert len(images.status(imgprep, tmp_path / "m.batch")["tasks"]) == count + 1


def test_the_first_signal_drains_and_the_same_command_continues(imgprep, tmp_path):
    listed = [images.good(tmp_path / f"{n}.qcow2", seed=n, megabytes=4) for n in range(5)]
    file = images.manifest(
        tmp_path / "m.json", listed, to=str(tmp_path / "s"), options={"guest": "off"}
    )
    process = imgprep.start("batch", file, "--jobs", 1)
    images.wait_for(lambda: list((tmp_path / "s").glob("*.vhd")), "the first object")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130 or "5 done" in said, said
    found = states(imgprep, tmp_path / "m.batch").values()
    assert set(found) <= {"done", "pending"}

    assert imgprep("batch", file).code == 0
    assert len(list((tmp_path / "s").glob("*.vhd"))) == 5


def test_the_second_signal_stops_at_once(imgprep, tmp_path):
    big = images.good(tmp_path / "big.qcow2", megabytes=200, size=512 << 20)
    file = images.manifest(
        tmp_path / "m.json", [big], to=str(tmp_path / "s"), options={"guest": "off"}
    )
    process = imgprep.start("batch", file, "--events", tmp_path / "e")
    images.wait_for(
        lambda: (tmp_path / "e").exists() and '"convert"' in (tmp_path / "e").read_text(), "work"
    )
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)

    assert process.returncode in (143, 0), said
    if process.returncode == 143:
        assert states(imgprep, tmp_path / "m.batch") == {"big.qcow2": "pending"}
    assert imgprep("batch", file).code == 0


def test_reports_are_one_document_of_all(imgprep, mixed, tmp_path):
    file = images.manifest(tmp_path / "m.json", [f"{mixed}/"], options={"guest": "off"})

    ended = imgprep(
        "batch", file, "--report", f"junit={tmp_path / 'j.xml'}",
        "--report", f"sarif={tmp_path / 's.json'}", "--report", f"html={tmp_path / 'i.html'}",
    )  # fmt: skip

    assert ended.code == 1, ended.stderr
    assert (tmp_path / "j.xml").read_text().count("<testsuite ") == 5
    assert json.loads((tmp_path / "s.json").read_text())["version"] == "2.1.0"
    page = (tmp_path / "i.html").read_text()
    assert all(path.name in page for path in mixed.iterdir())
