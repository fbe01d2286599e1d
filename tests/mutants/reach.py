"""Which test runs which line, and what each test costs: found once by running a room's tests.

With it a mutant is shown only to the tests that run its line, the cheap ones first.  Kept for each test
file until it, or the room's code, changes:

    {"tests/formats/test_vhd.py": {"of": digest, "runs": {node id: [cost_s, {file of code: [line, …]}]}}}

What the fixtures of one test run counts for all tests of its file: they may be given to the next.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import coverage
import pytest
from asking import Tests
from forks import Forked
from mutations import Mutant, digest_of, place
from rooms import CACHE, ROOT, Room

LIMIT_CPU_S, LIMIT_WALL_S = 600, 3600.0  # for one test file
LEARNED = 5  # times cheaper a test counts for each mutant that it noticed
TABLE = 10  # so many a kept table (test_every_*.py) counts for before it has noticed any
_FIXTURES = "fixtures"

Lines = Mapping[str, frozenset[int]]
"""Numbers of lines, by the file of code."""


@dataclass(frozen=True)
class Reach:
    """A test: its cost in seconds of processor time, and the lines that it runs."""

    test: str  # pytest's node id
    cost_s: float
    lines: Lines

    @property
    def file(self) -> str:
        """Its test file."""
        return self.test.partition("::")[0]

    def runs(self, lines: Lines) -> bool:
        """Whether it gets to one of these."""
        return any(self.lines.get(file, frozenset()) & wanted for file, wanted in lines.items())


def survey(room: Room, tests: Tests) -> list[Reach]:
    """What each test of a room runs.

    Raises:
        RuntimeError: a test fails without any mutant.
    """
    path = CACHE / f"{room.name}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    kept: dict[str, Any] = {}
    for file in room.test_files:
        of = digest_of([file, *room.sources])
        old = known.get(file, {})
        fits = old.get("of") == of and "runs" in old
        kept[file] = old if fits else {"of": of, "runs": _watch(tests, file)}
        path.write_text(json.dumps(known | kept))
    return [
        Reach(test, cost, {name: frozenset(numbers) for name, numbers in lines.items()})
        for entry in kept.values()
        for test, (cost, lines) in entry["runs"].items()
    ]


def _watch(tests: Tests, file: str) -> dict[str, Any]:
    out = CACHE / f"watched-{os.getpid()}.json"
    names = [name for name in tests.items if name.startswith(f"{file}::")]

    def main() -> int:
        watch = Watch(tests.sources)
        tests.session.config.pluginmanager.register(watch)
        with watch.coverage.collect():
            code = tests.run(names)
        out.write_text(json.dumps(watch.result()))
        return code

    done = Forked(main, LIMIT_CPU_S, LIMIT_WALL_S).wait()
    if done.code != 0:
        raise RuntimeError(f"{file} fails without a mutant:\n{done.output[-4000:]}")
    result: dict[str, Any] = json.loads(out.read_text())
    out.unlink()
    return result


class Watch:
    """A plugin of pytest that writes down which lines run."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = sources
        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[str(ROOT / each) for each in sources]
        )
        self._cost_s: dict[str, float] = {}

    def result(self) -> dict[str, Any]:
        """Cost and lines of each test."""
        data, lines = self.coverage.get_data(), defaultdict[str, dict[str, list[int]]](dict)
        for source in self._sources:
            for number, tests in data.contexts_by_lineno(str(ROOT / source)).items():
                for test in self._cost_s if _FIXTURES in tests else tests:
                    lines[test].setdefault(source, []).append(number)
        return {test: [round(cost, 3), lines[test]] for test, cost in self._cost_s.items()}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        """While fixtures are made."""
        self.coverage.switch_context(_FIXTURES)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """While a test runs."""
        self.coverage.switch_context(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """What a test costs, with its fixtures and the processes that it starts."""
        before = _used_s()
        result = yield
        self._cost_s[item.nodeid] = _used_s() - before
        return result


def _used_s() -> float:
    """Processor time of this process, to the microsecond, and of its children that have ended."""
    return time.process_time() + sum(os.times()[2:4])


def choose(
    mutant: Mutant, reaches: Sequence[Reach], tests: Tests, noticed: Mapping[str, int]
) -> list[Reach]:
    """The tests to ask about a mutant: cheap ones first, and those that noticed many others.

    ``noticed``: how many, by the test.  A dear test that compares a whole text finds most of them, and
    would never be asked behind a hundred cheap ones.
    """
    around = place((ROOT / mutant.file).read_text(), mutant.start)
    if around.function and f"{mutant.file}:{around.function}" not in tests.imported:
        wanted: Lines = {mutant.file: around.lines}
        asked = [each for each in reaches if each.runs(wanted)]
    else:  # those that run what speaks of the name, those that get into this file, or else all
        wanted = _speaking_of(around.names, tests.sources)
        near = (
            each  # one that runs none of the room's lines looks at its constants
            for each in reaches
            if not each.lines or each.lines.get(mutant.file) or each.runs(wanted)
        )
        asked = list(near) or list(reaches)
    price = _prices(asked, noticed)
    asked.sort(key=lambda each: (bool(each.lines) and not each.runs(wanted), price[each.test]))
    cost_s, kept = 0.0, asked[:1]
    for each in asked[1:]:
        cost_s += each.cost_s
        if cost_s > tests.budget_s:
            break
        kept.append(each)
    files = [each.file for each in kept]
    return sorted(kept, key=lambda each: (files.index(each.file), price[each.test]))


def _prices(asked: Sequence[Reach], noticed: Mapping[str, int]) -> dict[str, float]:
    """What tests are ordered by: their cost; less where one noticed much, more where it is one case of many.

    A hundred cases of one test say about the same, and would be all that is asked.
    """
    counts = {
        each.test: TABLE * ("/test_every_" in each.test) + noticed.get(each.test, 0)
        for each in asked
    }
    worth = {each.test: each.cost_s / (1 + LEARNED * counts[each.test]) for each in asked}
    cases = Counter[str]()
    for test in sorted(worth, key=worth.__getitem__):
        function = test.partition("[")[0]
        cases[function] += 1
        worth[test] *= cases[function]
    return worth


def _speaking_of(names: Sequence[str], sources: Sequence[str]) -> Lines:
    found = {}
    spoken = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b") if names else None
    for source in sources if spoken else ():
        text = (ROOT / source).read_text().splitlines()
        found[source] = frozenset(
            number for number, line in enumerate(text, 1) if spoken and spoken.search(line)
        )
    return found
