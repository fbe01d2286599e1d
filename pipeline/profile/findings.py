"""From an outcome to findings: the requirement's words about these facts, evidence by evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.model import ByteRange, Facts, Finding, JsonObject, Severity, Status
from pipeline.profile import templates
from pipeline.profile.description import Profile
from pipeline.profile.requirements import Requirement
from pipeline.text import clean

Subject = Literal["source", "result"]

MOST_EVIDENCE = 20
"""Findings that one rule may give; a broken image can break one rule a million times."""

RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


@dataclass(frozen=True)
class RequirementResult:
    """What came out for one requirement."""

    kind: Literal["pass", "fail", "unknown", "not applicable"]
    reason: str = ""  # why it is unknown


def problems(facts: Facts) -> Iterator[JsonObject]:
    """Everything that was found wrong in the bytes, of the file and of the disk in it."""
    for name in ("container", "disk"):
        yield from (facts.get(name) or {}).get("problems") or ()


def _evidence(rule: str, facts: Facts) -> list[JsonObject]:
    return [problem for problem in problems(facts) if problem.get("rule") == rule]


def findings(
    profile: Profile,
    requirement: Requirement,
    outcome: RequirementResult,
    facts: Facts,
    subject: Subject,
    waivers: Mapping[str, str],
) -> tuple[Finding, ...]:
    """The findings of one requirement that failed or is unknown: one for each piece of evidence."""
    if outcome.kind == "unknown":
        found: tuple[Finding, ...] = (_unknown(profile, requirement, outcome, facts),)
    else:
        found = tuple(_failures(profile, requirement, facts))
        if requirement.template.fixed_by == "convert" and subject == "source":
            found = tuple(replace(item, severity=Severity.INFO) for item in found)
    reason = waivers.get(requirement.rule)
    if reason is None:
        return found
    return tuple(replace(item, status=Status.WAIVED, reason=reason) for item in found)


def _finding(
    profile: Profile, requirement: Requirement, facts: Facts, detail: str, **changes: Any
) -> Finding:
    own = requirement.template
    parameters = {**requirement.schema.get("$defs", {}), **profile.parameters}
    values = {**facts, "detail": detail, "parameters": parameters}
    observed = templates.cleaned(templates.lookup(facts, own.path)[1]) if own.path else None
    severity = Severity.WARNING if requirement.advice else own.severity
    base = Finding(
        rule=requirement.rule,
        severity=max(own.severity, severity, key=RANK.__getitem__),
        status=Status.FAIL,
        title=requirement.title,
        message=templates.fill(own.message, values),
        observed=observed,
        expected=templates.fill(own.expected, values),
        remedy=templates.fill(own.remedy, values),
        source=own.source,
        vendor_code=own.vendor_code,
        path=own.path,
        fixed_by="convert" if own.fixed_by == "convert" else None,
        gate=own.gate or None,
    )
    return replace(base, **changes)


def _failures(profile: Profile, requirement: Requirement, facts: Facts) -> Iterator[Finding]:
    evidence = _evidence(requirement.rule, facts)
    if not evidence:
        shown = templates.lookup(facts, requirement.template.path or "")[1]
        yield _finding(profile, requirement, facts, templates.plain(shown))
        return
    for problem in evidence[:MOST_EVIDENCE]:
        detail = clean(str(problem.get("detail") or ""))
        yield _finding(profile, requirement, facts, detail, observed=detail, range=_range(problem))
    if len(evidence) > MOST_EVIDENCE:
        more = f"and {len(evidence) - MOST_EVIDENCE:,} more of the same kind"
        yield _finding(profile, requirement, facts, more, observed=more)


def _range(problem: JsonObject) -> ByteRange | None:
    offset, length = problem.get("offset"), problem.get("length")
    return None if offset is None else ByteRange(offset, length or 0)


def _unknown(
    profile: Profile, requirement: Requirement, outcome: RequirementResult, facts: Facts
) -> Finding:
    found = _finding(profile, requirement, facts, "unknown", observed=None, status=Status.UNKNOWN)
    return replace(found, message=f"{templates.NOT_JUDGED}{outcome.reason}.")
