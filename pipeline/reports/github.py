"""GitHub workflow commands: one annotation a finding, unknown ones together.

https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
A table for ``$GITHUB_STEP_SUMMARY`` is the markdown report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.model import JsonObject
from pipeline.reports.summary import Line, Summary, profile_name, summarize

_COMMANDS: Mapping[str, str] = {"error": "error", "warning": "warning", "info": "notice"}


def render(report: JsonObject) -> str:
    """The report as workflow commands, one a line."""
    summary = summarize(report)
    return "\n".join(_commands(summary)) + "\n"


def render_several(reports: Sequence[JsonObject]) -> str:
    """The reports as workflow commands, one report after the other."""
    lines: list[str] = []
    for report in reports:
        lines += _commands(summarize(report), f"{profile_name(report)}: ")
    return "\n".join(lines) + "\n"


def _commands(summary: Summary, prefix: str = "") -> Iterator[str]:
    """The commands; ``prefix`` stands before each title and tells several reports apart."""
    for name, title, message in _annotations(summary):
        yield _command(name, summary, f"{prefix}{title}", message)


def _annotations(summary: Summary) -> Iterator[tuple[str, str, str]]:
    if summary.error:
        title, message, hint, code = summary.error
        yield "error", f"{title} ({code})", f"{message}\n{hint}".strip()
    for line in summary.failed:
        yield _COMMANDS[line.severity], _title(line), _body(line)
    for line in summary.waived:
        yield "notice", f"{line.allowed}: {_title(line)}", line.reason or ""
    for unknown in summary.unknown:
        names = ", ".join(unknown.rules)
        count = len(unknown.rules)
        yield (
            "warning",
            f"{count} not judged",
            f"Because {unknown.reason} Not judged: {names}",
        )
    yield _level(summary), f"imgprep: {summary.verdict}", _closing(summary)


def _level(summary: Summary) -> str:
    """The last line's: what the exit code calls a failure is an error."""
    if summary.exit_code:
        return "error"
    return "warning" if summary.verdict in ("rejected", "undetermined") else "notice"


def _closing(summary: Summary) -> str:
    if summary.profile is None:
        return summary.sentence
    return f"{summary.sentence} Profile {summary.profile}; {summary.judged}."


def _title(line: Line) -> str:
    return f"{line.title} ({line.rule})"


def _body(line: Line) -> str:
    code = f"\nvendor's code: {line.vendor_code}" if line.vendor_code else ""
    return "\n".join(line.messages) + f"\nexpected: {line.expected}\nto do: {line.remedy}{code}"


def _command(name: str, summary: Summary, title: str, message: str) -> str:
    return f"::{name} file={_value(summary.source)},title={_value(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
