"""Twenty commands as a person reads them, at 80 and at 120 columns.

``IMGPREP_WRITE_TRANSCRIPTS=1 pytest tests/cli/test_transcripts.py`` writes the golden files anew; read the
difference before it is committed.  Times, versions, digests and places are replaced.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest

from pipeline import __version__

GOLDEN = Path(__file__).parents[1] / "transcripts"
COMMANDS = """\
imgprep inspect disk.qcow2 --guest off
imgprep inspect text.qcow2 --guest off
imgprep inspect disk.qcow2 images/large.raw --guest off
imgprep check disk.qcow2 --guest off
imgprep check disk.qcow2 --guest off --strict -q
imgprep check images/large.raw --guest off -q
imgprep check images/large.raw --guest off -q --allow virtual-size-limit="agreed in case 4711"
imgprep check text.qcow2 --guest off -q
imgprep check packed.img.gz --guest off -q
imgprep check overlay.qcow2 --guest off -q
imgprep check short.qcow2 --guest off -q
imgprep check images --guest off -q
imgprep check absent.qcow2
imgprep check disk.qcow2 --allow iso-image=please
imgprep convert disk.qcow2 y.qcow2
imgprep convert disk.qcow2 disk.vhd
imgprep convert disk.qcow2 disk.vhd
imgprep run disk.qcow2 store --guest off --dry-run
imgprep run disk.qcow2 store --guest off
imgprep explain vhd-uuid
imgprep explain isoimage
imgprep config
""".splitlines()

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")


@pytest.fixture
def place():
    """The files that the commands speak of, in a place whose name is always as long."""
    with tempfile.TemporaryDirectory(prefix="imgprep-", dir="/tmp") as directory:
        _fill(Path(directory))
        yield Path(directory)


def _fill(tmp_path):
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as out:
        out.write(b"\x33\xc0" + bytes(508) + b"\x55\xaa" + b"data" * (1 << 18))
        out.truncate(64 << 20)

    def qemu_img(*words):
        subprocess.run(["qemu-img", *words], cwd=tmp_path, check=True, timeout=60)

    qemu_img("convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2")
    qemu_img("create", "-q", "-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", "overlay.qcow2")
    data = (tmp_path / "disk.qcow2").read_bytes()
    (tmp_path / "short.qcow2").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.qcow2").write_text("dear cloud,\nplease take this.\n" * 200)
    (tmp_path / "images").mkdir()
    with (tmp_path / "images" / "large.raw").open("wb") as out:
        out.write(b"\x33\xc0" + bytes(508) + b"\x55\xaa")
        out.truncate(200 << 30)
    (tmp_path / "images" / "small.raw").write_bytes(disk.read_bytes()[: 1 << 20])
    subprocess.run(["gzip", "-n", "-c", disk], stdout=(tmp_path / "packed.img.gz").open("wb"))
    disk.unlink()


def steady(text: str, place: Path) -> str:
    """What is the same on every machine and day."""
    text = text.replace(str(place), "/place").replace(__version__, "VERSION")
    text = re.sub(r"\d+\.\d s\b", "N s", text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "SHA256", text)
    text = re.sub(r"[0-9.]+ [KMGT]iB on the disk", "N on the disk", text)
    text = re.sub(
        r"\b\d+(?=\s+(?:requirements?\b|(?:not\s+)?met\b|not\s+(?:judged|applicable)))", "N", text
    )
    return re.sub(r"[^\S\n]+$", "", text, flags=re.MULTILINE)


def transcript(imgprep, place, columns):
    for command in COMMANDS:
        ended = imgprep(*shlex.split(command)[1:], cwd=place, COLUMNS=str(columns))
        yield f"$ {command}\n{steady(ended.stderr + ended.stdout, place)}[{ended.code}]\n"


@pytest.mark.parametrize("columns", [80, 120])
def test_the_commands_say_what_was_agreed(imgprep, place, columns):
    said = "\n".join(transcript(imgprep, place, columns))
    golden = GOLDEN / f"{columns}.txt"
    if os.environ.get("IMGPREP_WRITE_TRANSCRIPTS"):
        golden.write_text(said, encoding="utf-8")

    assert said == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal(columns):
    may_be_copied = re.compile(
        r"^\$ |^next: |://|^imgprep: |^  \S.*\bimgprep |: (skipped|refused|failed) in"
    )
    for line in (GOLDEN / f"{columns}.txt").read_text(encoding="utf-8").splitlines():
        assert len(line) <= columns or may_be_copied.search(line), line
