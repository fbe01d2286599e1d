"""Facts against a profile: what holds, what does not, what nobody can tell.

    facts ─▶ the profile's schema, validated once ─▶ errors ─┐ position in allOf -> requirement
      │                                                     ├─▶ pass · fail · unknown · not applicable
      └────▶ each requirement's ``if`` and ``needs`` ────────┘

One pass of a stock JSON Schema validator over the whole profile decides; every error is then led back
to the requirement in whose branch it arose.  So our yes and no are those of any other validator,
parameters (``$dynamicRef``) included; a problem that a parser saw is only evidence for a schema that
asks for it.  An unknown fact makes a requirement unknown, never passed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import UsageError
from pipeline.model import (
    ExitCode,
    Facts,
    Finding,
    JsonObject,
    Judgement,
    Severity,
    Status,
    Verdict,
)
from pipeline.profile.description import Profile
from pipeline.profile.findings import RANK, RequirementResult, Subject, findings, problems
from pipeline.profile.requirements import Requirement
from pipeline.text import clean

FailOn = Literal["error", "warning", "info", "never"]

_FAIL_ON_RANK: Mapping[str, int] = {"error": 0, "warning": 1, "info": 2, "never": -1}
_NOT_READ = ("skipped", "failed")


def judge(
    profile: Profile,
    facts: Facts,
    *,
    subject: Subject = "source",
    waivers: Mapping[str, str] | None = None,
) -> Judgement:
    """Judge facts by a profile.

    For ``subject="result"`` the sections of ``facts["result"]``, where there is one, stand for the
    source's: the artifact is judged, and what the guest holds did not change.  ``waivers`` maps
    rules to reasons; raises ``UsageError`` for a rule that does not exist or may not be waived.
    """
    check_waivers(profile, waivers or {})
    seen = _view(facts, subject)
    found: list[Finding] = []
    passed: list[str] = []
    elsewhere: list[str] = []
    for requirement, outcome in _outcomes(profile, seen):
        if outcome.kind == "pass":
            passed.append(requirement.rule)
        elif outcome.kind == "not applicable":
            elsewhere.append(requirement.rule)
        else:
            found += findings(profile, requirement, outcome, seen, subject, waivers or {})
    found.sort(key=lambda item: (RANK[item.severity], item.status is Status.UNKNOWN))
    return Judgement(tuple(found), tuple(passed), tuple(elsewhere))


def gate_findings(profile: Profile, facts: Facts) -> tuple[Finding, ...]:
    """The failing findings of the profile's gate requirements, whatever else is unknown."""
    seen = _view(facts, "source")
    return tuple(
        finding
        for requirement, outcome in _outcomes(profile, seen, gates_only=True)
        if outcome.kind == "fail"
        for finding in findings(profile, requirement, outcome, seen, "source", {})
    )


def stopped_at_gate(profile: Profile, judgement: Judgement) -> bool:
    """Whether a whole judgement holds what ``gate_findings`` would find: no waiver helps there."""
    gates = {item.rule for item in profile.requirements if item.template.gate}
    return any(item.rule in gates and item.status is Status.FAIL for item in judgement.findings)


def verdict(
    judgement: Judgement, fail_on: FailOn = "error", *, strict: bool = False
) -> tuple[Verdict, int]:
    """The one word about an image, and the exit code that goes with it (0, 1 or 7).

    An error is a rejection whatever ``fail_on`` says; ``fail_on`` only chooses the exit code.  An
    unknown that could have been a rejection makes the image undetermined; ``strict`` makes that, and
    every other unknown, exit code 7.  What the conversion mends never counts.
    """
    limit = _FAIL_ON_RANK[fail_on]
    failed = [
        item
        for item in judgement.findings
        if item.status is Status.FAIL and not _will_be_mended(item)
    ]
    unknown = [item for item in judgement.findings if item.status is Status.UNKNOWN]
    if any(RANK[item.severity] <= limit for item in failed):
        return Verdict.REJECTED, ExitCode.REFUSED
    code = ExitCode.UNDETERMINED if unknown and strict else ExitCode.OK
    if any(item.severity is Severity.ERROR for item in failed):
        return Verdict.REJECTED, code
    if code or any(RANK[item.severity] <= max(limit, 0) for item in unknown):
        return Verdict.UNDETERMINED, code
    advice = any(not _will_be_mended(item) for item in judgement.findings)
    return (Verdict.ACCEPTED_WITH_ADVICE if advice else Verdict.ACCEPTED), code


def _will_be_mended(finding: Finding) -> bool:
    return finding.fixed_by == "convert" and finding.severity is Severity.INFO


def _view(facts: Facts, subject: Subject) -> JsonObject:
    result = facts.get("result")
    if subject == "result" and result:
        return {**facts, **{name: section for name, section in result.items() if section}}
    return facts


@dataclass(frozen=True)
class _Branches:
    """A validator, and the rule of each of its branches: paths of array indexes and keys in its schema."""

    validator: Any
    at: Mapping[tuple[str | int, ...], str]

    def broken(self, facts: Facts) -> set[str]:
        """The rules in whose branch of the schema the facts do not validate."""
        lengths = sorted({len(position) for position in self.at})
        broken: set[str] = set()
        for error in self.validator.iter_errors(facts):
            # A validator may or may not count "$ref" as a step; ours are told apart without it.
            path = tuple(step for step in error.absolute_schema_path if step != "$ref")
            broken.update(rule for size in lengths if (rule := self.at.get(path[:size])))
        return broken


@dataclass(frozen=True)
class _Compiled:
    """The validators of some of a profile's requirements."""

    wanted: tuple[Requirement, ...]
    held: tuple[_Branches, ...]  # what has to hold
    conditions: _Branches  # each one's "if"


