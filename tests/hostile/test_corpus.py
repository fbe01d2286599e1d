"""The real command over every hostile, broken and odd image: right verdict, right rule, in time, in
little memory, without opening what an image refers to, and without leaving anything behind."""

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hostile_corpus import ROOT, Corpus, load_builder
from measuring import Measured, measure
from watching import Watch

CASES = load_builder().cases()
WORKERS = 2
SECONDS, MEMORY, PATIENCE_S = 2.0, 150 << 20, 60.0
GETS_IT_RIGHT = "test_the_command_gets_it_right"
COMMAND = (sys.executable, "-P", "-m", "pipeline.cli.main", "check", "--guest=off", "--json")

pytestmark = pytest.mark.xdist_group("hostile")


@dataclass(frozen=True)
class Seen:
    """What one run of the command did."""

    measured: Measured
    report: dict[str, Any]
    before: list[str]
    after: list[str]
    temporary: list[str]


def listing(directory: Path) -> list[str]:
    """Names, sizes, times and link targets below a directory."""
    found = []
    for root, directories, files in os.walk(directory):
        for name in sorted(directories + files):
            path = os.path.join(root, name)
            state = os.lstat(path)
            target = os.readlink(path) if os.path.islink(path) else ""
            found.append(f"{path} {state.st_size} {state.st_mtime_ns} {state.st_ino} {target}")
    return sorted(found)


class Runs:
    """Runs cases on a few workers, ahead of the tests that ask for them."""

    def __init__(
        self, corpus: Corpus, watch: Watch, pool: ProcessPoolExecutor, names: list[str]
    ) -> None:
        self.corpus, self.watch, self._pool = corpus, watch, pool
        built = [name for name in names if name in corpus.images]
        self._before = {name: listing(self._directory(name)) for name in built}
        self._futures = {name: self._start(name) for name in built}

    def _directory(self, name: str) -> Path:
        return self.corpus.root / "cases" / name

    def _start(self, name: str) -> Future[Measured]:
        directory, path = self._directory(name), self.corpus.images[name]
        temporary = self.corpus.root / "tmp" / name
        temporary.mkdir(parents=True, exist_ok=True)
        inside = path.relative_to(directory) if path.is_relative_to(directory) else path
        argv = [*COMMAND, *CASES[name].options, "--", inside]
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.corpus.root / "home"),
            "TMPDIR": str(temporary),
            "LC_ALL": "C.UTF-8",
        }
        return self._pool.submit(
            measure, [os.fsencode(part) for part in argv], str(directory), env, PATIENCE_S
        )

    def seen(self, name: str) -> Seen:
        measured = self._futures[name].result(timeout=600)
        try:
            report = json.loads(measured.stdout)
        except ValueError:
            pytest.fail(f"no report: exit {measured.code}, stderr {measured.stderr!r}")
        return Seen(
            measured,
            report,
            self._before[name],
            listing(self._directory(name)),
            listing(self.corpus.root / "tmp" / name),
        )

    def wait(self) -> None:
        for future in self._futures.values():
            future.result(timeout=600)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, corpus: Corpus) -> Iterator[Runs]:
    wanted = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == GETS_IT_RIGHT
    ]
    context = multiprocessing.get_context("spawn")
    (corpus.root / "home").mkdir(exist_ok=True)
    with (
        Watch(corpus.root / "private") as watch,
        ProcessPoolExecutor(WORKERS, mp_context=context) as pool,
    ):
        yield Runs(corpus, watch, pool, wanted)
        pool.shutdown(cancel_futures=True)


def failing(report: dict[str, Any]) -> dict[str, str]:
    """Rule and severity of everything that does not hold."""
    return {
        item["rule"]: item["severity"] for item in report["findings"] if item["status"] == "fail"
    }


def doubts(report: dict[str, Any]) -> list[str]:
    """What could not be judged, apart from the guest, which nobody was asked to look at."""
    asked_not_to = report["facts"]["guest"]["reason"]
    return [
        f"{item['rule']}: {item['message']}"
        for item in report["findings"]
        if item["status"] == "unknown" and asked_not_to not in item["message"]
    ]


def require_verdict(name: str, seen: Seen) -> None:
    case, report = CASES[name], seen.report
    found = failing(report)
    context = (
        f"{case.why}; exit {seen.measured.code}, {report['verdict']}, {report['error']}, {found}"
    )
    if case.verdict == "failed":
        assert (seen.measured.code, report["verdict"]) == (3, "failed"), context
        assert report["error"]["code"] in case.rules, context
        return
    assert report["error"] is None, context
    if case.verdict == "rejected":
        assert (seen.measured.code, report["verdict"]) == (1, "rejected"), context
        assert any(found.get(rule) == "error" for rule in case.rules), context
        return
    assert seen.measured.code == 0, context
    assert report["verdict"] in ("accepted", "accepted-with-advice", "undetermined"), context
    assert doubts(report) == [], context
    if case.verdict == "advice":
        assert set(found) & set(case.rules), context


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.needs(*case.tools)) for name, case in CASES.items()],
)
def test_the_command_gets_it_right(runs: Runs, name: str) -> None:
    seen = runs.seen(name)
    require_verdict(name, seen)
    assert seen.measured.cpu_seconds < SECONDS
    assert seen.measured.peak < MEMORY
    assert seen.after == seen.before, "the image's directory changed"
    assert seen.temporary == [], "something is left in TMPDIR"
    assert b"\x1b" not in seen.measured.stderr
    assert b"\x1b" not in seen.measured.stdout
    assert b"Traceback" not in seen.measured.stderr


def test_nothing_that_an_image_refers_to_was_touched(runs: Runs) -> None:
    runs.wait()
    assert runs.watch.seen() == set()
    assert runs.corpus.connections() == 0
    assert listing(runs.corpus.root / "home") == []


def test_the_watch_sees_what_it_must(tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("secret")
    with Watch(tmp_path) as watch:
        assert watch.seen() == set()
        (tmp_path / "canary").read_text()
        assert watch.seen() == {"canary"}
