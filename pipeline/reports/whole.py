"""The report itself: JSON, checked against ``schemas/report.schema.json`` before it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.model import JsonObject


class InvalidReport(ValueError):
    """A report that breaks its own schema.  Whoever made it has a bug; exit code 70."""


def render(report: JsonObject) -> str:
    """The checked report as indented JSON.  Raises ``InvalidReport``."""
    validate(report)
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def render_several(reports: Sequence[JsonObject]) -> str:
    """The checked reports as an indented JSON array.  Raises ``InvalidReport``."""
    for report in reports:
        validate(report)
    return json.dumps(list(reports), indent=2, ensure_ascii=False) + "\n"


def validate(report: JsonObject) -> None:
    """Raise ``InvalidReport`` with everything that is wrong with a report."""
    from pipeline.profile import schemas

    problems = schemas.problems("report", report)
    if problems:
        raise InvalidReport("; ".join(problems))
