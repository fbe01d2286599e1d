"""Every view of a report, made from its JSON alone.

``render`` is for programs, ``print_summary`` for people.  A kind is one module; it gets JSON and
returns text.  Several reports (images, profiles, or both) become one document: ``render_several``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TextIO

from pipeline.model import JsonObject, Report, to_json

_MODULES: Mapping[str, str] = {
    "json": "whole",
    "junit": "junit",
    "sarif": "sarif",
    "markdown": "markdown",
    "html": "html",
    "github": "github",
}
KINDS = tuple(_MODULES)


Found = Report | JsonObject
"""A report that was just made, or its JSON read from a file."""


def render(kind: str, found: Found | Sequence[Found]) -> str:
    """One report, or several as one document, as text of one of ``KINDS``, ending in a newline."""
    module = importlib.import_module(f"pipeline.reports.{_MODULES[kind]}")
    text: str
    if isinstance(found, Report | Mapping):
        text = module.render(as_json(found))
    else:
        text = module.render_several([as_json(each) for each in found])
    # A file name that is no UTF-8 has lone surrogates; \\udcff is also how JSON writes one.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def print_summary(found: Found | Sequence[Found], out: TextIO) -> None:
    """The readable summary, in colour where ``out`` is a terminal and ``NO_COLOR`` is not set.

    Of several reports a matrix.
    """
    from pipeline.reports import terminal

    if isinstance(found, Report | Mapping):
        terminal.write(as_json(found), out)
    else:
        terminal.write_several([as_json(each) for each in found], out)


def as_json(report: Found) -> JsonObject:
    """The report's JSON, whether it was just made or read from a file."""
    found: JsonObject = to_json(report) if isinstance(report, Report) else report
    return found
