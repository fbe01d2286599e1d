"""Many reports at a glance: a line for each image and cloud, and one sentence about all of them.

reports (JSON) ──rows──▶ Row: cloud, verdict, first reasons, what is converted, target
               ──sentence──▶ "3 of 17 profiles take disk.qcow2: aws, gce, openstack."
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.model import JsonObject
from pipeline.reports.about_result import JUDGING, kept
from pipeline.reports.summary import Summary, profile_name, summarize
from pipeline.text import clean
from pipeline.text import size as short_size

MOST_REASONS = 2
"""Reasons that stand in a row; the report of that cloud alone has all."""

TAKEN = ("accepted", "accepted-with-advice")
_FOOTER = 512  # bytes behind a fixed VHD's disk
_OPTIONS = ("guest", *(name for name in JUDGING if name not in ("profile", "format")))


@dataclass(frozen=True)
class Row:
    """One image as one cloud sees it."""

    source: str
    profile: str
    verdict: str
    word: str  # the verdict, or that nothing was judged
    exit_code: int
    image: str  # what the image is, in few words
    reasons: tuple[tuple[str, str], ...]  # title and rule of the gravest, errors first
    more: int  # reasons that are not in the row
    not_judged: tuple[str, ...]  # why something could not be judged
    converted: tuple[str, ...]  # rules that the conversion meets …
    repair: str  # … or has met: "imgprep will fix", "imgprep fixed"
    target: str  # format and size of what would be made
    options: str  # of the command, as whoever asked gave them, but the profile


def rows(reports: Sequence[JsonObject]) -> tuple[Row, ...]:
    """A row for each report, in their order."""
    return tuple(_row(report, summarize(report)) for report in reports)


def _row(report: JsonObject, summary: Summary) -> Row:
    reasons = _reasons(summary)
    image = dict(summary.image)
    return Row(
        source=summary.source,
        profile=clean(profile_name(report)) if summary.profile else "",
        verdict=summary.verdict,
        word=summary.headline if summary.profile is None else summary.verdict,
        exit_code=summary.exit_code,
        image=", ".join(image[key] for key in ("format", "disk", "guest") if key in image),
        reasons=reasons[:MOST_REASONS],
        more=max(len(reasons) - MOST_REASONS, 0),
        not_judged=tuple(group.reason.rstrip(".") for group in summary.unknown),
        converted=tuple(line.rule for line in summary.repaired),
        repair=summary.repair,
        target=""
        if summary.stopped
        else _target((report.get("profile") or {}).get("target") or {}),
        options=kept(report["job"], *_OPTIONS),
    )


def _reasons(summary: Summary) -> tuple[tuple[str, str], ...]:
    """Why it is not simply accepted: the error of the job, what fails, what nobody could judge."""
    if summary.error:
        return ((summary.error[1], summary.error[3]),)
    failed = [(line.title, line.rule) for line in summary.failed if line.severity != "info"]
    count = sum(len(group.rules) for group in summary.unknown)
    not_judged = [(f"{count} not judged", summary.unknown[0].rules[0])] if count else []
    return (*failed, *not_judged)


def not_judged(found: Sequence[Row]) -> tuple[str, ...]:
    """Every reason why something could not be judged, once: most often they all have the same."""
    return tuple(dict.fromkeys(reason for row in found for reason in row.not_judged))


def _target(target: Mapping[str, object]) -> str:
    """What would be made, and how large: the file where its size is known beforehand."""
    words = [str(target[key]) for key in ("variant", "format", "packing") if target.get(key)]
    size = target.get("virtual_size")
    if not isinstance(size, int) or not words:
        return clean(" ".join(words))
    whole = target.get("format") == "raw" or target.get("variant") == "fixed"
    if whole and not target.get("packing"):
        file_size = size + (_FOOTER if target["format"] == "vhd" else 0)
        return f"{clean(' '.join(words))}, {short_size(file_size)}"
    return f"{clean(' '.join(words))}, disk {short_size(size)}"


def sentence(found: Sequence[Row]) -> str:
    """Who takes which image; of one profile, which images it takes; of none, what was looked at."""
    profiles = {row.profile for row in found}
    if profiles == {""}:
        unknown = sum(row.verdict == "rejected" for row in found)
        rest = f"; {unknown} of them are no disk images that imgprep knows" if unknown else ""
        return f"{len(found)} images inspected{rest}."
    if len(profiles) == 1 and len(found) > 1:
        taken = sum(row.verdict in TAKEN for row in found)
        parts = [f"{profiles.pop()} takes {taken or 'none'} of {len(found)} images"]
        for word in ("undetermined", "failed", "interrupted"):
            count = sum(row.verdict == word for row in found)
            parts += [f"{count} {word}"] if count else []
        return f"{', '.join(parts)}."
    return " ".join(_taken(source, found) for source in dict.fromkeys(row.source for row in found))


def _taken(source: str, found: Sequence[Row]) -> str:
    mine = [row for row in found if row.source == source]
    names = [row.profile for row in mine if row.verdict in TAKEN]
    open_ones = [row.profile for row in mine if row.verdict == "undetermined"]
    count = f"{len(names) or 'None'} of {len(mine)} profile{'' if len(mine) == 1 else 's'}"
    takes = "take" if len(names) > 1 else "takes"
    listed = f": {', '.join(names)}" if names else ""
    rest = f" Undetermined: {', '.join(open_ones)}." if open_ones else ""
    return f"{count} {takes} {source}{listed}.{rest}"


def next_command(found: Sequence[Row]) -> str | None:
    """What to type for the details of the first row that is not simply accepted."""
    other = next((row for row in found if row.verdict not in TAKEN), found[0] if found else None)
    if other is None:
        return None
    profile = f" --profile {shlex.quote(other.profile)}" if other.profile else ""
    return f"imgprep check {shlex.quote(other.source)}{profile}{other.options}"
