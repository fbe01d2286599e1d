"""The commands that do a job on an image: inspect, check, convert, run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import typer

from pipeline.cli import options as opt
from pipeline.cli import output, streams
from pipeline.errors import UsageError
from pipeline.model import Job, Options, Report, combined_exit_code
from pipeline.stage import Stage

DEFAULT_PROFILE = "rackspace"


def add_to(app: typer.Typer) -> None:
    """Add this room's commands, in the order in which a newcomer meets them."""
    for command in (inspect, check, convert, run):
        app.command()(command)


def inspect(
    image: opt.Image,
    guest: opt.GuestMode = opt.Guest.AUTO,
    json: opt.Json = False,
    unpack: opt.Unpack = False,
    allow_device: opt.AllowDevice = False,
    quiet: opt.Quiet = False,
    events: opt.Events = None,
) -> None:
    """Say what IMAGE is, and judge nothing.

    Its container, its disk, its partitions and file systems, and the system inside.
    """
    from stages import for_inspect

    job = Job(
        image,
        DEFAULT_PROFILE,
        options=Options(guest=guest.value, unpack=unpack, allow_device=allow_device),
    )
    do(job, for_inspect(), output.parse([], json=json), quiet=quiet, events=events)


def check(
    image: opt.Image,
    *,  # what follows need not have a default here: some have it in options.py
    profile: opt.ProfileNames,
    any_profile: opt.AnyProfile = False,
    guest: opt.GuestMode = opt.Guest.AUTO,
    fail_on: opt.FailOnLevel = opt.FailOn.ERROR,
    strict: opt.Strict = False,
    allow: opt.Allow,
    reports: opt.Reports,
    json: opt.Json = False,
    unpack: opt.Unpack = False,
    allow_device: opt.AllowDevice = False,
    quiet: opt.Quiet = False,
    events: opt.Events = None,
) -> None:
    """Judge IMAGE by the requirements of one cloud, of several, or of all.

    Lists every finding at once: what was seen, what is expected, what to do. Changes nothing. With several
    profiles the image is looked at once, and a table tells which of them take it.
    """
    from stages import for_check

    options = Options(
        guest=guest.value,
        fail_on=fail_on.value,
        strict=strict,
        allow=waivers(allow),
        unpack=unpack,
        allow_device=allow_device,
    )
    chosen = _profiles(profile)
    jobs = [Job(image, name, options=options) for name in chosen or [DEFAULT_PROFILE]]
    out = output.parse(reports, json=json)
    if len(chosen) > 1 or "all" in profile:
        _judge(jobs, out, quiet=quiet, events=events, any_profile=any_profile)
    else:
        do(jobs[0], for_check(), out, quiet=quiet, events=events)


def convert(
    image: opt.Image,
    target: str = typer.Argument(
        ..., metavar="OUTPUT", help="The file to write.", show_default=False
    ),
    *,
    profile: opt.ProfileName = DEFAULT_PROFILE,
    format_name: opt.FormatName = None,
    reclaim: opt.Reclaim = False,
    allow: opt.Allow,
    json: opt.Json = False,
    unpack: opt.Unpack = False,
    allow_device: opt.AllowDevice = False,
    force: bool = typer.Option(False, "--force", help="Replace OUTPUT when it exists."),
    quiet: opt.Quiet = False,
    events: opt.Events = None,
) -> None:
    """Write IMAGE as the cloud wants it to OUTPUT.

    Whatever needs no look at the system inside is judged first; a refused image is not converted.
    """
    from stages import for_convert

    job = Job(
        image,
        profile,
        options=Options(
            guest="off",
            format=format_name and format_name.value,
            keep=target,
            if_exists="replace" if force else "fail",
            allow=waivers(allow),
            unpack=unpack,
            allow_device=allow_device,
            reclaim=reclaim,
        ),
    )
    do(job, for_convert(), output.parse([], json=json), quiet=quiet, events=events)


