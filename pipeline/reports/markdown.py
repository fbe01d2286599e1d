"""Markdown, for tickets, merge requests and ``$GITHUB_STEP_SUMMARY``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.model import JsonObject
from pipeline.reports import matrix
from pipeline.reports.summary import SEVERITIES, Line, Summary, summarize

_MARKS: Mapping[str, str] = {
    "accepted": "✅",
    "accepted-with-advice": "✅",
    "rejected": "❌",
    "undetermined": "❔",
    "failed": "💥",
    "interrupted": "⏸",
}
_HEADINGS: Mapping[str, str] = {"error": "Errors", "warning": "Warnings", "info": "Information"}


def render(report: JsonObject) -> str:
    """The report as Markdown (CommonMark with tables)."""
    return "\n".join(_document(summarize(report))) + "\n"


def render_several(reports: Sequence[JsonObject]) -> str:
    """A table of all, then each report one level below."""
    found = matrix.rows(reports)
    table = [f"# {escape(matrix.sentence(found))}", "", _HEAD, "|---|---|---|---|---|---|"]
    table += [_row(row) for row in found]
    below = ["\n" + re.sub(r"(?m)^#", "##", render(report)) for report in reports]
    return "\n".join([*table, *below])


_HEAD = "| Image | Profile | Verdict | First reasons | imgprep will fix | Target |"


def _row(row: matrix.Row) -> str:
    reasons = [f"{escape(title)} ({code(rule)})" for title, rule in row.reasons]
    reasons += [f"and {row.more} more"] if row.more else []
    cells = (
        escape(row.source),
        code(row.profile),
        f"{_MARKS[row.verdict]} {row.verdict}",
        "; ".join(reasons),
        ", ".join(code(rule) for rule in row.converted),
        escape(row.target),
    )
    return f"| {' | '.join(cells)} |"


def _document(summary: Summary) -> Iterator[str]:
    yield f"# {_MARKS[summary.verdict]} {escape(summary.source)}: {summary.verdict}"
    yield f"\n{escape(summary.sentence)}"
    if summary.profile:
        yield f"Profile {code(summary.profile)}; {summary.judged}."
    if summary.error:
        title, message, hint, name = summary.error
        yield f"\n**{escape(title)}** ({code(name)}): {escape(message)}\n\n{escape(hint)}"
    yield from _table("What the image is", summary.image)
    for severity in SEVERITIES:
        yield from _findings(
            _HEADINGS[severity], [line for line in summary.failed if line.severity == severity]
        )
    yield from _findings(summary.repair_title, summary.repaired, brief=True)
    yield from _findings("Allowed", summary.waived, brief=True)
    if summary.unknown:
        yield "\n## Not judged\n"
        for unknown in summary.unknown:
            yield f"- {escape(unknown.reason)} {', '.join(code(rule) for rule in unknown.rules)}"
    yield from _table("The result", summary.result)
    yield from _table("Stages", summary.stages)
    if summary.next_command:
        yield f"\nNext: {code(summary.next_command)}"
    yield f"\nimgprep {code(summary.version)}, {summary.started} to {summary.finished}"


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield f"\n## {title}\n\n| | |\n|---|---|"
        for label, value in rows:
            yield f"| {escape(label)} | {escape(value)} |"


def _findings(title: str, lines: Sequence[Line], *, brief: bool = False) -> Iterator[str]:
    if not lines:
        return
    yield f"\n## {title}\n"
    for line in lines:
        yield f"- **{escape(line.title)}** ({code(line.rule)})"
        for message in line.messages:
            yield f"  - {escape(message)}"
        if line.reason:
            yield f"  - {line.allowed}, because: {escape(line.reason)}"
        if brief:
            continue
        yield f"  - expected: {escape(line.expected)}"
        yield f"  - to do: {escape(line.remedy)}"
        if line.where:
            yield f"  - where: {', '.join(line.where)}"
        vendor = f"vendor's code {escape(line.vendor_code)}; " if line.vendor_code else ""
        yield f"  - {vendor}source: <{line.address}> ({escape(line.dated)})"


def escape(text: str) -> str:
    """``text`` as literal Markdown: no markup, no HTML, no table cell or list of its own."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|~])", r"\\\1", text)
    # "- ", "1. " and "# " begin a list or a heading only at the start of a line
    return re.sub(r"^(\d*)([-+#=.)])", r"\1\\\2", text)


def code(text: str) -> str:
    """``text`` as a code span, whatever backticks it holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"
