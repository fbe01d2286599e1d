"""``make mutants``: change the code in one place, run the room's tests, and see whether one of them notices.

    run.py [--room NAME] [--file PATH] [--sample N] [--seed TEXT] [--workers N]

Of each room a sample by seed is tried (``--sample 0``: all).  Survivors that ``equivalent.toml`` names
with a reason do not count; of the others 95 % must be noticed, else the end is 1.  A sample that shows a
little less may do so by chance: it ends with 1 where that happens to one room of 95 % in fifty.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import named
from asking import Tests, with_tests
from chance import CHANCE, ENOUGH, by_chance
from forks import POLL_S, Done, Forked
from mutations import Mutant, mutants
from reach import Reach, choose, survey
from rooms import ROOMS, Room
from session import Outcome, Session

PATIENCE_S = 300.0  # for one mutant on a busy machine, and more where its tests cost more


@dataclass(frozen=True)
class Tried:
    """A mutant of the sample, and what became of it."""

    mutant: Mutant
    outcome: Outcome
    why: str | None  # it changes nothing


@dataclass(frozen=True)
class Score:
    """What a room's sample came to."""

    room: str
    exist: int
    tried: list[Tried]

    def count(self, outcome: Outcome) -> int:
        """How many of the sample ended so."""
        return sum(each.outcome is outcome for each in self.tried)

    @property
    def unnamed(self) -> list[Tried]:
        """Survivors that nobody has explained."""
        return [t for t in self.tried if t.outcome is Outcome.SURVIVED and not t.why]

    @property
    def named(self) -> int:
        """Survivors with a reason."""
        return self.count(Outcome.SURVIVED) - len(self.unnamed)

    @property
    def counted(self) -> int:
        """Those that change something."""
        return len(self.tried) - self.named

    @property
    def share(self) -> float:
        """Noticed, of those that change something."""
        return 1 - len(self.unnamed) / self.counted if self.counted else 1.0

    @property
    def is_enough(self) -> bool:
        """Whether enough are noticed, as far as a sample can tell."""
        if self.share >= ENOUGH or len(self.tried) == self.exist:
            return self.share >= ENOUGH
        return by_chance(len(self.unnamed), self.counted) > CHANCE


def judge(done: Done) -> Outcome:
    """What a run of the tests says."""
    if done.code is None:
        return Outcome.TIMED_OUT
    return Outcome.SURVIVED if done.code == 0 else Outcome.NOTICED


def start(mutant: Mutant, tests: Tests, asked: Sequence[Reach]) -> Forked:
    """Show a mutant to some tests."""
    names = [each.test for each in asked]
    cost_s = sum(each.cost_s for each in asked)
    return Forked(
        lambda: tests.run_with(mutant, names), math.ceil(6 + 4 * cost_s), PATIENCE_S + 30 * cost_s
    )


def try_all(
    queue: Sequence[Mutant],
    tests: Tests,
    reaches: Sequence[Reach],
    noticed: Counter[str],
    workers: int,
) -> Iterator[tuple[Mutant, Outcome, str | None]]:
    """What becomes of each, as soon as it is known, and the test that noticed.

    ``noticed``: how many mutants each test has noticed so far; goes on counting.
    """
    waiting, running = list(reversed(queue)), dict[Mutant, Forked]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                mutant = waiting.pop()
                asked = choose(mutant, reaches, tests, noticed)
                if asked:
                    running[mutant] = start(mutant, tests, asked)
                else:
                    yield mutant, Outcome.SURVIVED, None
            ended = {mutant: child.poll() for mutant, child in running.items()}
            for mutant, done in ended.items():
                if done:
                    del running[mutant]
                    by = _failed(done, reaches)
                    noticed.update([by] if by else [])
                    yield mutant, judge(done), by
            time.sleep(POLL_S)
    finally:
        for child in running.values():
            child.kill()


def _failed(done: Done, reaches: Sequence[Reach]) -> str | None:
    """The test that noticed, where the output names it."""
    return next((each.test for each in reaches if f"{each.test}\n" in done.output), None)


