"""Monitors: what a person or a program sees of a run while it goes on.

All of them write to stderr or to a file of their own; stdout belongs to results.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.errors import UsageError
from pipeline.events import Event, Monitor, Note, Progress, StageFinished, StageStarted, ignore
from pipeline.model import StageStatus, to_json
from pipeline.text import clean, duration, size

LINE_EVERY_S = 10.0
"""Without a terminal, a stage's progress is one line in so many seconds."""

WORDS = {
    "prepare": "looking at the destination",
    "identify": "reading the container",
    "inspect_disk": "inspecting the disk",
    "inspect_guest": "inspecting the guest inside",
    "check": "judging the requirements",
    "convert": "laying out the artifact",
    "adopt": "looking at the file",
    "prove": "judging the artifact",
    "pack": "packing it",
    "keep": "writing the local copy",
    "upload": "storing",
    "verify": "proving what is stored",
}


@contextmanager
def monitors(
    *, quiet: bool, events: Path | None, verbose: int = 0, log: Path | None = None
) -> Iterator[Monitor]:
    """Everything that shall watch, as one monitor.  Who wants it verbose sees lines, no live display."""
    with ExitStack() as stack:
        watching: list[Monitor] = []
        if verbose or log is not None:
            from pipeline.cli.verbosity import logging_to

            watching.append(stack.enter_context(logging_to(verbose, log)))
        if not quiet and not verbose:
            live = sys.stderr.isatty()
            watching.append(stack.enter_context(_live()) if live else _lines(sys.stderr))
        if events is not None:
            watching.append(stack.enter_context(_json_lines(events)))
        watching = [_harmless(each) for each in watching]
        yield _all(watching) if watching else ignore


def _all(watching: list[Monitor]) -> Monitor:
    def monitor(event: Event) -> None:
        for each in watching:
            each(event)

    return monitor


def _harmless(watching: Monitor) -> Monitor:
    """A monitor that gives up when its stream takes no more: a job does not end with its audience."""
    lost = False

    def monitor(event: Event) -> None:
        nonlocal lost
        if lost:
            return
        try:
            watching(event)
        except OSError:
            lost = True

    return monitor


@contextmanager
def _json_lines(path: Path) -> Iterator[Monitor]:
    try:
        out = path.open("ab", buffering=0)  # a line is one write: what failed is not tried again
    except OSError as error:
        raise UsageError(
            "events-unwritable",
            f"--events {path}: {error.strerror}",
            hint="give a file in a directory that you may write to",
        ) from error
    with out:

        def monitor(event: Event) -> None:
            record = {"event": type(event).__name__, "time": round(time.time(), 3)}
            try:
                out.write(json.dumps(record | to_json(event)).encode() + b"\n")
            except OSError as error:
                print(f"--events {path}: {error.strerror}; no more are written", file=sys.stderr)
                raise

        yield monitor


def _lines(out: TextIO) -> Monitor:
    """Plain lines: a stage's start and end, notes, and progress now and then."""
    last = 0.0
    pace = Pace()

    def monitor(event: Event) -> None:
        nonlocal last
        match event:
            case StageStarted():
                last = time.monotonic()
            case Progress():
                told = pace.describe(event, time.monotonic())
                if time.monotonic() - last >= LINE_EVERY_S:
                    last = time.monotonic()
                    print(f"{event.stage}: {told}", file=out)
            case Note():
                print(f"{event.stage}: {event.level}: {clean(event.text)}", file=out)
            case StageFinished():
                print(_ended(event), file=out)

    return monitor


class Pace:
    """How far and how fast the present activity goes, counted from its first report."""

    def __init__(self) -> None:
        self._activity = ("", "")
        self._since = 0.0
        self._from = 0

    def describe(self, event: Progress, now: float) -> str:
        """``converting, 1.2 GiB of 3 GiB, 310 MiB/s, 5.9 s left``; to be asked at every report."""
        if (event.stage, event.activity) != self._activity or event.done < self._from:
            self._activity = (event.stage, event.activity)
            self._since, self._from = now, event.done
        total = "" if event.total is None else f" of {size(event.total)}"
        words = [event.activity] * bool(event.activity) + [f"{size(event.done)}{total}"]
        done = event.done - self._from
        if done and now > self._since:
            rate = done / (now - self._since)
            words.append(f"{size(int(rate))}/s")
            if event.total is not None:
                words.append(f"{duration((event.total - event.done) / rate)} left")
        return ", ".join(words)


def _ended(event: StageFinished) -> str:
    if event.reason == "planned":  # nothing was made yet: that is what there is to say
        return f"{event.stage}: planned in {duration(event.seconds)}"
    reason = f": {clean(event.reason)}" if event.reason else ""
    return f"{event.stage}: {event.status} in {duration(event.seconds)}{reason}"


USUAL = {
    "inspect_disk": "usually a second",
    "inspect_guest": "usually under 20 s",
    "verify": "usually some seconds",
}
"""How long a stage takes that cannot count bytes."""


@contextmanager
def _live() -> Iterator[Monitor]:
    """A live display on a terminal: the stage; a bar with bytes, rate and time left, or a spinner."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    console = Console(stderr=True, highlight=False)
    description = TextColumn("{task.description}", table_column=Column(no_wrap=True), markup=False)
    told = TextColumn("{task.fields[told]}", table_column=Column(no_wrap=True), markup=False)
    without_bytes = (SpinnerColumn(), description, TimeElapsedColumn(), told)
    with_bytes = (SpinnerColumn(), description, BarColumn(), told)
    bars = Bars(*without_bytes, console=console, transient=True)
    pace = Pace()
    with bars:
        task = bars.add_task("starting", total=None, told="")
        activity: str | None = None
        say: Callable[[str], None] = lambda text: console.print(text, markup=False)  # noqa: E731

        def monitor(event: Event) -> None:
            nonlocal activity
            match event:
                case StageStarted():
                    activity = None
                    words = WORDS.get(event.stage, event.stage)
                    bars.columns = without_bytes
                    bars.reset(task, description=words, total=None, told=USUAL.get(event.stage, ""))
                case Progress():
                    if event.activity != activity:  # another count, and another pace
                        activity = event.activity
                        bars.columns = with_bytes
                        bars.reset(task, description=activity or WORDS.get(event.stage, ""))
                    words = pace.describe(event, time.monotonic()).removeprefix(f"{activity}, ")
                    bars.update(task, completed=event.done, total=event.total, told=words)
                case Note():
                    say(f"  {'! ' if event.level == 'warning' else ''}{clean(event.text)}")
                case StageFinished() if event.status is not StageStatus.SKIPPED:
                    say(f"{_MARKS[event.status]} {_ended(event)}")

        yield monitor


_MARKS = {
    StageStatus.DONE: "✓",
    StageStatus.REUSED: "✓",
    StageStatus.FAILED: "✗",
    StageStatus.REFUSED: "✗",
}
