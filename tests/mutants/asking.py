"""A room's tests, collected once; whatever is asked of them runs in a copy of that process.

Collecting costs a second, running the few tests that reach a function a hundredth: so pytest stops
before its first test and serves from there.

    pytest collects ──> serve(tests) ── fork ──> swap a function's code, run some tests, exit
                                     └─ fork ──> forget our modules, pytest again with one changed
"""

from __future__ import annotations

import gc
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import hypothesis
import pytest
from mutations import Mutant, place
from rooms import ROOT, Room
from swap import Functions, functions, swap_function, swap_module

# Failing is enough: no smaller example is looked for, none is kept for the runs of honest code.
hypothesis.settings.register_profile(
    "mutants",
    deadline=None,
    database=None,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    suppress_health_check=list(hypothesis.HealthCheck),  # it is the machine that is slow
)
# Processor time ends a run (``forks``); the clock of a busy machine does not.
QUIET = ["-x", "-q", "-s", "-n", "0", "-p", "no:cacheprovider", "--tb", "short", "-W", "ignore"]
QUIET += ["--timeout", "0"]
REPEATABLE = ["--hypothesis-profile", "mutants", "--hypothesis-seed", "0"]


class Tests:
    """The collected tests of a room; a plugin of pytest."""

    def __init__(self, room: Room, serve: Callable[[Tests], None]) -> None:
        self._serve = serve
        self.sources, self.budget_s = room.sources, room.budget_s
        self._session: pytest.Session | None = None
        self._functions: Functions = {}
        self.imported: set[str] = set()  # functions that run while modules are imported

    @property
    def session(self) -> pytest.Session:
        """What pytest collected."""
        assert self._session
        return self._session

    @property
    def items(self) -> dict[str, pytest.Item]:
        """The tests by their node ids."""
        return {item.nodeid: item for item in self.session.items}

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Iterator[None]:
        """While a test file is imported."""
        with Tracing(self.sources, self.imported):
            return (yield)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of running the tests."""
        if session.testsfailed:
            raise session.Failed("the tests cannot be collected")
        self._session = session
        self._functions = functions(self.sources)
        gc.collect()
        gc.freeze()  # or each copy of this process would copy its memory at its first collection
        try:
            self._serve(self)
        except RuntimeError as error:  # pytest would call it an error of its own, and show where
            print(error, file=sys.stderr)
            pytest.exit(str(error), returncode=3)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print at once why a test fails: these runs have no summary."""
        if report.failed:
            print(report.nodeid, report.longreprtext, sep="\n")

    def run(self, names: Sequence[str]) -> int:
        """Run these, in this order, until one fails; 0: all passed."""
        items = [self.items[name] for name in names]
        for item, following in itertools.zip_longest(items, items[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.session.testsfailed:
                return 1
        return 0

    def run_with(self, mutant: Mutant, names: Sequence[str]) -> int:
        """Run these with a mutant in place; not 0: it was noticed.  The process is no good afterwards."""
        function = place((ROOT / mutant.file).read_text(), mutant.start).function
        quick = function and f"{mutant.file}:{function}" not in self.imported
        if function and quick and swap_function(mutant, function, self._functions):
            return self.run(names)
        swap_module(mutant)
        files = sorted({name.partition("::")[0] for name in names})
        return int(pytest.main([*QUIET, *REPEATABLE, *files], plugins=[Chosen(names)]))


class Chosen:
    """A plugin of pytest that runs these tests in this order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._rank = {name: index for index, name in enumerate(names)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep and order."""
        mine = [item for item in items if item.nodeid in self._rank]
        items[:] = sorted(mine, key=lambda item: self._rank[item.nodeid])


class Tracing:
    """While it is entered, calls of functions in these files are written down as ``file:name``."""

    def __init__(self, files: Sequence[str], into: set[str]) -> None:
        self._files, self._into = {str(ROOT / file): file for file in files}, into

    def __enter__(self) -> None:
        threading.settrace(self._called)
        sys.settrace(self._called)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)

    def _called(self, frame: FrameType, _event: str, _arg: object) -> None:
        file = self._files.get(frame.f_code.co_filename)
        if file:
            self._into.add(f"{file}:{frame.f_code.co_qualname}")


def with_tests(room: Room, serve: Callable[[Tests], None]) -> int:
    """Collect a room's tests in a child, and let it serve; its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 3
    try:
        os.chdir(ROOT)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        arguments = [*QUIET, *REPEATABLE, *room.test_files]
        code = int(pytest.main(arguments, plugins=[Tests(room, serve)]))
    finally:
        os._exit(code)
