"""The readable summary on a terminal (or as plain text, where there is none).

disk.qcow2: accepted                       what it is, then what is wrong, then where the result is
✗ error   title  [rule]                    each finding: what was seen, what is expected, what to do
? 25 requirements were not judged          unknown ones together, with their common reason
next: imgprep run …                        always one thing to do
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TextIO

from pipeline.model import JsonObject
from pipeline.reports import matrix
from pipeline.reports.summary import Line, Summary, summarize

Styled = tuple[str, str]  # text and style …
StyledLine = Sequence[Styled]  # … make a line

_VERDICT_STYLES: Mapping[str, str] = {
    "accepted": "bold green",
    "accepted-with-advice": "bold green",
    "rejected": "bold red",
    "undetermined": "bold yellow",
    "failed": "bold red",
    "interrupted": "bold yellow",
}
_MARKS: Mapping[str, tuple[str, str]] = {
    "error": ("✗ error", "bold red"),
    "warning": ("! warning", "yellow"),
    "info": ("i info", "cyan"),
}
WIDEST = 110
PLAIN_WIDTH = 100
"""Columns where there is no terminal and ``COLUMNS`` is not set."""
MOST_MESSAGES = 5
"""Pieces of evidence of one rule that are shown; the other reports hold all."""
MOST_RULES = 4
"""Rules of one reason that are named; a list of dozens belongs into the other reports."""


def write(report: JsonObject, out: TextIO) -> None:
    """Write the summary of a report's JSON; ``rich`` is loaded only where there are colours."""
    summary = summarize(report)
    write_lines(lambda width: lines(summary, width), out)


def write_several(reports: Sequence[JsonObject], out: TextIO) -> None:
    """Write the matrix of several reports' JSON."""
    found = matrix.rows(reports)
    write_lines(lambda width: matrix_lines(found, width), out)


def write_lines(made: Callable[[int], Iterable[StyledLine]], out: TextIO) -> None:
    """Write what ``made`` gives for a width in columns."""
    if not os.environ.get("NO_COLOR") and (out.isatty() or os.environ.get("FORCE_COLOR")):
        _write_styled(made, out)
        return
    width = min(shutil.get_terminal_size((PLAIN_WIDTH, 0)).columns, WIDEST)
    plain = ("".join(text for text, _ in line) + "\n" for line in made(width))
    out.writelines(_encodable(line, out.encoding) for line in plain)


def _write_styled(made: Callable[[int], Iterable[StyledLine]], out: TextIO) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, soft_wrap=True)
    for line in made(min(console.width, WIDEST)):
        parts = ((_encodable(text, out.encoding), style) for text, style in line)
        console.print(Text.assemble(*parts))


def _encodable(text: str, encoding: str | None) -> str:
    """A stream that knows no UTF-8 (LANG=C) shows a question mark, it does not end the program."""
    name = encoding or "utf-8"
    return text.encode(name, "replace").decode(name)


def lines(summary: Summary, width: int = PLAIN_WIDTH) -> Iterator[StyledLine]:
    """The summary as styled lines of at most ``width`` columns, commands and addresses excepted."""
    yield [(summary.source, "bold"), (": ", ""), _verdict(summary)]
    yield from _paragraph(summary.sentence, width)
    if summary.profile:
        yield from _paragraph(f"Profile {summary.profile}; {summary.judged}.", width, "dim")
    if summary.error:
        yield from _error(summary.error, width)
    yield from _pairs("what it is", summary.image, width)
    for line in summary.failed:
        yield from _finding(line, width)
    if summary.waived:
        yield []
        for line in summary.waived:
            mark = (
                (f"✓ {line.allowed}: ", "green")
                if line.judged
                else (f"? {line.allowed}: ", "yellow")
            )
            yield [mark, (line.title, ""), (f"  [{line.rule}]", "dim")]
            yield from _wrapped("because", line.reason or "", width)
    yield from _repaired(summary, width)
    yield from _not_judged(summary, width)
    yield from _pairs("the result", summary.result, width)
    if summary.next_command:
        yield []
        yield [("next: ", "dim"), (summary.next_command, "bold")]


def _verdict(summary: Summary) -> Styled:
    inspected = summary.profile is None and summary.verdict == "undetermined"
    return (summary.headline, "bold" if inspected else _VERDICT_STYLES[summary.verdict])


def _error(error: tuple[str, str, str, str], width: int) -> Iterator[StyledLine]:
    title, message, hint, code = error
    yield []
    yield [("✗ ", "bold red"), (title, "bold"), (f"  [{code}]", "dim")]
    yield from _wrapped("seen", message, width)
    if hint:
        yield from _wrapped("to do", hint, width)


def _pairs(title: str, pairs: Sequence[tuple[str, str]], width: int) -> Iterator[StyledLine]:
    if not pairs:
        return
    yield []
    yield [(title, "bold")]
    for label, value in pairs:
        if value.count(" ") < 2:
            yield [(f"  {label:<10}", "dim"), (value, "")]  # may be copied: never broken
        else:
            yield from _wrapped(label, value, width)


