"""What a person or a program sees of a batch while it goes on.

on a terminal    a table of what runs, always as many lines, and totals; what ended scrolls above
elsewhere        a line for each image that ended, and totals now and then
--events FILE    JSON Lines, see schemas/batch-event.schema.json
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO

from pipeline.batch.events import (
    BatchEnded,
    BatchEvent,
    BatchNote,
    BatchStarted,
    TaskEnded,
    TaskEvent,
    TaskStarted,
    Watch,
)
from pipeline.batch.ledger import State
from pipeline.cli.monitors import LINE_EVERY_S, WORDS, Pace
from pipeline.cli.running import Audience
from pipeline.cli.verbosity import logging_to
from pipeline.errors import UsageError
from pipeline.events import Monitor, Note, Progress, StageFinished, StageStarted
from pipeline.model import to_json
from pipeline.text import clean, duration, size

if TYPE_CHECKING:
    from rich.table import Table

MOST_LINES = 16
"""Running images that the table shows; the others are a number."""


@contextmanager
def watches(audience: Audience) -> Iterator[Watch]:
    """Everything that shall watch, as one.  Who wants it verbose sees lines, no live display."""
    with ExitStack() as stack:
        watching: list[Watch] = []
        if audience.verbose or audience.log is not None:
            monitor = stack.enter_context(logging_to(audience.verbose, audience.log))
            watching.append(_logged(monitor))
        if not audience.quiet:
            live = sys.stderr.isatty() and not audience.verbose
            watching.append(stack.enter_context(_live()) if live else Lines(sys.stderr))
        if audience.events is not None:
            watching.append(stack.enter_context(_json_lines(audience.events)))
        lost: set[int] = set()

        def watch(event: BatchEvent) -> None:
            for number, each in enumerate(watching):
                try:
                    if number not in lost:
                        each(event)
                except OSError:  # a batch does not end with its audience
                    lost.add(number)

        yield watch


def _logged(monitor: Monitor) -> Watch:
    """What happens to each image, as the log of one job tells it, under the image's name."""
    names: dict[int, str] = {}

    def watch(event: BatchEvent) -> None:
        match event:
            case TaskStarted():
                names[event.task] = clean(PurePath(event.source).name, 60)
            case TaskEvent() if isinstance(event.inner, (StageStarted, StageFinished, Note)):
                stage = f"{names.get(event.task, event.task)}: {event.inner.stage}"
                monitor(replace(event.inner, stage=stage))

    return watch


@dataclass
class Totals:
    """How far all of it is."""

    to_do: int = 0
    size: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    done_size: int = 0
    began: float = 0.0

    def add(self, event: BatchEvent) -> None:
        """Count what ended."""
        if isinstance(event, BatchStarted):
            self.to_do, self.size, self.began = event.to_do, event.size, time.monotonic()
        elif isinstance(event, TaskEnded) and event.state is not State.PENDING:
            self.ended[event.state] += 1
            self.done_size += event.size

    def describe(self) -> str:
        """``12 of 30: 10 done, 2 refused; 3 GiB of 9 GiB, 4 min 3 s left``."""
        count = sum(self.ended.values())
        states = ", ".join(f"{number} {state}" for state, number in self.ended.items())
        told = f"{count} of {self.to_do}" + (f": {states}" if states else "")
        left = self._left()
        time_left = f", {duration(left)} left" if left else ""
        return f"{told}; {size(self.done_size)} of {size(self.size)}{time_left}"

    def _left(self) -> float | None:
        passed = time.monotonic() - self.began
        if not self.done_size or self.done_size >= self.size:
            return None
        return passed * (self.size - self.done_size) / self.done_size


