"""What ``imgprep explain NAME`` tells: data first, then text.

name ─▶ a rule's requirement  ┐
        an error's code       ├─▶ Explanation(s) ─▶ text
        a vendor's code       │
        a note's title        ┘
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from pipeline import defaults, profile
from pipeline.errors import UsageError
from pipeline.model import JsonObject
from pipeline.paragraphs import beside, hanging, labelled, wrapped
from pipeline.profile import templates
from pipeline.profile.requirements import SCHEMAS, Requirement, Template
from pipeline.profile_text import filled, source_words, value_words


class ErrorExplanation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="error"):
    """What an error code means (``schemas/errors.json``)."""

    title: str
    exit_code: int
    explanation: str
    remedy: str
    name: str = ""


@dataclass(frozen=True)
class Use:
    """How one profile asks for a requirement."""

    profile: str
    kind: str  # the severity, or "advice"
    vendor_code: str | None
    limits: tuple[str, ...]  # the profile's parameters that the requirement asks for


@dataclass(frozen=True)
class RuleExplanation:
    """Everything about a requirement, with its proof."""

    name: str
    title: str
    description: str
    template: (
        Template  # message, expected and remedy with their placeholders filled where they can be
    )
    profiles: tuple[Use, ...]
    passes: tuple[JsonObject, ...]  # facts that meet it
    fails: tuple[JsonObject, ...]  # facts that do not


@dataclass(frozen=True)
class NoteExplanation:
    """Something to know about a cloud that no image can pass or fail."""

    name: str  # its title as one word: boot-from-volume
    note: profile.Note
    profiles: tuple[str, ...]


Explanation = RuleExplanation | ErrorExplanation | NoteExplanation


@functools.cache
def error_catalogue() -> Mapping[str, ErrorExplanation]:
    """Every error code that this program knows."""
    content = json.loads((SCHEMAS / "errors.json").read_bytes())["errors"]
    found = msgspec.convert(content, dict[str, ErrorExplanation])
    return {code: msgspec.structs.replace(item, name=code) for code, item in found.items()}


def explain(name: str) -> tuple[Explanation, ...]:
    """What a rule, an error, a vendor's code (which may have several rules) or a note means.

    Raises ``UsageError`` with the nearest names when nothing is called that.
    """
    asked = name.strip().lower()
    if asked in profile.rules():
        return (_rule(asked),)
    if asked in error_catalogue():
        return (error_catalogue()[asked],)
    by_code = _rules_of_vendor_code(name)
    if by_code:
        return tuple(_rule(rule) for rule in by_code)
    if asked in _notes():
        return (_notes()[asked],)
    near = _near(name)
    raise UsageError(
        "name-unknown",
        f"there is no rule, error, vendor's code or note {name!r}",
        hint=f"did you mean {' or '.join(near)}?"
        if near
        else "imgprep profiles NAME lists a profile's rules",
    )


def index_text() -> str:
    """Everything that can be explained, for people."""
    groups = {
        "Requirements": {rule: profile.find_requirement(rule).title for rule in profile.rules()},
        "Errors": {code: found.title for code, found in error_catalogue().items()},
        "Notes of profiles": {name: found.note.title for name, found in _notes().items()},
    }
    lines: list[str] = []
    for heading, titles in groups.items():
        lines.append(f"{heading}:")
        for name, title in sorted(titles.items()):
            lines += beside(f"  {name}", title, 30)
        lines.append("")
    lines.append("imgprep explain NAME tells all of one; a vendor's code (396) is a name too.")
    return "\n".join(lines) + "\n"


def _near(name: str) -> list[str]:
    """Names that hold what was asked for as a word (iso, uuid, windows), or that are spelt alike."""
    known = (*profile.rules(), *error_catalogue(), *_notes())
    asked = name.lower()
    by_word = [item for item in known if asked in item.split("-")]
    return by_word or difflib.get_close_matches(asked, known, n=3)


@functools.cache
def _profiles() -> tuple[profile.Profile, ...]:
    # the default first: its words are the ones that are shown
    named = (defaults.PROFILE, *profile.names())
    loaded = {found.name: found for found in map(profile.load, named)}
    return tuple(loaded.values())


@functools.cache
def _notes() -> Mapping[str, NoteExplanation]:
    found: dict[str, NoteExplanation] = {}
    for each in _profiles():
        for note in each.notes:
            name = "-".join(re.findall(r"[a-z0-9]+", note.title.lower()))
            first = found.get(name) or NoteExplanation(name, note, ())
            found[name] = replace(first, profiles=(*first.profiles, each.name))
    return found


def _rules_of_vendor_code(code: str) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            item.rule
            for each in _profiles()
            for item in each.requirements
            if item.template.vendor_code == code
        )
    )


def _rule(name: str) -> RuleExplanation:
    plain = profile.find_requirement(name)
    requirement = replace(
        plain, template=filled(plain, {})
    )  # its own values, where no profile has it
    uses = []
    for each in _profiles():
        used = each.requirement(name)
        if used is not None:
            kind = "advice" if used.advice else str(used.template.severity)
            limits = tuple(_limits(used, each.parameters))
            uses.append(Use(each.name, kind, used.template.vendor_code, limits))
            if len(uses) == 1:
                requirement = replace(requirement, template=filled(used, each.parameters))
    return RuleExplanation(
        name=name,
        title=requirement.title,
        description=requirement.description,
        template=requirement.template,
        profiles=tuple(uses),
        passes=tuple(requirement.cases.get("pass", ())),
        fails=tuple(requirement.cases.get("fail", ())),
    )


def _limits(requirement: Requirement, parameters: Mapping[str, JsonObject]) -> Iterator[str]:
    for name in requirement.schema.get("$defs", {}):
        if name in parameters:
            yield f"{name}: {value_words(parameters[name])}"


def text(explanation: Explanation) -> str:
    """An explanation for people."""
    if isinstance(explanation, ErrorExplanation):
        lines = _error_lines(explanation)
    elif isinstance(explanation, NoteExplanation):
        lines = _note_lines(explanation)
    else:
        lines = _rule_lines(explanation)
    return "\n".join(lines) + "\n"


def _error_lines(found: ErrorExplanation) -> Iterator[str]:
    yield from hanging(f"{found.name}: {found.title} (error, exit code {found.exit_code})", "  ")
    yield ""
    yield from wrapped(found.explanation)
    yield from labelled("to do", found.remedy)


def _note_lines(found: NoteExplanation) -> Iterator[str]:
    title = f"{found.name}: {found.note.title} (to be known; no image passes or fails it)"
    yield from hanging(title, "  ")
    yield ""
    yield from wrapped(found.note.text)
    yield from labelled("source", source_words(found.note.source))
    yield from labelled("profile", ", ".join(found.profiles))


def _rule_lines(found: RuleExplanation) -> Iterator[str]:
    own = found.template
    yield from hanging(f"{found.name}: {found.title} (requirement, {own.severity})", "  ")
    yield ""
    yield from wrapped(found.description)
    yield ""
    yield from labelled("says", own.message)
    yield from labelled("expected", own.expected)
    yield from labelled("to do", own.remedy)
    yield from labelled("source", source_words(own.source))
    if own.gate:
        yield from labelled("safety", "an image that fails goes no further; it cannot be allowed")
    if own.fixed_by == "convert":
        yield from labelled("fixed", "by the conversion; on a source it is information only")
    yield from labelled("needs", ", ".join(own.needs))
    for use in found.profiles:
        vendor = f", the vendor's error {use.vendor_code}" if use.vendor_code else ""
        limits = "".join(f"; {limit}" for limit in use.limits)
        yield from labelled("profile", f"{use.profile}: {use.kind}{vendor}{limits}")
    with_limits = any(use.limits for use in found.profiles)
    whose = " with the requirement's own limit, which profiles replace" if with_limits else ""
    for ending, cases in (("pass", found.passes), ("fail", found.fails)):
        yield ""
        yield from wrapped(f"Facts that make it {ending}{whose}:")
        asked = (*own.needs, *filter(None, (own.path,)))
        for case in dict.fromkeys(_case_in_words(case, asked) for case in cases):
            yield from wrapped(case, "    ")


def _case_in_words(case: JsonObject, asked: Sequence[str]) -> str:
    """The facts that a requirement asks for; all of them where it asks for none of these."""
    told = list(_facts_in_words(case))
    wanted = [item for item in told if item.startswith(tuple(asked))]
    return "; ".join(wanted or told)


def _facts_in_words(value: Any, path: str = "") -> Iterator[str]:
    """``container.format: qcow2``, one phrase a fact; of problems the rules."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _facts_in_words(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        shown = [item.get("rule") or ", ".join(_facts_in_words(item)) for item in value]
        yield f"{path}: {', '.join(map(str, shown))}"
    else:
        yield f"{path}: {templates.plain(value)}"
