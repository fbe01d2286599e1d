"""The commands about objects in a store: upload what is prepared already, clean up what was left."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import jobs, output, running, streams
from pipeline.cli import options as opt
from pipeline.cli.running import Audience
from pipeline.errors import StoreError
from pipeline.model import Job, Options
from pipeline.text import clean, size

if TYPE_CHECKING:
    from pipeline.stores.cleanup import Left


def add_to(app: typer.Typer) -> None:
    """Add this room's commands."""
    for command in (upload, cleanup):
        app.command()(command)


def upload(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A local file that is already prepared.", show_default=False
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
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    events: opt.Events = None,
) -> None:
    """Store a prepared FILE in DEST as it is.

    With --profile FILE is judged as it is, and refused when that cloud would refuse it. Without one, ISOs
    and files that are damaged or unsafe are refused. Resumable and checked.
    """
    from stages import for_upload

    opt.require_place(destination, name)
    job = Job(
        file,
        profile,
        destination,
        Options(
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
        ),
    )
    out = output.parse(reports, json=json)
    audience = Audience(quiet, events, verbose)
    running.do(job, for_upload(), out, audience, job_dir=job_dir or jobs.state())


def cleanup(
    destination: opt.Destination,
    job: str | None = typer.Option(None, "--job", metavar="ID", help="Only what this job left."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List it, remove nothing."),
    force: bool = typer.Option(
        False, "--force", help="Also of uploads that seem to be running: they then send it again."
    ),
    job_dir: opt.JobDir = None,
    json: opt.Json = False,
    verbose: opt.Verbose = 0,
) -> None:
    """Remove what interrupted uploads left in DEST.

    Finished objects and what is not imgprep's are never touched. An upload that is running, here or on
    another machine, leaves a sign in the store; it is left alone until that sign is five minutes old.
    """
    from pipeline.journal import default_directory, jobs_at_work
    from pipeline.model import to_json
    from pipeline.stores.cleanup import cleanup as clean_up

    streams.show_requests(bool(verbose))
    active = jobs_at_work(job_dir or default_directory())
    try:
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
    for left in found:
        typer.echo(_left_words(left, dry_run=dry_run))
    if not found:
        typer.echo("no interrupted upload left anything here")


def _left_words(left: Left, *, dry_run: bool) -> str:
    upload = left.upload
    done = "removed" if left.removed else "left alone"
    if dry_run and not left.running:
        done = "would remove"
    when = f", last touched {upload.modified}" if upload.modified else ""
    held = "1 segment" if upload.segments == 1 else f"{upload.segments} segments"
    why = "; an upload is running, --force removes it all the same" if left.running else ""
    why = "" if left.removed else why
    name = clean(upload.name, 1500)
    return f"{done} {held}, {size(upload.size)}, of {name} (job {upload.job}{when}){why}"