def sample(room: Room, options: argparse.Namespace) -> Score:
    """Try a room's sample.

    Raises:
        RuntimeError: its tests cannot be run.
    """
    files = [file for file in room.sources if options.file in (None, file)]
    eligible = [mutant for file in files for mutant in mutants(file)]
    eligible.sort(key=lambda mutant: mutant.order(options.seed))
    chosen = list(itertools.islice((m for m in eligible if m.compiles), options.sample or None))
    with Session(room.name, chosen) as session:
        known = session.outcomes()
    queue = [m for m in chosen if known.get(m.id, Outcome.SURVIVED) is Outcome.SURVIVED]

    def serve(tests: Tests) -> None:
        with Session(room.name, chosen) as session:
            reaches, noticed = survey(room, tests), session.noticed()
            outcomes = try_all(queue, tests, reaches, noticed, options.workers)
            for number, (mutant, outcome, by) in enumerate(outcomes, 1):
                session.keep(mutant, outcome, by)
                print(f"{room.name}: {number} of {len(queue)}", end="\r", file=sys.stderr)

    if queue and with_tests(room, serve) != 0:
        raise RuntimeError(f"the tests of {room.name} cannot be run")
    with Session(room.name, chosen) as session:
        known = session.outcomes()
    single, kinds = named.load()
    reasons: list[named.Named | named.Kind] = [*single, *kinds]
    tried = [Tried(m, known[m.id], _reason(m, known[m.id], reasons)) for m in chosen]
    return Score(room.name, len(eligible), tried)


def _reason(
    mutant: Mutant, outcome: Outcome, reasons: Sequence[named.Named | named.Kind]
) -> str | None:
    if outcome is not Outcome.SURVIVED:
        return None
    return next((each.why for each in reasons if each.covers(mutant)), None)


def show(scores: Sequence[Score]) -> None:
    """Print the survivors, and the table."""
    for tried in (tried for score in scores for tried in score.unnamed):
        was, becomes = tried.mutant.lines
        print(f"{tried.mutant.file}:{tried.mutant.start[0]}\n  - {was}\n  + {becomes}")
    print(
        f"{'room':10}{'exist':>8}{'tried':>8}{'noticed':>9}{'timed out':>11}{'survived':>10}",
        end="",
    )
    print(f"{'named':>7}{'share':>9}")
    for score in scores:
        counts = [score.count(Outcome.NOTICED), score.count(Outcome.TIMED_OUT)]
        print(
            f"{score.room:10}{score.exist:8}{len(score.tried):8}{counts[0]:9}{counts[1]:11}", end=""
        )
        print(f"{len(score.unnamed):10}{score.named:7}{score.share:9.1%}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Does a test notice when the code is changed?")
    parser.add_argument("--room", choices=ROOMS, help="this room only")
    parser.add_argument("--file", help="this file of code only (path from the top)")
    parser.add_argument("--sample", type=int, default=40, help="mutants a room; 0: all")
    parser.add_argument("--seed", default="1", help="another seed, another sample")
    parser.add_argument("--workers", type=int, default=2, help="children at a time")
    return parser.parse_args()


def main() -> int:
    """Try a sample of each room asked for."""
    options = arguments()
    warnings.simplefilter("ignore", SyntaxWarning)  # it is the mutants that deserve them
    rooms = [ROOMS[options.room]] if options.room else list(ROOMS.values())
    if options.file:
        rooms = [room for room in rooms if options.file in room.sources]
    if not rooms:
        print(f"{options.file} is in none of these rooms: {', '.join(ROOMS)}", file=sys.stderr)
        return 2
    print(f"seed {options.seed}, {options.sample or 'all'} mutants a room", file=sys.stderr)
    scores = [sample(room, options) for room in rooms]
    show(scores)
    return 0 if all(score.is_enough for score in scores) else 1


if __name__ == "__main__":
    sys.exit(main())
