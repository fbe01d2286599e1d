"""What oslo.utils and qemu-img say about the same corpus.

Where one of them disagrees with the corpus, ``fixtures/hostile/disagreements.json`` says who is right
and why.  A disagreement that is not listed fails the test, and so does a listed one that is gone.
Paths that are no file, and packed files that are to be unpacked, are no questions for those two.
"""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hostile_corpus import ROOT, load_builder

from pipeline import formats
from pipeline.source import Source

LIST = ROOT / "fixtures/hostile/disagreements.json"
CASES = load_builder().cases()
QEMU_NAMES = {"vhd": "vpc", "vhdx": "vhdx", "vmdk": "vmdk", "vdi": "vdi", "qcow2": "qcow2"}
# What oslo.utils calls a disk, by our names; whatever else it names (iso, luks) is none to it either.
DISKS = {"raw": "raw", "gpt": "raw", "mbr": "raw"} | {name: name for name in QEMU_NAMES}
PATIENCE_S = 8.0

pytestmark = pytest.mark.xdist_group("hostile")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A corpus of its own: these two do open what images refer to, and nobody watches it."""
    built = load_builder().build(tmp_path_factory.mktemp("cross"))
    return {
        name: path
        for name, path in built.items()
        if CASES[name].verdict != "failed" and not CASES[name].options
    }


def ours(name: str, path: Path) -> str:
    """What imgprep must say: the suite beside this one proves that it does."""
    if CASES[name].verdict == "rejected":
        return "refused"
    with Source.open(path) as source:
        return formats.identify(source).container.format


def by_oslo(path: Path) -> str:
    from oslo_utils.imageutils import format_inspector

    try:
        found = format_inspector.detect_file_format(os.fspath(path))
        found.safety_check()
    except (format_inspector.ImageFormatError, format_inspector.SafetyCheckFailed):
        return "refused"
    return DISKS.get(str(found), "refused")


def by_qemu(path: Path) -> str:
    """``qemu-img info -f``, told the format that imgprep found (raw where qemu has no name for it)."""
    with Source.open(path) as source:
        found = formats.identify(source).container.format
    told = QEMU_NAMES.get(found, "raw")
    argv = ["qemu-img", "info", "-U", "-f", told, "--", os.fspath(path)]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return "hangs"
    if done.returncode:
        return "refused"
    return found if told != "raw" else "raw"


def listed(tool: str) -> dict[str, str]:
    """Case to what the tool says, for every listed disagreement."""
    groups = json.loads(LIST.read_text())["disagreements"]
    return {
        name: seen
        for group in groups
        if group["tool"] == tool
        for name, seen in group["cases"].items()
    }


def disagreements(images: dict[str, Path], ask: object) -> dict[str, str]:
    assert callable(ask)
    with ThreadPoolExecutor(2) as pool:
        theirs = dict(zip(images, pool.map(ask, images.values()), strict=True))
    return {name: seen for name, seen in theirs.items() if seen != ours(name, images[name])}


@pytest.mark.needs("module:oslo_utils", "qemu-img")
def test_every_disagreement_with_oslo_utils_is_explained(images: dict[str, Path]) -> None:
    assert disagreements(images, by_oslo) == listed("oslo.utils")


@pytest.mark.needs("qemu-img")
def test_every_disagreement_with_qemu_img_is_explained(images: dict[str, Path]) -> None:
    assert disagreements(images, by_qemu) == listed("qemu-img")


def test_every_explanation_says_who_is_right_and_why() -> None:
    document = json.loads(LIST.read_text())
    for group in document["disagreements"]:
        assert group["tool"] in document["versions"]
        assert group["right"] in ("imgprep", "the tool", "both")
        assert len(group["why"]) > 20
        assert set(group["cases"]) <= set(CASES)
