"""The tests would notice: a sample of each room's mutants; and what explains survivors is still true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

HELD = ["content", "formats", "guest", "profile", "reports", "retry", "targets"]
"""The rooms where 95 % are noticed: all of them."""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.mark.needs("module:cosmic_ray", "module:coverage")
def test_every_named_survivor_has_its_lines_and_a_reason(tool: None) -> None:
    import named
    from rooms import ROOMS

    single, kinds = named.load()
    for entry in single:
        text = " ".join(line.strip() for line in (ROOT / entry.file).read_text().splitlines())
        assert entry.was in text, f"{entry.file} has no more {entry.was!r}: leave the entry out"
        assert entry.why
    code = [line for room in ROOMS.values() for each in room.sources for line in _lines(each)]
    for kind in kinds:
        assert any(re.search(kind.was, line) for line in code), f"no line has {kind.was!r} any more"
        assert kind.why


def _lines(file: str) -> list[str]:
    return [line.strip() for line in (ROOT / file).read_text().splitlines()]


@pytest.mark.needs("module:cosmic_ray", "module:coverage")
def test_every_room_has_code_and_tests(tool: None) -> None:
    from rooms import ROOMS

    assert sorted(ROOMS) == HELD
    for room in ROOMS.values():
        assert room.sources, room.name
        assert room.test_files, room.name


@pytest.mark.needs("module:cosmic_ray", "module:coverage")
def test_a_sample_is_called_wanting_when_chance_does_not_explain_it(tool: None) -> None:
    from chance import by_chance

    # given the binomial distribution of 100 with 5 %: tables have 0.564 for 5 or more, 0.028 for 10 or more
    assert [round(by_chance(count, 100), 3) for count in (0, 5, 10, 11)] == [1, 0.564, 0.028, 0.011]
    assert by_chance(1, 1) == pytest.approx(0.05)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.needs("module:cosmic_ray", "module:coverage")
@pytest.mark.parametrize("room", HELD)
def test_nearly_every_mutant_of_a_sample_is_noticed(room: str) -> None:
    seed = os.environ.get("SEED") or time.strftime("%Y-%m-%d")  # another sample every day
    print(f"SEED={seed}")
    done = subprocess.run(
        [sys.executable, HERE / "run.py", "--room", room, "--sample", "100", "--seed", seed],
        capture_output=True,
        text=True,
        timeout=3500,
    )

    assert done.returncode == 0, done.stdout + done.stderr
