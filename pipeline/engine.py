"""``run_job``: the one function that everybody calls; ``run_jobs``: one look, many clouds' judgements.

    Job ─▶ Source, Profile ─▶ for each stage: unchanged? ─ reuse or run ─ record ─ unchanged? ─▶ Report

The engine knows no stage by name.  It hands each one a ``Context``, keeps what the ``Outcome`` adds,
and stops where an outcome says that the image is refused, where an error is raised, or where somebody
asks for a stop.  Whatever happens, there is a report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from pipeline import __version__, facts, fingerprint, journal
from pipeline.beside import Beside
from pipeline.disk import GuestDisk, stat_content_id
from pipeline.errors import EnvironmentFailed, ImgprepError, Interrupted
from pipeline.events import (
    JobFinished,
    JobStarted,
    Monitor,
    StageFinished,
    StageStarted,
)
from pipeline.gathered import Gathered, make_report
from pipeline.model import (
    Job,
    Outcome,
    Report,
    StageRecord,
    StageStatus,
    digest,
)
from pipeline.profile import Profile, check_waivers, load, safety
from pipeline.source import Source
from pipeline.stage import Cancellation, Context, Stage, StageFailed, identify_job

OpenSource: TypeAlias = Callable[[Job, Cancellation], Source]
"""Opens a job's source, or raises ``SourceError`` or ``StoreError``."""


def open_file(job: Job, _stop: Cancellation) -> Source:
    """A file of this machine."""
    return Source.open(job.source, allow_device=job.options.allow_device)


def run_job(
    job: Job,
    stages: Sequence[Stage],
    monitor: Monitor,
    *,
    cancellation: Cancellation | None = None,
    job_dir: Path | None = None,
    pace: Callable[[int], None] | None = None,
    deliver: Callable[[Report], None] | None = None,
    open_source: OpenSource = open_file,
) -> Report:
    """Do one job.  Never raises ``ImgprepError``: the report tells.  A bug of ours does raise.

    Without ``job_dir`` nothing is kept from which the same job could continue.  ``pace`` is called
    with a number of bytes before they are sent to a store, and waits where a rate is to be kept.
    ``deliver`` gets the report of a job that ended well before the record of it is given up, so that
    whoever is killed in between finds the report, or does the end again.  ``open_source``: local files
    alone, unless it is told how to open others.
    """
    started = datetime.now(UTC)
    progress = Gathered()
    error: ImgprepError | None = None
    job_id = ""
    try:
        profile = progress.profile = _load(job)
        stop = cancellation or Cancellation()
        with open_source(job, stop) as source:
            known = _fingerprint(job, source, job_dir, stop)
            content_id = known or stat_content_id(source.identity())
            job_id = identify_job(job, content_id, profile.digest)
            opened = journal.open_journal(job_dir, job_id) if job_dir else journal.passing()
            with (
                opened as records,
                _beside(job, job_id, records, keep=job_dir is not None) as beside,
            ):
                context = _context(job, job_id, source, profile, records, beside, monitor, stop)
                context = replace(context, fingerprint=known, pace=pace or context.pace)
                monitor(JobStarted(job_id, source.address, tuple(item.name for item in stages)))
                _run_stages(stages, context, records, progress)
                if deliver is not None:
                    deliver(make_report(job, job_id, progress, None, started))
                records.finish()
                beside.finish()
    except ImgprepError as raised:
        error = raised
        if isinstance(raised, Interrupted) and job_dir is None:
            error = raised.without_state()
    report = make_report(job, job_id, progress, error, started)
    monitor(JobFinished(report))
    return report


def run_jobs(
    jobs: Sequence[Job],
    shared: Sequence[Stage],
    own: Sequence[Stage],
    monitor: Monitor,
    *,
    cancellation: Cancellation | None = None,
    open_source: OpenSource = open_file,
) -> tuple[Report, ...]:
    """Do jobs on one source that differ only in their profile.  Nothing is kept for a resume.

    The ``shared`` stages, which look at no profile, run once; the ``own`` ones run for each job.
    Where a profile or a waiver is wrong nothing is done: the reports are those of the wrong jobs.
    """
    started = datetime.now(UTC)
    loaded, wrong = _load_all(jobs, started)
    if wrong:
        return wrong
    gathered = Gathered()
    branches: list[Gathered] = []
    ids = [""] * len(jobs)
    done = 0
    error: ImgprepError | None = None
    first = jobs[0]
    stop = cancellation or Cancellation()
    try:
        with (
            open_source(first, stop) as source,
            journal.passing() as records,
            Beside(records.scratch, "") as beside,
        ):
            content_id = stat_content_id(source.identity())
            ids = [
                identify_job(job, content_id, each.digest)
                for job, each in zip(jobs, loaded, strict=True)
            ]
            context = _context(first, ids[0], source, loaded[0], records, beside, monitor, stop)
            names = tuple(item.name for item in (*shared, *own))
            monitor(JobStarted(ids[0], source.address, names))
            _run_stages(shared, context, records, gathered)
            for job, job_id, profile in zip(jobs, ids, loaded, strict=True):
                branches.append(gathered.branch(profile))
                mine = replace(context, job=job, job_id=job_id, profile=profile)
                _run_stages(own, mine, records, branches[-1])
                done += 1
    except ImgprepError as raised:
        error = raised
    branches += [gathered.branch(profile) for profile in loaded[len(branches) :]]
    reports = tuple(
        make_report(job, job_id, branch, error if number >= done else None, started)
        for number, (job, job_id, branch) in enumerate(zip(jobs, ids, branches, strict=True))
    )
    for report in reports:
        monitor(JobFinished(report))
    return reports


