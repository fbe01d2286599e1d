"""``--write-baseline FILE``: waivers for everything that is wrong today, so that only new things fail."""

from __future__ import annotations

import getpass
import json
import os
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

from pipeline.cli import output
from pipeline.errors import EnvironmentFailed, UsageError
from pipeline.journal import write_atomically
from pipeline.model import Finding, Report, Status

DAYS = 90
"""After so many days somebody has to look again."""


def require_new(path: Path) -> None:
    """Raise ``UsageError`` where there is a file already: its waivers were written by somebody.

    Raises ``EnvironmentFailed`` where this user may not make one.
    """
    if os.path.lexists(path):
        raise UsageError(
            "output-exists",
            f"--write-baseline {path}: it exists",
            hint="give the path of a new file, and move over what you want to keep",
        )
    if not path.absolute().parent.is_dir():
        raise UsageError(
            "output-directory-missing",
            f"--write-baseline {path}: there is no directory {str(path.parent)!r}",
            hint="make it first, or give another path",
        )
    output.require_writable(path, "--write-baseline")


def tell(path: Path, reports: Sequence[Report]) -> None:
    """Write it, and say so."""
    count = write(path, reports)
    waivers = "1 waiver" if count == 1 else f"{count} waivers"
    typer.echo(f"{path}: {waivers}; use it with --config {shlex.quote(str(path))}", err=True)


def write(path: Path, reports: Sequence[Report]) -> int:
    """Write the waivers of what fails in these reports; how many they are."""
    failing = {
        finding.rule: finding
        for report in reports
        for finding in report.findings
        if finding.status is Status.FAIL and not finding.gate and not _repaired(finding)
    }
    today = datetime.now(UTC).astimezone().date()
    head = (
        f"# What was wrong on {today.isoformat()}. Read each reason, name an owner, remove\n"
        "# what is fixed. "
        "imgprep reads this as .imgprep.toml in the working directory, or by --config FILE.\n"
    )
    expires = (today + timedelta(days=DAYS)).isoformat()
    tables = [
        f"\n[[waiver]]\nrule = {_text(rule)}\n"
        f"reason = {_text(f'baseline of {today.isoformat()}: {failing[rule].title}')}\n"
        f"owner = {_text(_owner())}\nexpires = {expires}\n"
        for rule in sorted(failing)
    ]
    try:
        write_atomically(path.absolute(), "".join([head, *tables]).encode(), mode=0o644)
    except OSError as error:
        raise EnvironmentFailed(
            "report-unwritable",
            f"the baseline cannot be written to {path}: {error.strerror}",
            hint="give a file in a directory that you may write to",
        ) from error
    return len(tables)


def _repaired(finding: Finding) -> bool:
    return finding.fixed_by == "convert" and finding.severity == "info"


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are among its own."""
    return json.dumps(value, ensure_ascii=False)


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        return "nobody yet"
