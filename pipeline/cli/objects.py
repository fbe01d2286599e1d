"""The commands about objects in a store: upload what is prepared already, clean up what was left."""

from __future__ import annotations

import typer

from pipeline.cli import options as opt


def add_to(app: typer.Typer) -> None:
    """Add this room's commands."""
    for command in (upload, cleanup):
        app.command()(command)


def upload(
    file: str = typer.Argument(
        ..., metavar="FILE", help="A local file that is already prepared.", show_default=False
    ),
    destination: opt.Destination = ...,  # type: ignore[assignment]
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
    raise NotImplementedError


def cleanup(
    destination: opt.Destination,
    job: str | None = typer.Option(None, "--job", metavar="ID", help="Only what this job left."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List it, remove nothing."),
    json: opt.Json = False,
) -> None:
    """Remove what interrupted uploads left in DEST.

    Finished objects, and what is not imgprep's, are never touched.
    """
    raise NotImplementedError
