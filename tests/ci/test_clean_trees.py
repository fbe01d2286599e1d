"""From nothing, as on a new machine: the container's steps, ``make setup``, ``make run``, ``make test``."""

from __future__ import annotations

import os
import platform

import clean_trees
import pytest
from clean_trees import COPY

RELEASES = ("bookworm", "trixie")
HERE = platform.freedesktop_os_release().get("VERSION_CODENAME")  # where make test runs anyway
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.needs("mmdebstrap", "unshare", "pivot_root", "git"),
]


def made(tmp_path, release):
    if os.geteuid() != 0:
        pytest.fail("make test-slow needs root: it makes a system of its own in a directory")
    return clean_trees.make(tmp_path, release)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("release", RELEASES)
def test_the_container_s_steps_and_make_run_work_from_nothing(tmp_path, release):
    tree = made(tmp_path, release)

    for step in clean_trees.container_steps():
        tree.run(step)
    tree.run("imgprep --version && imgprep check --help >/dev/null")
    tree.run(
        f"cd {COPY} && truncate -s 64M /tmp/disk.raw && make setup && "
        "qemu-img convert -f raw -O qcow2 /tmp/disk.raw /tmp/disk.qcow2 && "
        "IMGPREP_GUEST=off make run IMAGE=/tmp/disk.qcow2 DEST=/tmp/store && ls /tmp/store/disk.vhd"
    )


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("release", [name for name in RELEASES if name != HERE])
def test_make_test_passes_from_nothing(tmp_path, release):
    made(tmp_path, release).run(f"cd {COPY} && make test", timeout_s=3 * 3600)
