"""Which test calls which function, and what each test costs: found once by running a room's tests.

With it a mutant is shown only to the tests that get there, the cheap ones first.  Kept for each test
file until it, or the room's code, changes:

    {"tests/formats/test_vhd.py": {"of": digest, "calls": {node id: [cost_s, ["file:function", …]]}}}

What the fixtures of one test call counts for all tests of its file: they may be given to the next.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from asking import Tests
from forks import Forked
from mutations import Mutant, definition, digest_of
from rooms import CACHE, ROOT, Room

LIMIT_CPU_S, LIMIT_WALL_S = 300, 1800.0  # for one test file
BUDGET_S = 6.0  # of processor time for one mutant: dear tests that find nothing are not asked


@dataclass(frozen=True)
class Reach:
    """A test: its cost in seconds of processor time, and the functions that it gets to."""

    test: str  # pytest's node id
    cost_s: float
    functions: frozenset[str]

    @property
    def file(self) -> str:
        """Its test file."""
        return self.test.partition("::")[0]

    def enters(self, file: str) -> bool:
        """Whether it runs anything in that file of code."""
        return any(function.startswith(f"{file}:") for function in self.functions)


def survey(room: Room, tests: Tests) -> list[Reach]:
    """What each test of a room reaches.

    Raises:
        RuntimeError: a test fails without any mutant.
    """
    path = CACHE / f"{room.name}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    kept: dict[str, Any] = {}
    for file in room.test_files:
        of = digest_of([file, *room.sources])
        old = known.get(file, {})
        kept[file] = old if old.get("of") == of else {"of": of, "calls": _watch(tests, file)}
        path.write_text(json.dumps(known | kept))
    return [
        Reach(test, cost, frozenset(functions))
        for entry in kept.values()
        for test, (cost, functions) in entry["calls"].items()
    ]


def _watch(tests: Tests, file: str) -> dict[str, Any]:
    out = CACHE / f"watched-{os.getpid()}.json"
    names = [name for name in tests.items if name.startswith(f"{file}::")]
    watch = Watch(tests)

    def main() -> int:
        tests.session.config.pluginmanager.register(watch)
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
    """A plugin of pytest that writes down who is called."""

    def __init__(self, tests: Tests) -> None:
        self._tests = tests
        self._fixtures: set[str] = set()
        self._calls: dict[str, set[str]] = defaultdict(set)
        self._cost_s: dict[str, float] = {}

    def result(self) -> dict[str, Any]:
        """Cost and functions of each test."""
        return {
            test: [round(cost, 3), sorted(self._calls[test] | self._fixtures)]
            for test, cost in self._cost_s.items()
        }

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        """While fixtures are made."""
        with self._tests.tracing(self._fixtures):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """While a test runs."""
        with self._tests.tracing(self._calls[item.nodeid]):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """What a test costs, with its fixtures and the processes that it starts."""
        before = sum(os.times()[:4])
        result = yield
        self._cost_s[item.nodeid] = sum(os.times()[:4]) - before
        return result


def choose(mutant: Mutant, reaches: Sequence[Reach]) -> list[Reach]:
    """The tests to ask about a mutant, cheap files and tests first."""
    around = definition((ROOT / mutant.file).read_text(), mutant.start)
    if around:
        asked = [each for each in reaches if f"{mutant.file}:{around.name}" in each.functions]
    else:  # those that get into this file, or else all
        asked = [each for each in reaches if each.enters(mutant.file)] or list(reaches)
    asked.sort(key=lambda each: each.cost_s)
    cost_s, kept = 0.0, asked[:1]
    for each in asked[1:]:
        cost_s += each.cost_s
        if cost_s > BUDGET_S:
            break
        kept.append(each)
    files = [each.file for each in kept]
    return sorted(kept, key=lambda each: (files.index(each.file), each.cost_s))