@functools.lru_cache(maxsize=64)  # every cloud at once, and the gates of each
def _compiled(profile: Profile, *, gates_only: bool) -> _Compiled:
    """All requirements, or only the gates: these are judged of every image before the others."""
    from jsonschema import Draft202012Validator

    schema = {**profile.schema, "$id": profile.address}
    registry = _registry(profile)

    def listed(items: Iterable[Requirement], part: str = "") -> _Branches:
        """A flat list.  The documents between are not passed: their values come along."""
        chosen = list(items)
        references = [{"$ref": f"{item.address}{part}"} for item in chosen]
        flat = {**schema, "$defs": profile.parameters, "allOf": references}
        return _Branches(
            Draft202012Validator(flat, registry=registry),
            {("allOf", index): item.rule for index, item in enumerate(chosen)},
        )

    if gates_only:
        wanted = tuple(item for item in profile.requirements if item.template.gate)
        held: tuple[_Branches, ...] = (listed(wanted),)
    else:
        wanted = profile.requirements
        decisive = {item.position: item.rule for item in wanted if not item.advice}
        held = (
            _Branches(Draft202012Validator(schema, registry=registry), decisive),
            listed(item for item in wanted if item.advice),
        )
    return _Compiled(wanted, held, listed((item for item in wanted if "if" in item.schema), "#/if"))


@functools.lru_cache(maxsize=32)
def _registry(profile: Profile) -> Any:
    """The documents that a profile is made of, where a validator looks them up."""
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    resources = (
        (address, DRAFT202012.create_resource(document))
        for address, document in profile.documents.items()
    )
    return Registry().with_resources(resources).crawl()


def _outcomes(
    profile: Profile, facts: Facts, *, gates_only: bool = False
) -> Iterator[tuple[Requirement, RequirementResult]]:
    compiled = _compiled(profile, gates_only=gates_only)
    facts = _one_problem_a_rule(facts)
    failed = {rule for branches in compiled.held for rule in branches.broken(facts)}
    elsewhere = compiled.conditions.broken(facts)
    seen = {problem.get("rule") for problem in problems(facts)}
    for requirement in compiled.wanted:
        if requirement.rule in seen and requirement.rule in failed:
            yield requirement, RequirementResult("fail")  # whatever else could not be seen
        else:
            yield requirement, _outcome(requirement, facts, failed, elsewhere)


def _one_problem_a_rule(facts: Facts) -> Facts:
    """What the validator sees: requirements ask whether a rule's problem is there, not how many.

    Each of some sixty schemas looks at each problem, so a thousand of them would cost seconds.
    """
    shorter = dict(facts)
    for name in ("container", "disk"):
        section = facts.get(name)
        if isinstance(section, Mapping) and section.get("problems"):
            first = {problem.get("rule"): problem for problem in reversed(section["problems"])}
            shorter[name] = {**section, "problems": list(first.values())}
    return shorter


def _outcome(
    requirement: Requirement, facts: Facts, failed: set[str], elsewhere: set[str]
) -> RequirementResult:
    for path in fact_paths(requirement.schema.get("if", {})):
        reason = unknown_reason(facts, path)
        if reason:
            return RequirementResult("unknown", reason)
    if requirement.rule in elsewhere:
        return RequirementResult("not applicable")
    for path in requirement.template.needs:
        reason = unknown_reason(facts, path)
        if reason:
            return RequirementResult("unknown", reason)
    return RequirementResult("fail" if requirement.rule in failed else "pass")


def fact_paths(schema: Any, base: str = "") -> tuple[str, ...]:
    """The fact paths that a condition speaks of: its innermost ``properties``."""
    if not isinstance(schema, Mapping):
        return ()
    found: list[str] = []
    for name, part in schema.get("properties", {}).items():
        path = f"{base}.{name}" if base else name
        found.extend(fact_paths(part, path) or (path,))
    for key in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(key, ()):
            found.extend(fact_paths(part, base))
    if "not" in schema:
        found.extend(fact_paths(schema["not"], base))
    return tuple(dict.fromkeys(found))


def unknown_reason(facts: Facts, path: str) -> str:
    """Why the fact at ``path`` is not known; empty when it is (null can mean "there is none")."""
    name, _, rest = path.partition(".")
    section = facts.get(name)
    if not isinstance(section, Mapping):
        return f"{name} was not inspected"
    if section.get("status") in _NOT_READ:
        return clean(str(section.get("reason") or f"{name} inspection {section['status']}"))
    unknown = section.get("unknown") or {}
    value: Any = section
    gone: list[str] = []
    for step in rest.split(".") if rest else ():
        gone.append(step)
        if ".".join(gone) in unknown:
            return clean(str(unknown[".".join(gone)]))
        if value is None:
            return ""  # there is none of what this would be a part of
        if not isinstance(value, Mapping) or step not in value:
            return f"{path} was not determined"
        value = value[step]
    return ""


def check_waivers(profile: Profile, waivers: Mapping[str, str]) -> None:
    """Raise ``UsageError`` with every rule that does not exist or may not be waived.

    ``judge`` asks this too; who asks it first spares the person the inspection.
    """
    problems = []
    hint = "write --allow RULE=REASON; imgprep profiles NAME lists the rules"
    for rule, reason in waivers.items():
        requirement = profile.requirement(rule)
        if requirement is None:
            problems.append(f"{rule}: the profile {profile.name} has no such requirement")
        elif requirement.template.gate:
            problems.append(f"{rule}: it protects the machine that reads the image")
            hint = f"leave it out; 'imgprep explain {rule}' tells what to do about the image"
        elif not reason.strip():
            problems.append(f"{rule}: the reason is missing")
    if problems:
        raise UsageError(
            "waiver-refused",
            f"cannot allow {'; '.join(problems)}",
            hint=hint,
        )
