"""An upload that leaves out what was deleted: killed, continued, and the same object in the end."""

from __future__ import annotations

import signal
from pathlib import Path

import file_systems as made
import pytest
from commands import Command

from pipeline.formats.vhd_disk import DynamicDisk
from pipeline.source import Source

MIB = 1 << 20
pytestmark = [
    pytest.mark.servers,
    pytest.mark.xdist_group("servers"),
    pytest.mark.needs("mke2fs", "debugfs", "sfdisk"),
]


class Reclaiming(Command):
    """``imgprep run --reclaim`` of a disk."""

    def __init__(self, command: Command, disk: Path) -> None:
        self.__dict__.update(command.__dict__)
        self.file = disk

    @property
    def arguments(self) -> tuple[object, ...]:
        options = ("--reclaim", "--guest=off", "--connections", 1, "--verify=readback")
        return ("run", self.file, self.place.url, *options)


@pytest.mark.parametrize("where", ["inside a segment", "commit"])
def test_killed_and_started_again(command: Command, where: str, tmp_path: Path):
    disk = made.disk_with_leftovers(tmp_path, kept=14 * MIB)
    reclaiming = Reclaiming(command, disk.path)
    rules = {
        "inside a segment": command.sending(2, do="hold", after=1_500_000),
        "commit": command.committing(do="hold"),
    }

    code, _ = reclaiming.stop_at(rules[where], signal.SIGKILL)

    assert code == -signal.SIGKILL
    held = reclaiming.held()
    assert len(held) >= 1

    ended = reclaiming.run()

    assert ended.code == 0, ended.stderr
    assert not set(reclaiming.sent()) & held  # what was there is used again
    stored = tmp_path / "stored.vhd"
    stored.write_bytes(command.place.read("disk.vhd"))
    assert made.MARKER not in stored.read_bytes()
    with Source.open(stored) as source:
        inside = DynamicDisk(source)
        assert inside.read(0, len(disk.wanted)) == disk.wanted
