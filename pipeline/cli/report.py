"""``imgprep report convert``: an old report, shown anew as any other kind."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli import options as opt
from pipeline.cli import output
from pipeline.errors import EnvironmentFailed, UsageError

MOST_BYTES = 256 << 20


def add_to(app: typer.Typer) -> None:
    """Add ``report`` and what can be done with one."""
    group = typer.Typer(name="report", help="Work with reports that were written before.")
    group.command()(convert)
    group.callback()(_group)
    app.add_typer(group)


def _group() -> None:
    """Work with reports that were written before."""


def convert(
    report: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT.json",
            help="What --report json=… or --json wrote: one report, or an array of several.",
            show_default=False,
        ),
    ],
    *,
    reports: opt.Reports,
    color: opt.ColorMode = opt.Color.AUTO,
) -> None:
    """Show an old report anew, as any kind.

    Without --report as the readable summary.
    """
    del color
    found = _read(report)
    out = output.parse(reports, json=False)
    opt.require_other_files(str(report), out.files)
    out.rewrite(found)


def _read(path: Path) -> Any:
    """The report or reports; raises ``UsageError`` with everything that is wrong with them."""
    from pipeline.reports import whole

    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise EnvironmentFailed(
            "report-unreadable", f"{path}: {error.strerror}", hint="check the path"
        ) from error
    if len(data) > MOST_BYTES:
        raise _invalid(path, "it is larger than 256 MiB")
    try:
        found = json_module.loads(data)
        for item in found if isinstance(found, list) else [found]:
            whole.validate(item)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, str(error)) from error
    if not found:
        raise _invalid(path, "it holds no report")
    return found


def _invalid(path: Path, why: str) -> UsageError:
    return UsageError(
        "report-invalid",
        f"{path} is no report of imgprep: {why}",
        hint="give a file that --report json=PATH wrote",
    )
