"""Every option that takes a path takes any path: relative, through a link, with odd characters."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")


def same(path: Path) -> Path:
    return path


def relative(path: Path) -> Path:
    """From where the command line of the tests runs."""
    return Path(os.path.relpath(path, ROOT))


KINDS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "relative": ("plain", relative),
    "link": ("link", same),
    "relative link": ("link", relative),
    "spaces": (" with  spaces ", same),
    "unicode": ("ünï çødé 磁盘", same),
    "newline": ("new\nline", same),
    "comma and colon": ("a,b:c=d", same),
    "long": ("l" * 150, same),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """Makes paths in a folder of this kind."""
    name, shown = request.param
    folder = tmp_path / name
    if name == "link":
        (tmp_path / "real").mkdir()
        folder.symlink_to(tmp_path / "real")
    else:
        folder.mkdir()
    return lambda item: shown(folder / item)


@pytest.fixture
def image(place: Callable[[str], Path]) -> Path:
    path = place("disk.qcow2")
    absolute = ROOT / path
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", absolute, "8M"], check=True)
    return path


def test_run(imgprep, image: Path, place: Callable[[str], Path]):
    ended = imgprep(
        *("run", image, place("out"), "--guest", "off", "--fail-on", "never"),
        *("--job-dir", place("jobs"), "--keep", place("kept.vhd"), "--events", place("events")),
        *("--report", f"json={place('report.json')}", "--name", "disk.vhd"),
    )

    assert ended.code in (0, 1), ended.stderr
    assert "Traceback" not in ended.stderr
    report = json.loads((ROOT / place("report.json")).read_text())
    assert report["error"] is None, report["error"]
    stored, kept = ROOT / place("out") / "disk.vhd", ROOT / place("kept.vhd")
    assert stored.read_bytes() == kept.read_bytes()
    assert (ROOT / place("events")).read_text()
    assert [path.name for path in (ROOT / place("jobs")).iterdir()] == [report["job"]["id"]]


def test_convert_to_what_a_tool_writes(imgprep, image: Path, place: Callable[[str], Path]):
    output = place("made.vmdk")
    ended = imgprep("convert", image, output, "--format", "vmdk", "--json")
    assert ended.code == 0, ended.stderr + ended.stdout
    info = ["qemu-img", "info", "-f", "vmdk", f"file:{(ROOT / output).resolve()}"]
    subprocess.run(info, check=True, capture_output=True)


def test_upload_with_a_profile_from_a_file(imgprep, image: Path, place: Callable[[str], Path]):
    profile = place("mine.json")
    built_in = ROOT / "schemas" / "profiles" / "rackspace-2020.json"
    document = json.loads(built_in.read_text())
    for item in document["allOf"]:
        item["$ref"] = urljoin(built_in.as_uri(), item["$ref"])
    (ROOT / profile).write_text(json.dumps(document))
    judged = imgprep("check", image, "--profile", profile, "--guest", "off")
    assert judged.code in (0, 1), judged.stderr

    ended = imgprep("upload", image, place("out"), "--job-dir", place("jobs"), "--name", "x.qcow2")

    assert ended.code == 0, ended.stderr
    assert (ROOT / place("out") / "x.qcow2").read_bytes() == (ROOT / image).read_bytes()
