"""One HTML page without scripts and without anything from elsewhere; the template escapes all.

report.html.j2    the order of things           style.css    light, dark, printed, from 320 px on
parts.html.j2     a finding, the drawings, a table
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.model import JsonObject
from pipeline.reports import matrix, pictures
from pipeline.reports.summary import SEVERITIES, Summary, summarize

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Entry:
    """One report on the page."""

    summary: Summary
    pictures: pictures.Pictures
    passed: Sequence[str]


def render(report: JsonObject) -> str:
    """The report as a self-contained page."""
    return _page([report], ())


def render_several(reports: Sequence[JsonObject]) -> str:
    """One page: a table of all, then each report."""
    return _page(reports, matrix.rows(reports))


def _page(reports: Sequence[JsonObject], rows: Sequence[matrix.Row]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    entries = [
        _Entry(
            summarize(report),
            pictures.draw(report),
            () if summarize(report).stopped else report["passed"],
        )
        for report in reports
    ]
    title = matrix.sentence(rows) if rows else None
    return template.render(entries=entries, matrix=rows, title=title, severities=SEVERITIES)
