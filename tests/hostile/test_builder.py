"""The corpus itself: large, small on disk, quick, and the same every time."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_corpus import ROOT, Corpus, load_builder

ENOUGH_CASES = 180
ENOUGH_DISK = 100 << 20

pytestmark = pytest.mark.xdist_group("hostile")


def digests(root: Path, images: dict[str, Path]) -> dict[str, str]:
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in images.items()
        if path.is_relative_to(root) and path.is_file() and path.stat().st_size < 64 << 20
    }


def test_there_are_many_cases_of_every_verdict() -> None:
    cases = load_builder().cases()
    assert len(cases) >= ENOUGH_CASES
    for verdict in ("accepted", "advice", "rejected", "failed"):
        assert sum(case.verdict == verdict for case in cases.values()) >= 8, verdict


def test_all_of_it_is_small_on_disk(corpus: Corpus) -> None:
    used = sum(
        os.lstat(os.path.join(directory, name)).st_blocks * 512
        for directory, _, names in os.walk(corpus.root / "cases")
        for name in names
    )
    assert used < ENOUGH_DISK


@pytest.mark.needs("qemu-img", "xorriso")
def test_the_same_place_gives_the_same_bytes(tmp_path: Path) -> None:
    builder = load_builder()
    chosen = [name for name, case in builder.cases().items() if not case.tools][::3]
    chosen += ["disc-by-xorriso", "vhdx-valid", "vdi-valid", "vmdk-valid-streamoptimized"]
    first = digests(tmp_path, builder.build(tmp_path, chosen))
    builder.hostile_case.converted.cache_clear()
    sys.modules["hostile_discs"].real_disc.cache_clear()
    assert digests(tmp_path, builder.build(tmp_path, chosen)) == first
    assert len(first) > 60


def test_it_is_a_program_that_lists_and_builds(tmp_path: Path) -> None:
    program = [sys.executable, ROOT / "fixtures/hostile/build_corpus.py"]
    listed = subprocess.run(
        [*program, "--list"], capture_output=True, text=True, check=True, timeout=60
    )
    assert len(listed.stdout.splitlines()) == len(load_builder().cases())
    subprocess.run(
        [*program, tmp_path, "nothing-html"], check=True, timeout=60, capture_output=True
    )
    assert (tmp_path / "cases/nothing-html/image.vhd").read_bytes().startswith(b"<!DOCTYPE")
    assert "nothing-html" in (tmp_path / "manifest.json").read_text()
    wrong = subprocess.run(
        [*program, tmp_path, "no-such-case"], capture_output=True, check=False, timeout=60
    )
    assert wrong.returncode == 2