class Lines:
    """Plain lines."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._totals = Totals()
        self._last = time.monotonic()

    def __call__(self, event: BatchEvent) -> None:
        """Tell it."""
        self._totals.add(event)
        match event:
            case BatchStarted():
                self._say(f"{event.to_do} of {event.total} images to do, {size(event.size)}")
            case TaskEnded():
                self._say(f"{_mark(event.state)} {ended_words(event)}")
            case BatchNote():
                self._say(clean(event.text))
            case TaskEvent() if isinstance(event.inner, Note) and event.inner.level == "warning":
                self._say(f"  ! {clean(event.inner.text)}")
        if time.monotonic() - self._last >= LINE_EVERY_S:
            self._last = time.monotonic()
            self._say(self._totals.describe())

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def ended_words(event: TaskEnded) -> str:
    """One line about a task that ended."""
    state = "to be continued" if event.state is State.PENDING else str(event.state)
    reason = f": {clean(event.reason, 300)}" if event.reason else ""
    return f"{clean(PurePath(event.source).name)}: {state} in {duration(event.seconds)}{reason}"


def _mark(state: State) -> str:
    return {State.DONE: "✓", State.PENDING: "·"}.get(state, "✗")


@contextmanager
def _json_lines(path: Path) -> Iterator[Watch]:
    try:
        out = path.open("ab", buffering=0)
    except OSError as error:
        raise UsageError(
            "events-unwritable",
            f"--events {path}: {error.strerror}",
            hint="give a file in a directory that you may write to",
        ) from error
    with out:

        def watch(event: BatchEvent) -> None:
            out.write(json.dumps(event_record(event)).encode() + b"\n")

        yield watch


def event_record(event: BatchEvent) -> dict[str, Any]:
    """An event as a line of ``--events``."""
    record: dict[str, Any] = {"event": type(event).__name__, "time": round(time.time(), 3)}
    record |= to_json(event)
    if isinstance(event, TaskEvent):
        head = {"event": type(event.inner).__name__, "time": record["time"]}
        record["inner"] = head | to_json(event.inner)
    return record


@dataclass
class _Line:
    """One running image."""

    source: str
    stage: str = ""
    pace: Pace = field(default_factory=Pace)
    progress: str = ""


class Board:
    """What runs right now, as a table of a fixed height."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._running: dict[int, _Line] = {}
        self._height = 1

    def __call__(self, event: BatchEvent) -> None:
        """Take note of it."""
        self.totals.add(event)
        match event:
            case TaskStarted():
                self._running[event.task] = _Line(clean(PurePath(event.source).name, 60))
                self._height = max(self._height, min(len(self._running), MOST_LINES))
            case TaskEnded():
                self._running.pop(event.task, None)
            case TaskEvent() if event.task in self._running:
                self._happened(self._running[event.task], event)

    def _happened(self, line: _Line, event: TaskEvent) -> None:
        match event.inner:
            case StageStarted():
                line.stage, line.progress = event.inner.stage, ""
            case Progress():
                line.progress = line.pace.describe(event.inner, time.monotonic())

    def __rich__(self) -> Table:
        """Drawn for a terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for _ in range(3):
            table.add_column(no_wrap=True, overflow="ellipsis")
        shown = list(self._running.values())[:MOST_LINES]
        for line in shown:
            words = WORDS.get(line.stage, line.stage or "starting")
            table.add_row(Text(line.source), Text(words), Text(line.progress))
        for _ in range(self._height - len(shown)):
            table.add_row("", "", "")
        hidden = len(self._running) - len(shown)
        more = f" (and {hidden} more run)" if hidden > 0 else ""
        table.add_row(Text(self.totals.describe() + more, style="bold"))
        return table


@contextmanager
def _live() -> Iterator[Watch]:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    board = Board()
    with Live(board, console=console, refresh_per_second=5, transient=True):

        def watch(event: BatchEvent) -> None:
            board(event)
            match event:
                case TaskEnded():
                    console.print(f"{_mark(event.state)} {ended_words(event)}", markup=False)
                case BatchNote():
                    console.print(clean(event.text), markup=False)
                case BatchEnded():
                    pass

        yield watch
