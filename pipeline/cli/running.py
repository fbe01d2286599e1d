"""Doing the jobs of a command: watched, interruptible, reported, ended with the contract's exit code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NoReturn

import typer

from pipeline.cli import options as opt
from pipeline.cli import output
from pipeline.events import Monitor
from pipeline.model import Job, Report, combined_exit_code
from pipeline.stage import Cancellation, Stage


@dataclass(frozen=True)
class Audience:
    """Who is told what while a command works."""

    quiet: bool = False
    events: Path | None = None
    verbose: int = 0  # 1: each step with its time, 2: each child process too
    log: Path | None = None

    @property
    def files(self) -> list[Path]:
        """What is written to."""
        return [path for path in (self.events, self.log) if path is not None]

    @contextmanager
    def watching(self) -> Iterator[tuple[Cancellation, Monitor]]:
        """Signals are listened to and events are shown while the block lasts."""
        from pipeline.cli.monitors import monitors
        from pipeline.cli.signals import cancel_on_signals

        with (
            cancel_on_signals() as cancellation,
            monitors(
                quiet=self.quiet, events=self.events, verbose=self.verbose, log=self.log
            ) as monitor,
        ):
            yield cancellation, monitor


def do(
    job: Job,
    stages: Sequence[Stage],
    out: output.Output,
    audience: Audience,
    *,
    job_dir: Path | None = None,
) -> NoReturn:
    """Run one job and end the process with its exit code.

    Without ``job_dir`` nothing is kept: there is nothing to resume in a job that stores nothing.
    """
    report = _one(job, stages, out, audience, job_dir)
    _write(out, report)
    raise typer.Exit(report.exit_code)


def do_each(
    jobs: Sequence[Job], stages: Sequence[Stage], out: output.Output, audience: Audience
) -> NoReturn:
    """Run jobs that judge nothing, one after the other; one document of all."""
    from pipeline.engine import run_job
    from pipeline.stores.sources import open_source

    _require_free(jobs, out, audience)
    reports: list[Report] = []
    with audience.watching() as (cancellation, monitor):
        for job in jobs:
            reports.append(
                run_job(job, stages, monitor, cancellation=cancellation, open_source=open_source)
            )
            if cancellation.is_set():
                break
    _write(out, reports)
    raise typer.Exit(combined_exit_code(report.exit_code for report in reports))


def judge(jobs: Sequence[Job], out: output.Output, audience: Audience) -> list[Report]:
    """Judge images by profiles; jobs of one image stand together, and it is looked at once."""
    from pipeline.engine import run_jobs
    from pipeline.stores.sources import open_source
    from stages import for_inspect
    from stages.check import Check

    _require_free(jobs, out, audience)
    reports: list[Report] = []
    with audience.watching() as (cancellation, monitor):
        for _, group in groupby(jobs, key=lambda job: job.source):
            mine = tuple(group)
            reports += run_jobs(
                mine,
                for_inspect(),
                (Check(),),
                monitor,
                cancellation=cancellation,
                open_source=open_source,
            )
            if cancellation.is_set():
                break
    _write(out, reports)
    return reports


def judge_one(job: Job, out: output.Output, audience: Audience) -> Report:
    """Judge one image by one profile."""
    from stages import for_check

    report = _one(job, for_check(), out, audience, None)
    _write(out, report)
    return report


def exit_code(reports: Sequence[Report], *, any_profile: bool = False) -> int:
    """The code of all; with ``any_profile`` an image is fine that one profile takes."""
    if not any_profile:
        return combined_exit_code(report.exit_code for report in reports)
    by_image: dict[str, list[int]] = {}
    for report in reports:
        by_image.setdefault(report.job["source"], []).append(report.exit_code)
    return combined_exit_code(
        0 if 0 in codes else combined_exit_code(codes) for codes in by_image.values()
    )


def _one(
    job: Job,
    stages: Sequence[Stage],
    out: output.Output,
    audience: Audience,
    job_dir: Path | None,
) -> Report:
    from pipeline.engine import run_job
    from pipeline.stores.sources import open_source

    _require_free([job], out, audience)
    with audience.watching() as (cancellation, monitor):
        return run_job(
            job,
            stages,
            monitor,
            cancellation=cancellation,
            job_dir=job_dir,
            deliver=out.write_files_early,
            open_source=open_source,
        )


def _require_free(jobs: Sequence[Job], out: output.Output, audience: Audience) -> None:
    """Raise ``UsageError`` where a job has no file, or would have it written over."""
    for source in dict.fromkeys(job.source for job in jobs):
        opt.require_file(source)
        opt.require_other_files(source, [*out.files, *audience.files])


def _write(out: output.Output, found: Report | Sequence[Report]) -> None:
    with suppress(BrokenPipeError):  # who only wanted the first lines gets the exit code as well
        if isinstance(found, Report):
            out.write(found)
        else:
            out.write_several(found)
