"""Every parser, fed with bytes from hypothesis, from a seeded generator, and from the kept corpus.

The long runs are ``make fuzz`` (tests/fuzz/run.py); what they find is added to ``corpus/``.
"""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import run  # noqa: E402
from targets import TARGETS  # noqa: E402

NAMES = sorted(TARGETS)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_sound(name: str) -> None:
    target = TARGETS[name]
    for index in range(len(target.seeds())):
        target.run(bytes([index, 0]))
    target.run(b"")


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.binary(max_size=200))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_short_seeded_run(name: str) -> None:
    run.random_run(TARGETS[name], executions=400, generator=random.Random(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_kept_corpus(name: str) -> None:
    for data in run.kept(name):
        TARGETS[name].run(data)


def test_truncation_at_every_boundary_of_every_seed() -> None:
    target = TARGETS["identify"]
    for index in range(len(target.seeds())):
        for part in range(0, 65536, 2048):
            target.run(bytes([index, 255]) + part.to_bytes(2, "big"))


def test_a_parser_that_fails_is_caught() -> None:
    """The harness itself: an exception inside a target comes out of a run."""

    def fail(data: bytes) -> None:
        if len(data) > 20:
            raise ZeroDivisionError

    broken = run.Target("broken", fail, TARGETS["raw"].seeds)
    with pytest.raises(ZeroDivisionError):
        run.random_run(broken, executions=2000, generator=random.Random(1))


@pytest.mark.needs("module:atheris")
def test_the_coverage_guided_fuzzer_runs(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, str(HERE / "run.py"), "--executions", "500", "--work", str(tmp_path), "qcow2"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    assert "qcow2" in made.stdout
