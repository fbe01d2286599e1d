"""A room's session: cosmic-ray's database in .cache, so that a run goes on where the last one ended.

``cosmic-ray dump`` and ``cr-report`` read it.  What was noticed stays noticed until its file changes, which
gives its mutants other ids (``make clean`` forgets all); what survived is tried again by every run, as a
test may have come.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence

from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult
from mutations import Mutant
from rooms import CACHE

_TIMEOUT = "timeout"


class Outcome(enum.Enum):
    """What became of a mutant."""

    NOTICED = "noticed"
    SURVIVED = "survived"
    TIMED_OUT = "timed out"  # noticed, too: a test that never ends is no test that passes


class Session:
    """The mutants of a room that were ever in a sample, with what is known of them."""

    def __init__(self, room: str, mutants: Sequence[Mutant]) -> None:
        """``mutants``: the sample of this run."""
        CACHE.mkdir(parents=True, exist_ok=True)
        self._database = WorkDB(str(CACHE / f"{room}.sqlite"), WorkDB.Mode.create)
        there = {item.job_id for item in self._database.work_items}
        new = [mutant.item for mutant in mutants if mutant.id not in there]
        if new:
            self._database.add_work_items(new)

    def outcomes(self) -> dict[str, Outcome]:
        """What is known by a mutant's id."""
        return {key: _outcome(result) for key, result in self._database.results}

    def noticed(self) -> Counter[str]:
        """How many mutants each test noticed first."""
        outputs = (result.output for _, result in self._database.results)
        return Counter(text for text in outputs if text and text != _TIMEOUT)

    def keep(self, mutant: Mutant, outcome: Outcome, by: str | None) -> None:
        """Write down what became of it; ``by``: the test that noticed, where it is known."""
        survived = outcome is Outcome.SURVIVED
        result = WorkResult(
            WorkerOutcome.NORMAL,
            output=_TIMEOUT if outcome is Outcome.TIMED_OUT else by,
            test_outcome=TestOutcome.SURVIVED if survived else TestOutcome.KILLED,
            diff="\n".join(f"{sign} {line}" for sign, line in zip("-+", mutant.lines, strict=True)),
        )
        self._database.set_result(mutant.id, result)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()


def _outcome(result: WorkResult) -> Outcome:
    if result.test_outcome == TestOutcome.SURVIVED:
        return Outcome.SURVIVED
    return Outcome.TIMED_OUT if result.output == _TIMEOUT else Outcome.NOTICED
