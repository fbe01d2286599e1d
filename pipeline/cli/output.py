"""Where results go: the readable summary, ``--json``, and every ``--report KIND=PATH``."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from pipeline import reports
from pipeline.errors import EnvironmentFailed, UsageError
from pipeline.journal import write_atomically
from pipeline.model import JsonObject, Report

_OF_A_STREAM = ("/dev/std", "/dev/fd/", "/proc/")


@dataclass(frozen=True)
class ReportTarget:
    """One ``--report KIND=PATH``; the path ``-`` is stdout."""

    kind: str
    path: str


@dataclass(frozen=True)
class Output:
    """Everything that shall be written about a job when it has ended."""

    targets: tuple[ReportTarget, ...]

    @property
    def machine_on_stdout(self) -> bool:
        """Whether stdout belongs to a program."""
        return any(target.path == "-" for target in self.targets)

    @property
    def files(self) -> list[str]:
        """The paths that are written to."""
        return [target.path for target in self.targets if target.path != "-"]

    def write(self, report: Report) -> None:
        """Write every report; one that cannot be written keeps no other back.

        The readable summary goes to stdout, or to stderr when a program reads stdout or when it
        tells of an error.  Raises the first failure at the end.
        """
        self._write(report, on_stderr=report.error is not None)

    def write_files_early(self, report: Report) -> None:
        """The files alone, before the job's record ends; ``write`` tells what cannot be written.

        Pipes and devices are written once, at the end.
        """
        for target in self.targets:
            special = os.path.lexists(target.path) and not os.path.isfile(target.path)
            if target.path != "-" and not special:
                with suppress(OSError, EnvironmentFailed):
                    _deliver(target, report)

    def write_several(self, found: Sequence[Report]) -> None:
        """The same for reports that belong together: each output is one document of all."""
        self._write(found, on_stderr=all(report.error is not None for report in found))

    def _write(self, found: Report | Sequence[Report], *, on_stderr: bool) -> None:
        out = sys.stderr if self.machine_on_stdout or on_stderr else sys.stdout
        _all([partial(_print_summary, found, out), *self._deliveries(found)])

    def deliver_several(self, found: Sequence[Report | JsonObject]) -> None:
        """The outputs alone, where somebody else tells the summary."""
        _all(self._deliveries(found))

    def rewrite(self, found: JsonObject | Sequence[JsonObject]) -> None:
        """The outputs of a report that was read from a file; without any, its summary."""
        if self.targets:
            _all(self._deliveries(found))
        else:
            _print_summary(found, sys.stdout)

    def _deliveries(
        self, found: Report | JsonObject | Sequence[Report | JsonObject]
    ) -> list[Callable[[], None]]:
        return [partial(_deliver, target, found) for target in self.targets]


def _all(writers: Sequence[Callable[[], None]]) -> None:
    """Do every one of them, then raise the first failure."""
    failures = []
    for write in writers:
        try:
            write()
        except (OSError, EnvironmentFailed) as error:
            failures.append(error)
    if failures:
        raise failures[0]


def parse(values: Sequence[str], *, json: bool) -> Output:
    """Read ``--report`` and ``--json``; raises ``UsageError`` with everything that is wrong.

    Raises ``EnvironmentFailed`` for a file that this user may not write.
    """
    targets = [ReportTarget("json", "-")] if json else []
    wrong = []
    for value in values:
        kind, separator, path = value.partition("=")
        if not separator or not path or kind not in reports.KINDS:
            wrong.append(value)
        elif path != "-" and not Path(path).absolute().parent.is_dir():
            wrong.append(f"{value} (no such directory)")
        elif path != "-" and Path(path).is_dir():
            wrong.append(f"{value} (a directory)")
        else:
            targets.append(ReportTarget(kind, path))
    if sum(target.path == "-" for target in targets) > 1:
        wrong.append("two outputs for stdout")
    if wrong:
        raise UsageError(
            "report-option",
            f"--report: {'; '.join(wrong)}",
            hint=f"write KIND=PATH, where KIND is one of {', '.join(reports.KINDS)}; "
            "PATH may be - once",
        )
    output = Output(tuple(targets))
    for path in output.files:
        require_writable(Path(path), "--report")
    return output


def require_writable(path: Path, option: str) -> None:
    """Raise ``EnvironmentFailed`` where a file cannot be made: better before the work than after it.

    What is there and is no file, as a pipe, is opened only when it is written to.
    """
    path = path.absolute()
    if _is_stream(path):
        return
    directory = path.resolve().parent
    if not os.access(directory, os.W_OK | os.X_OK):
        raise EnvironmentFailed(
            "report-unwritable",
            f"{option} {path}: no write permission on {directory}",
            hint="give a file in a directory that you may write to",
        )


def _print_summary(found: Report | JsonObject | Sequence[Report | JsonObject], out: TextIO) -> None:
    # on stderr it is a courtesy, like progress: what was asked for is elsewhere
    with suppress(OSError) if out is sys.stderr else nullcontext():
        reports.print_summary(found, out)
        out.flush()


def _deliver(
    target: ReportTarget, found: Report | JsonObject | Sequence[Report | JsonObject]
) -> None:
    text = reports.render(target.kind, found)
    if target.path == "-":
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
        return
    try:
        _write_file(Path(target.path).absolute(), text.encode())
    except OSError as error:
        raise EnvironmentFailed(
            "report-unwritable",
            f"the {target.kind} report cannot be written to {target.path}: {error.strerror}",
            hint="give a file in a directory that you may write to",
        ) from error


def _write_file(path: Path, data: bytes) -> None:
    """A file appears whole and under its name, or not at all; a link to it stays a link.

    A device, a pipe or /dev/stdout is written to: in their place a file would do harm.
    """
    if _is_stream(path):
        with path.open("ab") as out:
            out.write(data)
        return
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
    write_atomically(path.resolve(), data, mode=mode)


def _is_stream(path: Path) -> bool:
    return str(path).startswith(_OF_A_STREAM) or (path.exists() and not path.is_file())


def _umask() -> int:
    mask = os.umask(0o077)  # it cannot be asked for without being set
    os.umask(mask)
    return mask
