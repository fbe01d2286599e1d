"""Paths that a corpus of files cannot hold: what may not be read, devices, and no file at all."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_corpus import ROOT

COMMAND = (sys.executable, "-P", "-m", "pipeline.cli.main", "check", "--guest=off", "--json", "--")
# Root reads everything by its capabilities, so it has to put them off to be refused like others.
AS_ANYBODY = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)


def check(*path: str | Path, before: tuple[str, ...] = ()) -> tuple[int, dict[str, str]]:
    done = subprocess.run(
        [*before, *COMMAND, *path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)["error"]


@pytest.mark.needs("setpriv")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.raw"
    path.write_bytes(bytes(1 << 20))
    path.chmod(0)
    code, error = check(path, before=AS_ANYBODY)
    assert (code, error["code"]) == (3, "source-unreadable")
    assert "secret.raw" in error["message"]
    assert error["hint"]


def block_device(directory: Path) -> Path:
    """A block device's node; nobody opens it here."""
    path = directory / "device"
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 251))
    except PermissionError:
        found = [node for node in Path("/dev").iterdir() if node.is_block_device()]
        if not found:
            pytest.fail("no block device can be made, and there is none in /dev")
        return found[0]
    return path


def test_a_block_device_needs_to_be_allowed(tmp_path: Path) -> None:
    code, error = check(block_device(tmp_path))
    assert (code, error["code"]) == (3, "source-not-a-file")
    assert "--allow-device" in error["hint"]


@pytest.mark.parametrize("path", ["\udcff/\udcfe", "a" * 5000], ids=["not-utf-8", "too-long"])
def test_a_path_that_no_file_can_have(path: str) -> None:
    code, error = check(path)
    assert (code, error["code"]) in ((3, "source-missing"), (3, "source-unreadable"))


def test_no_path_at_all_is_wrong_usage_or_no_file() -> None:
    done = subprocess.run(
        [*COMMAND, ""],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (2, 3), done.stderr
    assert b"bug" not in done.stderr
