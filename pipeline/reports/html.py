"""One HTML page without scripts and without anything from elsewhere; the template escapes all."""

from __future__ import annotations

from pathlib import Path

from pipeline.model import JsonObject
from pipeline.reports.summary import SEVERITIES, summarize

TEMPLATES = Path(__file__).parent / "templates"


def render(report: JsonObject) -> str:
    """The report as a self-contained page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(summary=summarize(report), severities=SEVERITIES, report=report)
