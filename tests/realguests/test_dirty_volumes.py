"""Volumes that this machine's kernel had mounted when their disk was copied: what is said of them.

    file ──mkfs──▶ mount, a guest's files, sync, fsync ──cp──▶ the copy, as of a running machine
                     └─ umount ──▶ the file itself, which is clean

Nobody writes a dirty bit by hand here.  FAT and NTFS, which few kernels of servers have, are in
``test_fat_dirty.py``, through the appliance's kernel.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from phony import builder

from pipeline.content import filesystems
from pipeline.source import Source
from tests.commands import command

MIB = 1 << 20
ROOT = "11111111-2222-4333-8444-555555555555"
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
    pytest.mark.timeout(300),
]
