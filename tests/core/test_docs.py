"""The pages in docs/: their links lead somewhere, and the commands in their blocks work as they stand."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
CODES = {"check text.qcow2": 1, "--strict": 7, "doctor": (0, 3), "inspect": 0}
"""What a command of the pages ends with; 0 unless it is named here."""


def lines(page):
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("imgprep ")]


def test_every_page_is_in_the_table():
    index = (ROOT / "docs" / "README.md").read_text()

    assert {page for page in PAGES if f"({page})" not in index} == {"README.md"}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "docs" / page).read_text()):
        assert (ROOT / "docs" / target).exists(), target


@pytest.fixture
def place(tmp_path):
    """A directory with the files that the pages speak of."""
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as out:
        out.write(b"\x33\xc0" + bytes(508) + b"\x55\xaa")
        out.truncate(64 << 20)
    (tmp_path / "images").mkdir()
    for target in ("disk.qcow2", "images/one.qcow2", "images/two.qcow2"):
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, tmp_path / target],
            check=True,
            timeout=60,
        )
    raw.unlink()
    (tmp_path / "text.qcow2").write_text("no disk\n" * 500)
    return tmp_path


def expected(line):
    return next((code for words, code in CODES.items() if words in line), 0)


@pytest.mark.needs("qemu-img", "qemu-nbd")
@pytest.mark.parametrize("page", [page for page in PAGES if lines(page)])
def test_its_commands_work_one_after_the_other(imgprep, place, page):
    for line in lines(page):
        words = shlex.split(line)[1:]
        if words[0] in ("inspect", "check") and "--guest" not in words:
            words += ["--guest", "off"]  # an appliance would take its time for each

        ended = imgprep(*words, cwd=place)

        wanted = expected(line)
        codes = wanted if isinstance(wanted, tuple) else (wanted,)
        assert ended.code in codes, f"{line}\n{ended.stdout}\n{ended.stderr}"


README = (ROOT / "README.md").read_text(encoding="utf-8")
README_CODES = {"--profile all": 1, "--strict": 7}
MANIFEST = (
    "images: [disk.qcow2]\ndefaults: {to: out/batch, profile: rackspace, options: {guest: 'off'}}\n"
)


def readme_lines():
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.partition(" | ")[0] for line in lines if line.startswith("imgprep ")]


@pytest.mark.nightly  # thirty commands, one after the other
@pytest.mark.timeout(600)
@pytest.mark.needs("qemu-img", "qemu-nbd")
def test_the_readme_can_be_followed(imgprep, place):
    # given the files that it speaks of; a directory stands for each container
    shutil.copy(place / "disk.qcow2", place / "golden.qcow2")
    shutil.copy(ROOT / "schemas/profiles/generic.json", place / "golden.json")
    (place / "images.yaml").write_text(MANIFEST)
    (place / "text.qcow2").unlink()
    report = ("--report", "json=report.json", "--guest", "off")
    assert imgprep("check", "disk.qcow2", *report, cwd=place).code == 0
    assert imgprep("convert", "disk.qcow2", "other.vhd", cwd=place).code == 0

    for number, line in enumerate(readme_lines()):
        line = re.sub(r"(?:swift|s3)://[a-z/]+", f"out/{number}/", line)
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "cleanup":
            (place / "out" / str(number)).mkdir()

        ended = imgprep(*words, cwd=place, IMGPREP_GUEST="off")

        wanted = next((code for key, code in README_CODES.items() if key in line), 0)
        codes = (0, 3) if words[0] == "doctor" else (wanted,)
        assert ended.code in codes, f"{line}\n{ended.stdout}\n{ended.stderr}"
