"""Streams that are full, closed, or read by nobody: the job goes on, and the exit code stays true."""

import json
import os
import signal
import subprocess

import pytest

from pipeline.cli import options
from pipeline.targets.choice import FORMATS


@pytest.fixture
def text(tmp_path):
    """A file that is no image: refused within a second."""
    path = tmp_path / "readme.qcow2"
    path.write_text("dear cloud\n" * 100)
    return path


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "data.raw"
    with path.open("wb") as out:
        out.write(os.urandom(1 << 20))
        out.truncate(8 << 20)
    return path


def shell(imgprep, script, *argv):
    """Run a command line of ours as "$@" in a script that plays with its streams."""
    # Python ignores SIGPIPE and its children inherit that; a shell's children do not
    return subprocess.run(
        ["bash", "-c", script, "bash", *imgprep.argv(*argv)],
        env=imgprep.env,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL),
    )


def test_a_reader_that_goes_away_does_not_make_a_refused_image_good(imgprep, text):
    done = shell(
        imgprep, '"$@" | true; exit ${PIPESTATUS[0]}', "check", text, "--guest=off", "--json"
    )

    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.needs("qemu-img", "qemu-nbd")
def test_a_job_is_done_although_nobody_reads_its_progress(imgprep, disk, tmp_path):
    done = shell(
        imgprep,
        '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}',
        *("run", disk, tmp_path / "store", "--guest=off"),
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "store" / "data.vhd").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(imgprep, text, closed):
    done = shell(imgprep, f'"$@" {closed}', "check", text, "--guest=off")

    assert done.returncode == 1, done.stderr


def test_a_result_that_cannot_be_written_is_the_machine_s_fault(imgprep, text):
    for command in (("profiles",), ("check", text, "--guest=off", "--json")):
        done = shell(imgprep, '"$@" >/dev/full', *command)

        assert done.returncode == 3, done.stderr
        assert "No space left on device" in done.stderr
        assert "bug" not in done.stderr


def test_full_stderr_does_not_end_a_job(imgprep, text):
    done = shell(imgprep, '"$@" 2>/dev/full', "check", text, "--guest=off", "--json")

    assert done.returncode == 1
    assert json.loads(done.stdout)["verdict"] == "rejected"


def test_events_that_cannot_be_written_are_told_and_do_not_end_a_job(imgprep, text):
    done = shell(imgprep, '"$@"', "check", text, "--guest=off", "--events", "/dev/full")

    assert done.returncode == 1
    assert "--events /dev/full: No space left on device" in done.stderr


def test_a_report_that_cannot_be_written_keeps_no_other_back(imgprep, text, tmp_path):
    done = shell(
        imgprep,
        '"$@"',
        *("check", text, "--guest=off", "--report", "html=/dev/full"),
        *("--report", f"json={tmp_path / 'report.json'}"),
    )

    assert done.returncode == 3
    assert "report-unwritable" in done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["exit_code"] == 1


def test_a_report_replaces_no_pipe_and_no_link(imgprep, text, tmp_path):
    # given a pipe with a reader, a link, and a umask that lets the group read
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("target")

    done = shell(
        imgprep,
        f'umask 027; cat {tmp_path / "pipe"} & "$@"; code=$?; wait; exit $code',
        *("check", text, "--guest=off", "--quiet", "--report", f"json={tmp_path / 'pipe'}"),
        *("--report", f"junit={tmp_path / 'link'}"),
    )

    assert done.returncode == 1, done.stderr
    assert '"report_version": 1' in done.stdout
    assert (tmp_path / "pipe").is_fifo()
    assert os.readlink(tmp_path / "link") == "target"
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "argv",
    [
        ("check", "IMAGE", "--report", "json=IMAGE"),
        ("check", "IMAGE", "--events", "IMAGE"),
        ("run", "IMAGE", "STORE", "--name", "data.raw", "--if-exists", "replace"),
        ("upload", "IMAGE", "STORE", "--if-exists", "replace"),
    ],
)
@pytest.mark.needs("qemu-img", "qemu-nbd")
def test_nothing_is_written_over_the_image(imgprep, disk, argv):
    before = disk.read_bytes()
    words = (word.replace("IMAGE", str(disk)).replace("STORE", str(disk.parent)) for word in argv)

    ended = imgprep(*words, *(["--guest=off"] if argv[0] != "upload" else []))

    assert ended.code == 2, ended.stderr
    assert "is the source image itself" in " ".join(ended.stderr.split())
    assert disk.read_bytes() == before


def test_the_formats_that_may_be_asked_for_are_those_that_can_be_made():
    assert {item.value for item in options.Format} == set(FORMATS)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("store", "--report", "json=."), "report-option"),
        (("store", "--name", "../x"), "name-malformed"),
        (("",), "destination-malformed"),
        (("store", "--format", "floppy"), "'floppy' is not one of"),
    ],
)
def test_a_slip_of_the_pen_is_told_before_any_work(imgprep, disk, argv, said):
    ended = imgprep("run", disk, *argv)

    assert ended.code == 2
    assert said in " ".join(ended.stderr.split())
    assert "identify" not in ended.stderr
