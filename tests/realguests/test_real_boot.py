"""A real Debian starts from what --reclaim leaves of its disk.

sample image ──debugfs──▶ files come and go ──convert --reclaim──▶ VHD ──qemu, TCG──▶ "login:"
"""

import subprocess
from pathlib import Path

import file_systems as made
import pytest
from machines import LOGIN, said_until, started

TOP = Path(__file__).resolve().parents[2]
START = 1 << 20  # of the only partition
FILES, EACH = 48, 2 << 20  # that are written and deleted
SOLD = ("/usr/share/doc", "/usr/share/locale", "/usr/share/info")  # a Debian starts without these
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.needs("mmdebstrap", "qemu-img", "qemu-system-x86_64", "debugfs", "e2fsck"),
    pytest.mark.timeout(2400),
]


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """The sample's disk, raw, after files were written and deleted in it."""
    build = [TOP / "fixtures" / "debian" / "build"]
    image = subprocess.run(build, capture_output=True, text=True, check=True).stdout.split()[-1]
    directory = tmp_path_factory.mktemp("boot")
    path = directory / "disk.raw"
    made.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, path)
    old = directory / "old"
    old.write_bytes((made.MARKER * (EACH // len(made.MARKER) + 1))[:EACH])
    inside(path, [f"write {old} /var/tmp/old{number}" for number in range(FILES)])
    inside(path, [f"rm /var/tmp/old{number}" for number in range(FILES)])
    inside(path, [f"rm {name}" for top in SOLD for name in names(path, top)])
    assert holds_marker(path)
    return path


def inside(path: Path, commands: list[str]) -> str:
    """What debugfs says in the disk's only partition."""
    script = path.with_name("commands")
    script.write_text("".join(f"{command}\n" for command in commands))
    return made.run("debugfs", "-w", "-f", script, f"{path}?offset={START}")


def names(path: Path, top: str) -> list[str]:
    """The files at any depth below a directory."""
    found, waiting = [], [top]
    while waiting:
        directory = waiting.pop()
        for line in inside(path, [f"ls -p {directory}"]).splitlines():
            parts = line.split("/")  # "/inode/mode/uid/gid/name/size/"
            if len(parts) != 8 or parts[5] in ("", ".", ".."):
                continue
            name = f"{directory}/{parts[5]}"
            if parts[2].startswith("04"):
                waiting.append(name)
            elif parts[2].startswith("10"):
                found.append(name)
    return found


def holds_marker(path: Path) -> bool:
    """Whether the marker is in a file that may be large."""
    tail = b""
    with open(path, "rb") as file:
        while part := file.read(8 << 20):
            if made.MARKER in tail + part:
                return True
            tail = part[-len(made.MARKER) :]
    return False


def test_a_debian_starts_from_what_is_left_of_its_disk(disk, imgprep, tmp_path):
    vhd = tmp_path / "debian.vhd"

    done = imgprep("convert", "--reclaim", disk, vhd, timeout=600)

    assert done.code == 0, done.stderr
    assert "kept whole" not in done.stderr
    assert not holds_marker(vhd)
    before = vhd.stat()
    with started(vhd, tmp_path / "console", "vpc") as machine:
        text = said_until(machine, tmp_path / "console", LOGIN)
        assert LOGIN in text, text[-3000:]
    assert "EXT4-fs error" not in text
    assert "emergency mode" not in text
    after = vhd.stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
