"""What ``imgprep batch --dry-run`` prints: each image, what it costs, and all of them together."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from pipeline.text import clean, duration, size

if TYPE_CHECKING:
    from pipeline.batch.estimate import Estimate
    from pipeline.batch.main import BatchOptions
    from pipeline.batch.plan import Task


def show(plan: BatchOptions, tasks: Sequence[Task], *, json: bool) -> None:
    """Print it; nothing is begun."""
    from pipeline.batch import estimate
    from pipeline.batch.ledger import read_ledger
    from pipeline.batch.machine import default_jobs
    from pipeline.model import to_json

    pace = None
    if (plan.directory / "ledger.db").exists():
        with read_ledger(plan.directory) as ledger:
            pace = ledger.pace()
    each = [estimate.Estimate.of(task, pace) for task in tasks]
    jobs = plan.jobs or default_jobs()
    whole = estimate.total(tasks, jobs, pace=pace, rate=plan.rate)
    if json:
        lines = [to_json(task.job) | to_json(one) for task, one in zip(tasks, each, strict=True)]
        typer.echo(json_module.dumps({"jobs": jobs, "total": to_json(whole), "tasks": lines}))
        return
    for task, one in zip(tasks, each, strict=True):
        to = f" -> {clean(task.job.destination)}" if task.job.destination else ""
        by = clean(task.job.profile or "")
        typer.echo(f"{clean(task.job.source)} [{by}]{to}: {_expected(one)}")
    typer.echo(f"{len(tasks)} images, {jobs} at a time: {_expected(whole)}; nothing was begun")


def _expected(one: Estimate) -> str:
    parts = f", {one.segments} segments" if one.segments > 1 else ""
    return f"{size(one.size)} to read{parts}, about {duration(one.seconds)}"
