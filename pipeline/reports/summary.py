"""What a person wants to know of a report, in the order in which they want to know it.

    Report (JSON) ──summarize──▶ Summary ──▶ terminal, markdown, html, github
                       ├── about_image.py   what the image is; about_guest.py: the system inside
                       └── about_result.py  what was made, and what to do next

Only the report's JSON is looked at: a report that was stored yesterday gives the same summary.
Every string in a ``Summary`` is clean of control characters; markup is the renderer's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.model import JsonObject
from pipeline.profile.templates import NOT_JUDGED
from pipeline.reports import about_image, about_result
from pipeline.text import clean, counted, duration

SEVERITIES = ("error", "warning", "info")

VERDICTS: Mapping[str, str] = {
    "accepted": "The image meets every requirement.",
    "accepted-with-advice": "The image meets every requirement that decides; there is advice.",
    "rejected": "The image does not meet the requirements.",
    "undetermined": "Not everything could be judged.",
    "failed": "The job failed; this is no verdict on the image.",
    "interrupted": "The job was interrupted.",
}

Repair = Literal["will", "done", "none"]
"""Whether the conversion will fix what it can fix, has fixed it, or has nothing to do with it."""

REPAIRS: Mapping[Repair, str] = {"will": "imgprep will fix", "done": "imgprep fixed"}


@dataclass(frozen=True)
class Line:
    """One finding of one rule, for people."""

    rule: str
    severity: str
    title: str
    messages: tuple[str, ...]  # one for each piece of evidence
    expected: str
    remedy: str
    address: str  # of the source
    dated: str  # the source's date, and what is to be said about it
    vendor_code: str | None
    where: tuple[str, ...]  # byte ranges, or the fact's path
    reason: str | None = None  # of a waiver
    judged: bool = True  # a waiver may also meet what nobody could judge

    @property
    def allowed(self) -> str:
        """What a waiver did here."""
        return "allowed" if self.judged else "allowed, not judged"


@dataclass(frozen=True)
class Unknown:
    """Requirements that could not be judged, for one and the same reason."""

    reason: str
    rules: tuple[str, ...]

    @property
    def count(self) -> str:
        """``1 requirement``, ``29 requirements``."""
        return counted(len(self.rules), "requirement")


@dataclass(frozen=True)
class Summary:
    """Everything that a readable report shows."""

    source: str
    profile: str | None  # None: nothing was judged
    verdict: str
    headline: str  # the verdict, and what was done all the same
    sentence: str
    exit_code: int
    stopped: bool  # it goes no further, whatever anybody allows
    image: tuple[tuple[str, str], ...]  # label and value: what the image is
    judged: str  # how many requirements came out how
    failed: tuple[Line, ...]  # errors first
    repaired: tuple[Line, ...]  # what the conversion fixes …
    repair: str  # … or has fixed: "imgprep fixed"
    waived: tuple[Line, ...]
    unknown: tuple[Unknown, ...]  # none of an image that goes no further
    result: tuple[tuple[str, str], ...]  # label and value: what was made, and where it is
    stages: tuple[tuple[str, str], ...]
    error: tuple[str, str, str, str] | None  # title, message, hint, code
    next_command: str | None
    started: str
    finished: str
    version: str

    @property
    def repair_title(self) -> str:
        """What stands above the requirements that a conversion meets."""
        return f"{self.repair} during conversion"


def summarize(report: JsonObject) -> Summary:
    """The summary of a report's JSON."""
    findings = report["findings"]
    failed = [item for item in findings if item["status"] == "fail"]
    error = report["error"]
    judged = is_judged(report)
    repair = _repair(report)
    return Summary(
        source=clean(report["job"]["source"]),
        profile=clean(profile_name(report)) if judged else None,
        verdict=report["verdict"],
        headline=about_result.headline(report, judged=judged),
        sentence=_sentence(report, judged=judged),
        exit_code=report["exit_code"],
        stopped=stopped(report),
        image=tuple(about_image.rows(report["facts"], whole=not judged)),
        judged=_counts(report, repair),
        failed=tuple(_lines(item for item in failed if not is_repairable(item))),
        repaired=tuple(_lines(filter(is_repairable, failed))) if repair != "none" else (),
        repair=REPAIRS.get(repair, ""),
        waived=tuple(_lines(item for item in findings if item["status"] == "waived")),
        unknown=() if stopped(report) else tuple(_unknown(findings)),
        result=tuple(about_result.rows(report)),
        stages=tuple(_stages(report["stages"])),
        error=_error(error) if error else None,
        next_command=about_result.next_command(report, judged=judged),
        started=_moment(report["started"]),
        finished=_moment(report["finished"]),
        version=report["imgprep_version"],
    )


def profile_name(report: JsonObject) -> str:
    """The profile that judged; an alias only where the report does not know better."""
    found = report.get("profile")
    return str(found["name"] if found else report["job"]["profile"])


