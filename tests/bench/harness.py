"""Measuring fairly: whole processes, contestants in turns, medians, peak memory of each.

A benchmark is a module ``bench_<name>.py`` in this directory with ``TITLE`` and
``run(Options) -> list[Table]``; ``run.py`` finds it by its name.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    cpu: float  # seconds, of all its processes
    output: str
    server: float = 0.0  # CPU seconds of the server meanwhile


@dataclass
class Contest:
    """Contestants that take turns, so that a busy minute of the machine hits all alike."""

    pairs: int
    prepare: Callable[[], None] = lambda: None  # before every run, not timed
    server: Callable[[], float] = lambda: 0.0  # CPU seconds of a server so far
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def run(self, contestants: Mapping[str, Sequence[str]]) -> None:
        for turn in range(self.pairs):
            for name, argv in contestants.items():
                self.prepare()
                before = self.server()
                found = measure(argv)
                found = replace(found, server=self.server() - before)
                self.samples.setdefault(name, []).append(found)
                told = f"{found.seconds:.2f} s, CPU {found.cpu:.2f} s"
                print(f"  {turn + 1}/{self.pairs} {name}: {told}", file=sys.stderr)

    def seconds(self, name: str) -> float:
        return statistics.median(item.seconds for item in self.samples[name])

    def spread(self, name: str) -> str:
        all_ = sorted(item.seconds for item in self.samples[name])
        return f"{all_[0]:.2f} to {all_[-1]:.2f}"

    def cpu(self, name: str) -> float:
        return statistics.median(item.cpu for item in self.samples[name])

    def server_cpu(self, name: str) -> float:
        return statistics.median(item.server for item in self.samples[name])

    def memory(self, name: str) -> int:
        return max(item.memory for item in self.samples[name])

    def ratio(self, name: str, other: str) -> float:
        """The median of the ratios of wall time within each turn."""
        return statistics.median(a.seconds / b.seconds for a, b in self._turns(name, other))

    def cpu_ratio(self, name: str, other: str) -> float:
        """The same of CPU time."""
        return statistics.median(a.cpu / b.cpu for a, b in self._turns(name, other))

    def _turns(self, name: str, other: str) -> Iterator[tuple[Sample, Sample]]:
        return zip(self.samples[name], self.samples[other], strict=True)


def measure(argv: Sequence[str], *, timeout_s: float = 1800) -> Sample:
    """Run a program; its wall time, and the peak memory of the largest of its processes.

    The kernel counts the memory: wait4(2) tells of a child and of all that it waited for.  Compiled
    modules are kept, as they are for everybody who has installed the program.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        limit = threading.Timer(timeout_s, os.killpg, (process.pid, signal.SIGKILL))
        limit.start()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        limit.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            said = errors.read()[-2000:]
            raise SystemExit(f"{' '.join(argv)}: exit {process.returncode}\n{said}")
        cpu = used.ru_utime + used.ru_stime
        return Sample(seconds, used.ru_maxrss * 1024, cpu, output.read())


def worker(*argv: object) -> list[str]:
    """Run a job of ours (see ``worker.py``) in a process of its own."""
    return [sys.executable, str(WORKER), *map(str, argv)]


def shell(command: str) -> list[str]:
    return ["/bin/sh", "-c", command]


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
