"""How much is told, where, and in which colours; what the shell completes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pipeline import __version__
from pipeline.cli.main import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.raw"
    with path.open("wb") as out:
        out.write(b"\x33\xc0" + bytes(508) + b"\x55\xaa")
        out.truncate(64 << 20)
    return path


def test_verbose_tells_each_step_with_its_time(imgprep, image):
    quiet = imgprep("check", image, "--guest=off", "-q")
    once = imgprep("check", image, "--guest=off", "-v")

    assert quiet.stderr == ""
    assert re.search(r"^\d\d:\d\d:\d\d identify: started$", once.stderr, re.MULTILINE)
    assert "job ended: undetermined, exit code 0" in once.stderr
    assert once.stdout == quiet.stdout


@pytest.mark.needs("qemu-img")
def test_twice_verbose_tells_each_program(imgprep, image, tmp_path):
    once = imgprep("convert", image, tmp_path / "a.qcow2", "--format=qcow2", "-v")
    twice = imgprep("convert", image, tmp_path / "b.qcow2", "--format=qcow2", "-vv")

    assert "qemu-img convert" not in once.stderr
    assert re.search(r"qemu-img convert .* ended with 0 after \d+\.\d\d s", twice.stderr)


def test_a_log_holds_it_all_and_is_appended_to(imgprep, image, tmp_path):
    log = tmp_path / "imgprep.log"

    for _ in range(2):
        assert imgprep("check", image, "--guest=off", "-q", "--log", log).code == 0

    lines = log.read_text().splitlines()
    assert sum("identify: started" in line for line in lines) == 2
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z]+ ", line) for line in lines)


def test_a_log_of_a_batch_names_each_image(imgprep, image, tmp_path):
    log = tmp_path / "imgprep.log"

    ended = imgprep(
        *("batch", image, "--to", tmp_path / "store", "--guest", "off", "--dir", tmp_path / "b"),
        *("-q", "--log", log),
    )

    assert ended.code == 0, ended.stderr
    assert ended.stderr == ""
    assert "INFO disk.raw: identify: started" in log.read_text()


WORKING = ("inspect", "check", "convert", "run", "upload", "cleanup", "batch do", "batch retry")
TELLING = {"--json", "--verbose", "--log", "--color"}


@pytest.mark.parametrize("name", WORKING)
def test_every_command_that_works_tells_in_the_same_ways(name):
    command = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    options = {option for item in command.params for option in item.opts}

    assert options >= TELLING
    assert name == "cleanup" or options >= {"--report", "--quiet", "--events"}
    assert name.startswith("batch") or "--config" in options, "a manifest is its own"


def test_the_profile_of_a_configuration_is_not_upload_s(imgprep, image, tmp_path):
    (tmp_path / "mine.toml").write_text('profile = "aws"\nfail-on = "warning"\n')
    words = ("upload", image, tmp_path / "store", "--dry-run", "--json")

    ended = imgprep(*words, "--config", tmp_path / "mine.toml")

    report = json.loads(ended.stdout)
    assert report["job"]["profile"] is None
    assert report["job"]["options"]["fail_on"] == "warning"


def test_a_log_that_cannot_be_written_is_told(imgprep, image, tmp_path):
    ended = imgprep("check", image, "--guest=off", "--log", tmp_path / "no" / "log")

    assert ended.code == 2
    assert "log-unwritable" in ended.stderr


def test_the_image_is_not_taken_for_the_log(imgprep, image):
    before = image.stat()

    ended = imgprep("check", image, "--guest=off", "--log", image)

    assert ended.code == 2
    assert image.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("options", "env", "coloured"),
    [
        ((), {}, False),
        (("--color", "always"), {}, True),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
        (("--color", "never"), {"FORCE_COLOR": "1", "NO_COLOR": ""}, False),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
    ],
)
def test_colours_are_what_was_asked_for(imgprep, image, options, env, coloured):
    ended = imgprep("check", image, "--guest=off", "-q", *options, **env)

    assert ("\x1b[" in ended.stdout) == coloured


def completed(imgprep, *words):
    """What the shell would be offered for the last word."""
    line = " ".join(("imgprep", *words))
    env = {
        "_IMGPREP_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words)),
    }
    return set(imgprep(**env).stdout.split())


def test_the_shell_completes_what_has_names(imgprep):
    assert {"check", "cleanup", "config", "convert"} <= completed(imgprep, "c")
    assert completed(imgprep, "explain", "iso") == {"iso-image", "iso-in-partition"}
    assert "source-changed" in completed(imgprep, "explain", "source-c")
    assert {"rackspace", "rackspace-2020"} <= completed(imgprep, "check", "x", "--profile", "rack")
    assert "rackspace" in completed(imgprep, "upload", "x", "y", "--profile", "rack")
    assert "rackspace" in completed(imgprep, "batch", "x", "--to", "y", "--profile", "rack")
    assert "machine-id=" in completed(imgprep, "check", "x", "--allow", "machine")
    assert {"json=", "junit="} == completed(imgprep, "check", "x", "--report", "j")
    assert {"qcow2", "qcow2-compressed"} == completed(imgprep, "convert", "x", "y", "--format", "q")


@pytest.mark.parametrize("command", [(), ("report",)])
def test_the_list_of_commands_is_not_cut(imgprep, command):
    told = imgprep(*command, "--help", COLUMNS="80").stdout.split("Commands:")

    assert "..." not in told[-1]


@pytest.mark.parametrize(
    "command", [("explain",), ("profiles",), ("profiles", "rackspace"), ("doctor", "--no-launch")]
)
def test_lists_keep_to_the_terminal_s_width(imgprep, command):
    told = imgprep(*command, COLUMNS="80").stdout.splitlines()

    assert len(told) > 10
    breakable = (line for line in told if max(map(len, line.split()), default=0) <= 40)
    assert [line for line in breakable if len(line) > 80] == []


def test_the_version_is_told_at_once_and_where_nothing_takes_it(imgprep):
    """It has a way of its own, without the parts of the other commands."""
    assert imgprep("--version").stdout == f"imgprep {__version__}\n"
    script = (
        "import sys; sys.argv = ['imgprep', '--version']; from pipeline.cli import start; start()"
    )
    code = f"{script}; assert 'typer' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            timeout=60,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 3
    assert b"No space left on device" in done.stderr