def run(
    image: opt.Image,
    destination: opt.Destination,
    *,
    profile: opt.ProfileName = DEFAULT_PROFILE,
    name: opt.Name = None,
    format_name: opt.FormatName = None,
    guest: opt.GuestMode = opt.Guest.AUTO,
    if_exists: opt.IfExistsMode = opt.IfExists.FAIL,
    create: opt.Create = False,
    dry_run: bool = typer.Option(False, "--dry-run", help="Plan everything, store nothing."),
    keep: str | None = typer.Option(
        None, "--keep", metavar="PATH", help="Also write the artifact to a local file."
    ),
    reclaim: opt.Reclaim = False,
    verify: opt.Verify = opt.VerifyBy.MANIFEST,
    fail_on: opt.FailOnLevel = opt.FailOn.ERROR,
    strict: opt.Strict = False,
    allow: opt.Allow,
    connections: opt.Connections = None,
    job_dir: opt.JobDir = None,
    reports: opt.Reports,
    json: opt.Json = False,
    unpack: opt.Unpack = False,
    allow_device: opt.AllowDevice = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
    events: opt.Events = None,
) -> None:
    """Check, convert, store in DEST, and prove it.

    The whole way, without a scratch copy of the image. Killed at any moment, the same command continues.
    """
    from stages import for_run

    streams.show_requests(verbose)
    opt.require_place(destination, name)
    job = Job(
        image,
        profile,
        destination,
        Options(
            guest=guest.value,
            name=name,
            format=format_name and format_name.value,
            if_exists=if_exists.value,
            verify=verify.value,
            keep=keep,
            fail_on=fail_on.value,
            strict=strict,
            allow=waivers(allow),
            dry_run=dry_run,
            unpack=unpack,
            allow_device=allow_device,
            create=create or opt.is_local(destination),
            connections=connections,
            reclaim=reclaim,
        ),
    )
    out = output.parse(reports, json=json)
    do(
        job,
        for_run(keep=keep is not None),
        out,
        quiet=quiet,
        events=events,
        job_dir=job_dir or state(),
    )


def do(
    job: Job,
    stages: Sequence[Stage],
    out: output.Output,
    *,
    quiet: bool,
    events: Path | None,
    job_dir: Path | None = None,
) -> None:
    """Run one job and end the process with its exit code.

    Without ``job_dir`` nothing is kept: there is nothing to resume in a job that stores nothing.
    """
    from pipeline.cli.monitors import monitors
    from pipeline.cli.signals import cancel_on_signals
    from pipeline.engine import run_job

    opt.require_file(job.source)
    opt.require_other_files(job.source, [*out.files, *([events] if events else [])])
    report: Report
    with (
        cancel_on_signals() as cancellation,
        monitors(quiet=quiet, events=events) as monitor,
    ):
        report = run_job(job, stages, monitor, cancellation=cancellation, job_dir=job_dir)
    with suppress(BrokenPipeError):  # who only wanted the first lines gets the exit code as well
        out.write(report)
    raise typer.Exit(report.exit_code)


def _judge(
    jobs: Sequence[Job],
    out: output.Output,
    *,
    quiet: bool,
    events: Path | None,
    any_profile: bool,
) -> None:
    """Judge by several profiles, and end the process with the exit code of all.

    Jobs of one image stand together: it is looked at once.
    """
    from pipeline.cli.monitors import monitors
    from pipeline.cli.signals import cancel_on_signals
    from pipeline.engine import run_jobs
    from stages import for_inspect
    from stages.check import Check

    reports: list[Report] = []
    with (
        cancel_on_signals() as cancellation,
        monitors(quiet=quiet, events=events) as monitor,
    ):
        for source, group in groupby(jobs, key=lambda job: job.source):
            opt.require_other_files(source, [*out.files, *([events] if events else [])])
            reports += run_jobs(
                tuple(group), for_inspect(), (Check(),), monitor, cancellation=cancellation
            )
    with suppress(BrokenPipeError):
        out.write_several(reports)
    raise typer.Exit(_exit_code(reports, any_profile=any_profile))


def _exit_code(reports: Sequence[Report], *, any_profile: bool) -> int:
    """With ``any_profile`` an image is fine that one profile takes."""
    if not any_profile:
        return combined_exit_code(report.exit_code for report in reports)
    by_image: dict[str, list[int]] = {}
    for report in reports:
        by_image.setdefault(report.job["source"], []).append(report.exit_code)
    return combined_exit_code(
        0 if 0 in codes else combined_exit_code(codes) for codes in by_image.values()
    )


def _profiles(names: Sequence[str]) -> list[str]:
    """The profiles that are meant, each once; ``all`` are every cloud's newest."""
    from pipeline import profile

    meant: list[str] = []
    for name in names:
        meant += profile.newest() if name == "all" else [name]
    return list(dict.fromkeys(meant))


def state() -> Path:
    """Where job directories live unless the user says otherwise."""
    from pipeline.journal import default_directory

    return default_directory()


def waivers(values: Sequence[str]) -> dict[str, str]:
    """Rule and reason of every ``--allow``; raises ``UsageError`` with all that is wrong."""
    split = [value.partition("=") for value in values]
    pairs = {rule: reason for rule, _, reason in split}
    repeated = sorted({rule for rule in pairs if sum(item[0] == rule for item in split) > 1})
    if repeated:
        raise UsageError(
            "waiver-repeated",
            f"--allow {', '.join(repeated)}: given more than once",
            hint="give each rule once, with one reason",
        )
    unreasoned = sorted(rule for rule, reason in pairs.items() if not reason.strip())
    if unreasoned:
        raise UsageError(
            "waiver-without-reason",
            f"--allow {', '.join(unreasoned)}: a reason is missing",
            hint="write --allow RULE=REASON; the reason stands in every report",
        )
    return pairs