def _finding(line: Line, width: int) -> Iterator[StyledLine]:
    mark, style = _MARKS[line.severity]
    vendor = f", the vendor's error {line.vendor_code}" if line.vendor_code else ""
    yield []
    name = f"[{line.rule}{vendor}]"
    head = [(mark, style), (f" {line.title}", "bold")]
    if len(mark) + len(line.title) + len(name) + 3 <= width:
        yield [*head, (f"  {name}", "dim")]
    else:
        yield head
        yield [(f"  {name}", "dim")]
    for message in line.messages[:MOST_MESSAGES]:
        yield from _wrapped("seen", message, width)
    if len(line.messages) > MOST_MESSAGES:
        yield from _wrapped("", f"and {len(line.messages) - MOST_MESSAGES} more", width)
    yield from _wrapped("expected", line.expected, width)
    yield from _wrapped("to do", line.remedy, width)


def _repaired(summary: Summary, width: int) -> Iterator[StyledLine]:
    if not summary.repaired:
        return
    yield []
    yield [(summary.repair_title, "bold")]
    for line in summary.repaired:
        yield from _wrapped("", f"{line.messages[0]}  [{line.rule}]", width)


def _not_judged(summary: Summary, width: int) -> Iterator[StyledLine]:
    for unknown in summary.unknown:
        yield []
        verb = "was" if len(unknown.rules) == 1 else "were"
        yield [(f"? {unknown.count} {verb} not judged", "yellow")]
        yield from _wrapped("because", unknown.reason, width)
        if len(unknown.rules) <= MOST_RULES:
            yield from _wrapped("these", ", ".join(unknown.rules), width)
    if any(len(unknown.rules) > MOST_RULES for unknown in summary.unknown):
        yield from _wrapped("", "every report (--report, --json) names them", width)


def _paragraph(text: str, width: int, style: str = "") -> Iterator[StyledLine]:
    for piece in textwrap.wrap(text, width - 2, break_long_words=False, break_on_hyphens=False):
        yield [(f"  {piece}", style)]


def _wrapped(label: str, text: str, width: int) -> Iterator[StyledLine]:
    pieces = textwrap.wrap(
        text, max(width - 12, 20), break_long_words=False, break_on_hyphens=False
    )
    for number, piece in enumerate(pieces or [""]):
        yield [(f"  {label if number == 0 else '':<10}", "dim"), (piece, "")]


# --- several reports -----------------------------------------------------------------------------

_VERDICT_MARKS: Mapping[str, str] = {"accepted": "✓", "accepted-with-advice": "✓", "rejected": "✗"}


def matrix_lines(found: Sequence[matrix.Row], width: int = PLAIN_WIDTH) -> Iterator[StyledLine]:
    """A line for each image and cloud, with the first reasons below it."""
    by_image = len({row.profile for row in found}) == 1 and len(found) > 1
    names = min(max((len(_name(row, by_image)) for row in found), default=0), 48) + 2
    for source in dict.fromkeys(row.source for row in found):
        mine = [row for row in found if row.source == source]
        if not by_image:
            yield [(source, "bold")]
            for piece in textwrap.wrap(mine[0].image, width - 2) if mine[0].image else ():
                yield [(f"  {piece}", "dim")]
            yield []
        for row in mine:
            yield from _row(row, _name(row, by_image), names, width)
        yield from [] if by_image else [[]]
    yield from [[]] if by_image else []
    for text in (
        *(f"Not judged: {reason}." for reason in matrix.not_judged(found)),
        matrix.sentence(found),
    ):
        yield from _paragraph(text, width)
    command = matrix.next_command(found)
    if command:
        yield [("next: ", "dim"), (command, "bold")]


def _name(row: matrix.Row, by_image: bool) -> str:
    """What tells a row from the others."""
    return row.source if by_image else row.profile


def _row(row: matrix.Row, name: str, names: int, width: int) -> Iterator[StyledLine]:
    mark = _VERDICT_MARKS.get(row.verdict, "?")
    style = _VERDICT_STYLES[row.verdict]
    head = [(f"{mark} ", style), (f"{name:<{names}}", ""), (f"{row.word:<22}", style)]
    shown = row.image if not row.profile else row.target
    fits = max(names, len(name)) + 24 + len(shown) <= width
    yield [*head, (shown, "dim")] if fits else head
    indent = " " * (names + 2)
    reasons = [f"{title} [{rule}]" for title, rule in row.reasons]
    reasons += [f"and {row.more} more"] if row.more else []
    converted = f"{row.repair}: {', '.join(row.converted)}" if row.converted else ""
    for text in ("" if fits else shown, "; ".join(reasons), converted):
        pieces = textwrap.wrap(
            text, width - len(indent), break_long_words=False, break_on_hyphens=False
        )
        yield from ([(f"{indent}{piece}", "dim")] for piece in pieces)
