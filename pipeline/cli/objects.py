"""The commands about objects in a store: upload what is prepared already, clean up what was left."""

from __future__ import annotations

import json as json_module
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import jobs, output, running, settings
from pipeline.cli import options as opt
from pipeline.cli.running import Audience
from pipeline.errors import StoreError
from pipeline.model import Job, Options
from pipeline.text import clean, counted, size

if TYPE_CHECKING:
    from pipeline.reports import terminal
    from pipeline.stores.cleanup import Left


def add_to(app: typer.Typer) -> None:
    """Add this room's commands."""
    for command in (upload, cleanup):
        app.command()(command)


def upload(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A file that is already prepared, or its address.",
            show_default=False,
        ),
    ],
    destination: opt.Destination,
    *,
    profile: opt.OptionalProfile = None,
    name: opt.Name = None,
    if_exists: opt.IfExistsMode = opt.IfExists.FAIL,
    create: opt.Create = False,
    dry_run: bool = typer.Option(False, "--dry-run", help="Plan everything, store nothing."),
    verify: opt.Verify = opt.VerifyBy.MANIFEST,
    fail_on: opt.FailOnLevel = opt.FailOn.ERROR,
    strict: opt.Strict = False,
    allow: opt.Allow,
    connections: opt.Connections = None,
    identity: opt.IdentityBy = opt.Identity.STAT,
    job_dir: opt.JobDir = None,
    reports: opt.Reports,
    json: opt.Json = False,
    config: settings.ConfigFile = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    log: opt.Log = None,
    events: opt.Events = None,
    color: opt.ColorMode = opt.Color.AUTO,
) -> None:
    """Store a prepared FILE in DEST as it is.

    With --profile FILE is judged as it is, and refused when that cloud would refuse it. Without one, ISOs
    and files that are damaged or unsafe are refused. Resumable and checked.
    """
    from stages import for_upload

    del config, color  # read before everything else
    opt.require_place(destination, name)
    options = Options(
        guest="off" if profile is None else "auto",
        name=name,
        if_exists=if_exists.value,
        verify=verify.value,
        fail_on=fail_on.value,
        strict=strict,
        allow=jobs.waivers(allow),
        dry_run=dry_run,
        create=create or opt.is_local(destination),
        identity=identity.value,
        connections=connections,
    )
    if profile is not None:
        options = settings.for_job(ctx, options, profile, file)
    job = Job(file, profile, destination, options)
    out = output.parse(reports, json=json)
    audience = Audience(quiet, events, verbose, log)
    running.do(job, for_upload(), out, audience, job_dir=job_dir or jobs.state())


def cleanup(
    destination: opt.Destination,
    job: str | None = typer.Option(None, "--job", metavar="ID", help="Only what this job left."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List it, remove nothing."),
    force: bool = typer.Option(
        False, "--force", help="Also of uploads that seem to be running: they then send it again."
    ),
    job_dir: opt.JobDir = None,
    json: opt.AsJson = False,
    config: settings.ConfigFile = None,
    verbose: opt.Verbose = 0,
    log: opt.Log = None,
    color: opt.ColorMode = opt.Color.AUTO,
) -> None:
    """Remove what interrupted uploads left in DEST.

    Finished objects and what is not imgprep's are never touched. An upload that is running, here or on
    another machine, leaves a sign in the store; it is left alone until that sign is five minutes old.
    """
    from pipeline.cli.verbosity import logging_to
    from pipeline.journal import default_directory, jobs_at_work
    from pipeline.model import to_json
    from pipeline.reports import terminal
    from pipeline.stores.cleanup import cleanup as clean_up

    del config, color
    active = jobs_at_work(job_dir or default_directory())
    try:
        with logging_to(verbose, log):
            found = clean_up(destination, job=job, dry_run=dry_run, force=force, active=active)
    except StoreError as error:
        if error.code == "container-missing":  # whose usual remedy is an option of other commands
            error.hint = "check the name; where nothing is, nothing is left to clean up"
        raise
    if json:
        listed = [
            {**to_json(left.upload), "running": left.running, "removed": left.removed}
            for left in found
        ]
        typer.echo(json_module.dumps(listed, indent=2))
        return
    lines = [_left_line(left, dry_run=dry_run) for left in found]
    terminal.write_lines(lambda _width: lines, sys.stdout)
    if not found:
        typer.echo("no interrupted upload left anything here")


def _left_line(left: Left, *, dry_run: bool) -> terminal.StyledLine:
    upload = left.upload
    done = ("removed", "green") if left.removed else ("left alone", "yellow")
    if dry_run and not left.running:
        done = ("would remove", "bold")
    held = counted(upload.segments, "segment")
    taken = f", {size(upload.on_disk)} on the disk" if upload.on_disk is not None else ""
    when = f", last written {_minute(upload.modified)}" if upload.modified else ""
    running = left.running and not left.removed
    why = "; an upload is running, --force removes it all the same" if running else ""
    name = clean(upload.name, 1500) or "an object whose name was not written yet"
    rest = f": {held} of {size(upload.size)}{taken} (job {upload.job}{when}){why}"
    return [done, (": ", ""), (name, "bold"), (rest, "")]


def _minute(moment: str) -> str:
    try:
        return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:  # a server's own idea of a time
        return clean(moment, 60)