def is_judged(report: JsonObject) -> bool:
    """Whether a profile was asked at all."""
    return bool(report["findings"]) or any(stage["name"] == "check" for stage in report["stages"])


def is_repairable(finding: JsonObject) -> bool:
    """Whether a finding is only what a conversion to the profile's target changes anyway."""
    return finding.get("fixed_by") == "convert" and finding["severity"] == "info"


def stopped(report: JsonObject) -> bool:
    """Whether the image is one that goes no further, whatever anybody allows."""
    return any(item.get("gate") and item["status"] == "fail" for item in report["findings"])


def _repair(report: JsonObject) -> Repair:
    wanted = report["job"]["options"].get("format")
    target = ((report.get("profile") or {}).get("target") or {}).get("format")
    if stopped(report) or (wanted is not None and wanted != target):
        return "none"
    return "done" if about_result.is_made(report) else "will"


def _error(error: JsonObject) -> tuple[str, str, str, str]:
    keys = ("title", "message", "hint", "code")
    title, message, hint, code = (clean(error[key], 2000) for key in keys)
    return title, message, hint, code


def _sentence(report: JsonObject, *, judged: bool) -> str:
    verdict = report["verdict"]
    if not judged and verdict not in ("failed", "interrupted"):
        return "No requirement was judged."
    if verdict == "undetermined" and not report["findings"]:
        return "No requirement was judged."
    if verdict == "interrupted" and report["error"]:
        return f"{VERDICTS[verdict]} To go on, {clean(report['error']['hint'])}."
    return VERDICTS[verdict]


def _counts(report: JsonObject, repair: Repair) -> str:
    rules = {
        status: {item["rule"] for item in report["findings"] if item["status"] == status}
        for status in ("fail", "unknown", "waived")
    }
    repaired = {
        item["rule"]
        for item in report["findings"]
        if item["status"] == "fail" and is_repairable(item)
    }
    if stopped(report):
        broken = len(rules["fail"] - repaired)
        return f"{counted(broken, 'requirement')} not met; the others do not matter before that"
    after = {"will": "met after the conversion", "done": "met by the conversion"}
    parts = (
        (len(report["passed"]), "met"),
        (len(rules["fail"] - repaired), "not met"),
        (len(repaired), after.get(repair, "of the profile's own format, not judged")),
        (len(rules["waived"]), "allowed"),
        (len(rules["unknown"]), "not judged"),
        (len(report["not_applicable"]), "not applicable"),
    )
    total = sum(count for count, _ in parts)
    return f"{counted(total, 'requirement')}: " + ", ".join(
        f"{count} {word}" for count, word in parts if count
    )


def _lines(findings: Iterable[JsonObject]) -> list[Line]:
    by_rule: dict[str, list[JsonObject]] = {}
    for finding in findings:
        by_rule.setdefault(finding["rule"], []).append(finding)
    lines = [_line(group) for group in by_rule.values()]
    return sorted(lines, key=lambda line: SEVERITIES.index(line.severity))


def _line(group: Sequence[JsonObject]) -> Line:
    first = group[0]
    note = first["source"].get("note")
    return Line(
        rule=first["rule"],
        severity=first["severity"],
        title=clean(first["title"]),
        messages=tuple(dict.fromkeys(clean(item["message"], 1000) for item in group)),
        expected=clean(first["expected"], 1000),
        remedy=clean(first["remedy"], 2000),
        address=clean(first["source"]["address"], 2000),
        dated=f"{clean(first['source']['date'])}; {clean(note)}"
        if note
        else first["source"]["date"],
        vendor_code=first.get("vendor_code"),
        where=tuple(dict.fromkeys(_where(item["range"]) for item in group if "range" in item)),
        reason=clean(first["reason"]) if first.get("reason") else None,
        judged=not first["message"].startswith(NOT_JUDGED),
    )


def _where(found: JsonObject) -> str:
    offset, length = found["offset"], found["length"]
    return f"byte {offset}" if length < 2 else f"bytes {offset}-{offset + length - 1}"


def _unknown(findings: Sequence[JsonObject]) -> list[Unknown]:
    by_reason: dict[str, list[str]] = {}
    for finding in findings:
        if finding["status"] == "unknown":
            reason = clean(finding["message"]).removeprefix(NOT_JUDGED)
            by_reason.setdefault(reason, []).append(finding["rule"])
    return [Unknown(reason, tuple(rules)) for reason, rules in by_reason.items()]


def _stages(stages: Sequence[JsonObject]) -> Iterator[tuple[str, str]]:
    for stage in stages:
        reason = f": {clean(stage['reason'])}" if stage.get("reason") else ""
        yield stage["name"], f"{stage['status']} in {duration(stage['seconds'])}{reason}"


def _moment(stamp: str) -> str:
    """An RFC 3339 moment for people, without fractions: ``2026-01-02 03:04:05 UTC``."""
    zone = "UTC" if stamp.endswith(("Z", "+00:00")) else stamp[-6:]
    return f"{stamp[:10]} {stamp[11:19]} {zone}"
