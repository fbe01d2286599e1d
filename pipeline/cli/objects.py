"""The commands about objects in a store: upload what is prepared already, clean up what was left."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import options as opt
from pipeline.errors import StoreError
from pipeline.text import clean, size

if TYPE_CHECKING:
    from pipeline.events import Monitor
    from pipeline.model import Receipt
    from pipeline.source import Source
    from pipeline.stores.prepared import FileOptions
    from pipeline.transfer.protocol import Unfinished
    from pipeline.transfer.upload import Handles


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
    name: opt.Name = None,
    if_exists: opt.IfExistsMode = opt.IfExists.FAIL,
    create: opt.Create = False,
    dry_run: bool = typer.Option(False, "--dry-run", help="Plan everything, store nothing."),
    verify: opt.Verify = opt.VerifyBy.MANIFEST,
    connections: opt.Connections = None,
    job_dir: opt.JobDir = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    events: opt.Events = None,
) -> None:
    """Store a prepared FILE in DEST as it is.

    Resumable and checked, but not judged by any profile.
    """
    from pipeline.cli.monitors import monitors
    from pipeline.model import to_json
    from pipeline.source import Source
    from pipeline.stores import prepared

    chosen = prepared.FileOptions(
        name=name,
        if_exists=if_exists.value,
        create=create or opt.is_local(destination),
        connections=connections,
        verify=verify.value,
    )

    def tell(words: str, data: object) -> None:
        typer.echo(json_module.dumps(data, indent=2) if json else words)

    opt.require_other_files(file, [events] if events else [])
    with Source.open(file) as source, monitors(quiet=quiet, events=events) as monitor:
        if dry_run:
            plan = prepared.plan_file(source, destination, chosen)
            tell(f"nothing was stored: {plan.words()}", to_json(plan))
        else:
            with _stored(source, destination, chosen, job_dir, monitor) as receipt:
                tell(_receipt_words(receipt), to_json(receipt))


@contextmanager
def _stored(
    source: Source,
    destination: str,
    chosen: FileOptions,
    job_dir: Path | None,
    monitor: Monitor,
) -> Iterator[Receipt]:
    """What was stored.  The job ends behind the block: who was killed before has not seen it yet."""
    from pipeline.journal import default_directory, open_journal
    from pipeline.stores import prepared

    job_id = prepared.file_job_id(source, destination, chosen.name)
    with (
        open_journal(job_dir or default_directory(), job_id) as journal,
        _handles(journal, monitor) as handles,
    ):
        receipt = prepared.upload_file(source, destination, chosen, handles)
        yield receipt
        journal.finish()


@contextmanager
def _handles(notebook: object, monitor: Monitor) -> Iterator[Handles]:
    from pipeline.cli.signals import cancel_on_signals
    from pipeline.events import Note, Progress, StageStarted
    from pipeline.transfer.retry import RetryPolicy
    from pipeline.transfer.upload import Handles

    with cancel_on_signals() as cancellation:
        monitor(StageStarted("upload"))
        yield Handles(
            notebook,  # type: ignore[arg-type]
            cancellation,
            RetryPolicy.from_environment(),
            progress=lambda done, total: monitor(Progress("upload", done, total)),
            note=lambda text: monitor(Note("upload", text)),
        )


def _receipt_words(receipt: Receipt) -> str:
    reused = f", {size(receipt.reused_bytes)} were there already" if receipt.reused_bytes else ""
    checksum = f", {receipt.checksum}" if receipt.checksum else ""
    return (
        f"stored {size(receipt.size)} as {clean(receipt.url, 3000)}: "
        f"{size(receipt.sent_bytes)} sent{reused}; proved by {receipt.verified}{checksum}"
    )


def cleanup(
    destination: opt.Destination,
    job: str | None = typer.Option(None, "--job", metavar="ID", help="Only what this job left."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List it, remove nothing."),
    job_dir: opt.JobDir = None,
    json: opt.Json = False,
) -> None:
    """Remove what interrupted uploads left in DEST.

    Finished objects, what is not imgprep's, and the uploads of jobs that this machine is working
    on right now are never touched.
    """
    from pipeline.journal import default_directory, jobs_at_work
    from pipeline.model import to_json
    from pipeline.stores.cleanup import cleanup as clean_up

    active = jobs_at_work(job_dir or default_directory())
    try:
        found = clean_up(destination, job=job, dry_run=dry_run, active=active)
    except StoreError as error:
        if error.code == "container-missing":  # whose usual remedy is an option of other commands
            error.hint = "check the name; where nothing is, nothing is left to clean up"
        raise
    if json:
        typer.echo(json_module.dumps([to_json(left) for left in found], indent=2))
        return
    for left in found:
        typer.echo(_left_words(left, dry_run=dry_run))
    if not found:
        typer.echo("no interrupted upload left anything here")


def _left_words(left: Unfinished, *, dry_run: bool) -> str:
    done = "would remove" if dry_run else "removed"
    when = f", last touched {left.modified}" if left.modified else ""
    held = "1 segment" if left.segments == 1 else f"{left.segments} segments"
    return f"{done} {held}, {size(left.size)}, of {clean(left.name, 1500)} (job {left.job}{when})"