def _load(job: Job) -> Profile:
    """The job's profile.  Raises ``UsageError``, also for a waiver that the profile does not allow."""
    profile = safety() if job.profile is None else load(job.profile)
    check_waivers(profile, job.options.allow)
    return profile


def _load_all(
    jobs: Sequence[Job], started: datetime
) -> tuple[tuple[Profile, ...], tuple[Report, ...]]:
    """Every job's profile, and a report for each job that has none."""
    loaded, wrong = [], []
    for job in jobs:
        try:
            loaded.append(_load(job))
        except ImgprepError as error:
            wrong.append(make_report(job, "", Gathered(), error, started))
    return tuple(loaded), tuple(wrong)


def _beside(job: Job, job_id: str, records: journal.Journal, *, keep: bool) -> Beside:
    """Where a file is made that is to be kept: on its file system, so that a rename names it."""
    wish = job.options.keep
    parent = records.scratch if wish is None else Path(wish).absolute().parent
    return Beside(parent, job_id, keep=keep)


def _context(
    job: Job,
    job_id: str,
    source: Source,
    profile: Profile,
    records: journal.Journal,
    beside: Beside,
    monitor: Monitor,
    cancellation: Cancellation,
) -> Context:
    return Context(
        job=job,
        job_id=job_id,
        source=source,
        profile=profile,
        scratch=records.scratch,
        beside=beside,
        notebook=records,
        cancellation=cancellation,
        monitor=monitor,
    )


def _run_stages(
    stages: Sequence[Stage], context: Context, records: journal.Journal, progress: Gathered
) -> None:
    chain = digest([context.job_id, __version__])
    with ExitStack() as opened:
        for stage in stages:
            chain = digest([chain, stage.name, stage.version, dict(stage.options(context.job))])
            if progress.refused:
                progress.cut_short = True
                _skip(stage, context, progress, "the image is refused")
                continue
            context.cancellation.check()
            context.source.require_unchanged()
            now = replace(
                context,
                stage=stage.name,
                facts=dict(progress.facts),
                judgement=progress.judgement,
                artifact=progress.artifact,
                receipt=progress.receipt,
            )
            outcome = _run_stage(stage, now, records, chain, progress)
            progress.add(outcome)
            if context.opened is None or outcome.unpacked is not None:
                context = _with_disk(context, outcome, opened)


def _fingerprint(job: Job, source: Source, job_dir: Path | None, stop: Cancellation) -> str | None:
    """The source's content id by its bytes, where the job asks for that."""
    if job.options.identity == "stat":
        return None
    place = job_dir or journal.default_directory()
    return fingerprint.content_id(source, place, check=stop.check)


def _with_disk(context: Context, outcome: Outcome, opened: ExitStack) -> Context:
    """The disk for the stages that follow, once it is known what the file is."""
    source, origin = context.source, context.source.identity()
    if outcome.unpacked is not None:
        source = opened.enter_context(Source.open(outcome.unpacked))
    container = facts.container(outcome.facts)
    if container is None:
        return replace(context, source=source)
    reclaim = context.job.options.reclaim or context.profile.target.reclaim
    disk = GuestDisk(
        source,
        container,
        context.scratch,
        origin=origin,
        reclaim=reclaim,
        fingerprint=context.fingerprint,
    )
    return replace(context, source=source, opened=opened.enter_context(disk))


def _run_stage(
    stage: Stage, context: Context, records: journal.Journal, chain: str, progress: Gathered
) -> Outcome:
    found = records.find(stage.name, chain) if stage.reusable else None
    if found is not None and _still_true(found[0]):
        outcome, seconds = found
        _finish(context, progress, StageStatus.REUSED, seconds, outcome.reason)
        return outcome
    context.monitor(StageStarted(stage.name))
    begin = time.monotonic()
    try:
        outcome = stage.run(context)
        context.source.require_unchanged()
    except StageFailed as failed:
        progress.add(failed.outcome)
        _failed(context, progress, begin, failed.error.message)
        raise failed.error from failed
    except ImgprepError as error:
        _failed(context, progress, begin, error.message)
        raise
    except OSError as error:
        _failed(context, progress, begin, str(error))
        raise _machine_failed(stage.name, error) from error
    seconds = round(time.monotonic() - begin, 3)
    if outcome.status is StageStatus.DONE:
        records.record(stage.name, chain, outcome, seconds)
    _finish(context, progress, outcome.status, seconds, outcome.reason)
    return outcome


def _failed(context: Context, progress: Gathered, begin: float, reason: str) -> None:
    _finish(context, progress, StageStatus.FAILED, time.monotonic() - begin, reason)


def _machine_failed(stage: str, error: OSError) -> EnvironmentFailed:
    where = f": {error.filename}" if error.filename else ""
    return EnvironmentFailed(
        "system-call-failed",
        f"{stage}: {error.strerror or error}{where}",
        hint="check free space, permissions and the health of the disk, then run again",
    )


def _still_true(outcome: Outcome) -> bool:
    """A record of a file in scratch is worth nothing without that file."""
    files = [outcome.unpacked]
    if outcome.artifact is not None:
        files += [plan.get("path") for plan in (outcome.artifact.plan, outcome.artifact.copy or {})]
    return all(Path(path).exists() for path in files if path)


def _skip(stage: Stage, context: Context, progress: Gathered, reason: str) -> None:
    _finish(replace(context, stage=stage.name), progress, StageStatus.SKIPPED, 0.0, reason)


def _finish(
    context: Context,
    progress: Gathered,
    status: StageStatus,
    seconds: float,
    reason: str | None,
) -> None:
    record = StageRecord(context.stage, status, round(seconds, 3), reason)
    progress.records.append(record)
    context.monitor(StageFinished(record.name, record.status, record.seconds, record.reason))
