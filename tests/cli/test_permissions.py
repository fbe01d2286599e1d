"""What a user may not do: told before the first stage, by name, with the exit code that it has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
pytestmark = pytest.mark.needs("setpriv")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.raw"
    with path.open("wb") as out:
        out.write(b"\x33\xc0" + bytes(508) + b"\x55\xaa")
        out.truncate(1 << 20)
    (tmp_path / "closed").mkdir(mode=0o555)
    return path


def as_nobody(imgprep, image, *arguments):
    """Root may do everything, so root becomes nobody, who may come as far as the image."""
    argv, home = imgprep.argv(*arguments), image.parent / "home"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, 65534, 65534)
        for parent in image.parents:
            if parent.owner() == "root" and str(parent).startswith("/tmp/"):
                parent.chmod(0o755)
        argv = [*NOBODY, *argv]
    return subprocess.run(
        argv,
        cwd=image.parent,
        env=imgprep.env | {"HOME": str(home), "TMPDIR": "/tmp", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_file_that_may_not_be_read(imgprep, image):
    image.chmod(0)

    done = as_nobody(imgprep, image, "check", image, "--guest=off")

    assert done.returncode == 3, done.stderr
    assert "source-unreadable" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("check", "disk.raw", "--guest=off", "--report=json=closed/r.json"), 3),
        (("check", "disk.raw", "--guest=off", "--write-baseline=closed/b.toml"), 3),
        (("check", "disk.raw", "--guest=off", "--events=closed/events"), 2),
        (("check", "disk.raw", "--guest=off", "--log=closed/log"), 2),
        (("convert", "disk.raw", "closed/disk.vhd"), 3),
        (("run", "disk.raw", "closed/", "--guest=off"), 5),
        (("cleanup", "closed"), 5),
    ],
)
def test_a_place_that_may_not_be_written(imgprep, image, arguments, code):
    done = as_nobody(imgprep, image, *arguments)

    assert done.returncode == code, done.stderr
    assert "no write permission on" in done.stderr or "Permission denied" in done.stderr
    assert "inspect_disk" not in done.stderr  # not after the work
    assert "Traceback" not in done.stderr
