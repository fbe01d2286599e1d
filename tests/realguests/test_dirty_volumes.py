"""Volumes that this machine's kernel had mounted when their disk was copied: what is said of them.

    file ──mkfs──▶ mount, a guest's files, sync, fsync ──copy──▶ the disk of a running machine
                     └─ umount ──▶ the file itself, which is clean

Nobody sets a dirty bit by hand here.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from phony import builder

from pipeline.content import filesystems
from pipeline.source import Source

MIB = 1 << 20
ROOT = "11111111-2222-4333-8444-555555555555"
ENV = {**os.environ, "PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"}
MADE = {
    "ext2": (64, ("mke2fs", "-q", "-F", "-t", "ext2", "-U", ROOT), "it was not unmounted"),
    "ext3": (64, ("mke2fs", "-q", "-F", "-t", "ext3", "-U", ROOT), "its journal holds changes"),
    "ext4": (64, ("mke2fs", "-q", "-F", "-t", "ext4", "-U", ROOT), "its journal holds changes"),
    "xfs": (320, ("mkfs.xfs", "-q", "-m", f"uuid={ROOT}"), "its log holds changes"),
    "btrfs": (256, ("mkfs.btrfs", "-q", "-U", ROOT), "its log tree holds changes"),
}
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.needs("mount", "umount", "mke2fs", "mkfs.xfs", "mkfs.btrfs"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount"),
    pytest.mark.timeout(600),
]


def run(*argv):
    subprocess.run([str(item) for item in argv], check=True, capture_output=True, env=ENV)


@contextmanager
def on(image, mounted):
    """The kernel's own driver at work."""
    run("mount", "-o", "loop", image, mounted)
    try:
        yield
    finally:
        run("umount", mounted)


@pytest.fixture(scope="module")
def volume(request, tmp_path_factory):
    """A kind of file system, one that was unmounted, and its copy from before."""
    size, argv, words = MADE[request.param]
    top = tmp_path_factory.mktemp(request.param)
    clean, copy, mounted = top / "clean", top / "copy", top / "mounted"
    mounted.mkdir()
    with clean.open("wb") as file:
        file.truncate(size * MIB)
    run(*argv, clean)
    with on(clean, mounted):
        builder("guest_disks").plant(mounted, builder("guest_trees").debian(ROOT))
    with on(clean, mounted):
        with (mounted / "etc" / "late").open("wb") as file:
            file.write(b"x" * 5000)
            file.flush()
            os.fsync(file.fileno())
        run("cp", "--sparse=always", clean, copy)
    return request.param, clean, copy, words


@pytest.mark.parametrize("volume", MADE, indirect=True)
def test_what_was_unmounted_is_clean_and_its_copy_from_before_is_not(volume):
    kind, clean, copy, words = volume

    with Source.open(clean) as one, Source.open(copy) as other:
        seen = filesystems.describe(one, 0, one.size), filesystems.describe(other, 0, other.size)

    assert [item.type for item in seen if item] == [kind, kind]
    assert [item.clean for item in seen if item] == [True, False]
    assert seen[1] is not None
    assert (seen[1].detail or "").startswith(words)


def inspected(path: Path, *options: str):
    argv = [sys.executable, "-m", "pipeline.cli.main", "check", "--profile", "generic", "--json"]
    done = subprocess.run([*argv, *options, str(path)], capture_output=True, text=True, timeout=500)
    return json.loads(done.stdout)


@pytest.mark.parametrize("volume", ["ext2", "ext3", "ext4"], indirect=True)
def test_a_guest_that_was_running_says_so_with_every_fact_from_before_the_replay(volume):
    _, clean, copy, words = volume

    before, after = (inspected(path, "--guest=direct") for path in (copy, clean))

    guest = before["facts"]["guest"]
    assert (guest["os"], guest["distro"]) == ("linux", "debian")
    assert guest["before_replay"] == ["/dev/sda"]
    assert words in guest["unclean"][0]
    found = [
        {item["rule"] for item in report["findings"] if item["rule"] == "file-system-unclean"}
        for report in (before, after)
    ]
    assert found == [{"file-system-unclean"}, set()]
    assert "file-system-unclean" in after["passed"]
    assert after["facts"]["guest"]["before_replay"] == []


@pytest.mark.parametrize("volume", ["xfs", "btrfs"], indirect=True)
@pytest.mark.appliance
@pytest.mark.needs("qemu-system-x86_64", "supermin")
def test_a_log_that_only_linux_can_leave_alone_is_read_before_its_replay(volume, tmp_path):
    _, _, copy, words = volume
    shutil.copy2(copy, tmp_path / "copy")

    found = inspected(tmp_path / "copy")["facts"]["guest"]

    assert (found["os"], found["distro"]) == ("linux", "debian"), found["unknown"]
    assert found["before_replay"] == ["/dev/sda"]
    assert words in found["unclean"][0]
    assert (tmp_path / "copy").read_bytes() == copy.read_bytes()
