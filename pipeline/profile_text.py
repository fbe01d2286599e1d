"""What ``imgprep profiles [NAME]`` tells: the list of clouds, and one with its values and requirements.

profile.load ─▶ profile_data   JSON-shaped, for programs
└▶ profile_text   for people; ``profile_page`` makes the page of Markdown
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline import profile
from pipeline.model import JsonObject, Provenance, Target
from pipeline.paragraphs import beside, hanging, labelled, wrapped
from pipeline.profile import templates
from pipeline.profile.requirements import Requirement, Template


@dataclass(frozen=True)
class ProfileLine:
    """One profile in the list of all."""

    name: str
    title: str
    alias_of: str | None = None


def profiles() -> tuple[ProfileLine, ...]:
    """The built-in profiles."""
    found = []
    for name in profile.names():
        each = profile.load(name)
        found.append(ProfileLine(name, each.title, each.name if each.name != name else None))
    return tuple(found)


def profiles_text(found: Sequence[ProfileLine] | None = None) -> str:
    """The list of profiles for people."""
    lines: list[str] = []
    for each in profiles() if found is None else found:
        title = f"the same as {each.alias_of}" if each.alias_of else each.title
        lines += beside(each.name, title, 18)
    lines += ["", "imgprep profiles NAME shows one; a file of your own is given by its path."]
    return "\n".join(lines) + "\n"


def profile_data(name_or_path: str) -> JsonObject:
    """One profile as JSON-shaped data: target, parameters, requirements with their words, notes."""
    found = profile.load(name_or_path)
    data: JsonObject = msgspec.to_builtins(
        {
            "name": found.name,
            "title": found.title,
            "description": found.description,
            "target": found.target,
            "parameters": found.parameters,
            "requirements": [
                {
                    "rule": item.rule,
                    "title": item.title,
                    "advice": item.advice,
                    "severity": item.template.severity,
                    "gate": item.template.gate,
                    "fixed_by": item.template.fixed_by,
                    "vendor_code": item.template.vendor_code,
                    "source": item.template.source,
                }
                for item in found.requirements
            ],
            "import": dict(found.imports),
            "notes": list(found.notes),
        }
    )
    return data


def profile_text(name_or_path: str) -> str:
    """One profile for people."""
    return "\n".join(_profile_lines(profile.load(name_or_path))) + "\n"


def _profile_lines(found: profile.Profile) -> Iterator[str]:
    yield from hanging(f"{found.name}: {found.title}", "  ")
    yield ""
    yield from wrapped(found.description)
    yield from labelled("target", target_words(found.target))
    for scheme, command in found.imports.items():
        yield from labelled("import", f"{IMPORTED_FROM[scheme]}: {command.command}")
        yield from labelled("", source_words(command.source))
    for name, parameter in found.parameters.items():
        yield from labelled("parameter", f"{name}: {value_words(parameter)}")
    groups = (
        ("Safety, judged first, whatever the cloud", lambda item: item.template.gate),
        ("Decides", lambda item: not item.template.gate and not item.advice),
        ("Advice", lambda item: item.advice),
    )
    marks = 2 + max(len(_mark(item)) for item in found.requirements)
    for title, belongs in groups:
        yield ""
        yield f"{title}:"
        for item in filter(belongs, found.requirements):
            yield from beside(f"  {item.rule:<28}{_mark(item)}", item.title, 30 + marks)
    if found.notes:
        yield ""
        yield "Not to be read from an image, but to be known:"
        for note in found.notes:
            yield from wrapped(f"{note.title}. {note.text} [{source_words(note.source)}]", "  ")


IMPORTED_FROM: Mapping[str, str] = {
    "file": "from a local file",
    "swift": "from a Swift container",
    "s3": "from an S3 bucket",
}
"""Where a cloud's import command takes its object from, by the scheme of the destination."""


def target_words(target: Target) -> str:
    """What a source becomes for a cloud, for people."""
    kind = " ".join(part for part in (target.variant, target.format.upper()) if part)
    creator = f", creator {target.creator}" if target.creator else ""
    rounded = (
        f", size in whole {templates.size(target.size_multiple)}" if target.size_multiple else ""
    )
    packed = f", packed as {target.packing}" if target.packing else ""
    segments = templates.size(target.segment_size)
    what = f"{kind}{creator}{rounded}{packed}"
    return f"{what}, suffix {target.suffix}, large objects in segments of {segments}"


_OPERATORS: Mapping[str, str] = {
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "minimum": "at least",
    "multipleOf": "a multiple of",
    "enum": "one of",
    "const": "exactly",
    "pattern": "with the pattern",
    "not": "not",
}
"""The keywords that parameters are made of, as words."""


def value_words(parameter: JsonObject) -> str:
    """A value for people: its own words where it has some, else its keywords in words."""
    if "x-words" in parameter:
        return templates.plain(parameter["x-words"])
    shown = {key: value for key, value in parameter.items() if key[:1] != "$" and key[:2] != "x-"}
    return ", ".join(f"{_OPERATORS.get(key, key)} {_value(value)}" for key, value in shown.items())


def _value(value: Any) -> str:
    large = isinstance(value, int) and value >= 1_000_000
    return templates.size(value) if large else templates.plain(value)


def _mark(item: Requirement) -> str:
    own = item.template
    code = f" {own.vendor_code}" if own.vendor_code else ""
    return f"{own.severity}{code}{', fixed' if own.fixed_by else ''}"


def filled(requirement: Requirement, parameters: Mapping[str, JsonObject]) -> Template:
    """The template with the profile's limits in it; what only an image can say stays a placeholder."""
    values = {"parameters": {**requirement.schema.get("$defs", {}), **parameters}}
    own = requirement.template
    return msgspec.structs.replace(
        own,
        expected=templates.fill(own.expected, values),
        remedy=templates.fill(own.remedy, values),
        message=templates.fill_known(own.message, values),
    )


def source_words(found: Provenance) -> str:
    """Where something comes from, for people."""
    note = f"; {found.note}" if found.note else ""
    return f"{found.address} ({found.date}{note})"
