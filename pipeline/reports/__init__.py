"""Every view of a report, made from its JSON alone.

``render`` is for programs, ``print_summary`` for people.  A kind is one module; it gets JSON and
returns text.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
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


def render(kind: str, report: Report | JsonObject) -> str:
    """The report as text of one of ``KINDS``, ending in a newline."""
    module = importlib.import_module(f"pipeline.reports.{_MODULES[kind]}")
    text: str = module.render(as_json(report))
    # A file name that is no UTF-8 has lone surrogates; \\udcff is also how JSON writes one.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def print_summary(report: Report | JsonObject, out: TextIO) -> None:
    """The readable summary, in colour where ``out`` is a terminal and ``NO_COLOR`` is not set."""
    from pipeline.reports import terminal

    terminal.write(as_json(report), out)


def as_json(report: Report | JsonObject) -> JsonObject:
    """The report's JSON, whether it was just made or read from a file."""
    found: JsonObject = to_json(report) if isinstance(report, Report) else report
    return found
