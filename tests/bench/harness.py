"""Measuring fairly: whole processes, contestants in turns, medians, peak memory of each.

A benchmark is a module ``bench_<name>.py`` in this directory with ``TITLE`` and
``run(Options) -> list[Table]``; ``run.py`` finds it by its name.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")
GIB = 1 << 30


@dataclass(frozen=True)
class Options:
    """How much is measured, and where."""

    pairs: int = 5
    data_gib: float = 3.0
    cache: Path = Path.home() / ".cache/imgprep-bench"
    output: Path = Path.home() / ".cache/imgprep-bench/out"


@dataclass(frozen=True)
class Table:
    """One table of BENCHMARKS.md."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", _row(self.columns), _row(["---"] * len(self.columns))]
        lines += [_row(row) for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines).rstrip() + "\n"


@dataclass(frozen=True)
class Sample:
    """One run of one contestant."""

    seconds: float
    memory: int  # bytes: the largest resident set of any one of its processes
    output: str = ""


@dataclass
class Contest:
    """Contestants that take turns, so that a busy minute of the machine hits all alike."""

    pairs: int
    prepare: Callable[[], None] = lambda: None  # before every run, not timed
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def run(self, contestants: Mapping[str, Sequence[str]]) -> None:
        for turn in range(self.pairs):
            for name, argv in contestants.items():
                self.prepare()
                found = measure(argv)
                self.samples.setdefault(name, []).append(found)
                print(f"  {turn + 1}/{self.pairs} {name}: {found.seconds:.2f} s", file=sys.stderr)

    def seconds(self, name: str) -> float:
        return statistics.median(item.seconds for item in self.samples[name])

    def spread(self, name: str) -> str:
        all_ = sorted(item.seconds for item in self.samples[name])
        return f"{all_[0]:.2f} to {all_[-1]:.2f}"

    def memory(self, name: str) -> int:
        return max(item.memory for item in self.samples[name])

    def ratio(self, name: str, other: str) -> float:
        """The median of the ratios within each turn."""
        pairs = zip(self.samples[name], self.samples[other], strict=True)
        return statistics.median(one.seconds / two.seconds for one, two in pairs)


def measure(argv: Sequence[str], *, timeout_s: float = 1800) -> Sample:
    """Run a program; its wall time and the peak memory of the largest of its processes."""
    began = time.monotonic()
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    seconds = time.monotonic() - began
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: exit {process.returncode}\n{errors[-2000:]}")
    return Sample(seconds, _reported_memory(output), output)


def _reported_memory(output: str) -> int:
    """Every contestant runs under ``worker.py``, whose last line is the peak memory in bytes."""
    last = output.strip().rsplit("\n", 1)[-1]
    return int(last) if last.isdigit() else 0


def worker(*argv: object) -> list[str]:
    """Run a job of ours, or a shell command, in a process of its own that reports its memory."""
    return [sys.executable, str(WORKER), *map(str, argv)]


def shell(command: str) -> list[str]:
    return worker("shell", command)


def forget(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def machine() -> str:
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    return f"{os.cpu_count()} cores, {cpu}"


def mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
