"""One cloud on one page of Markdown: what it takes, with every value's source and date.

    Profile ──▶ title, target │ values, each with its source │ what decides, what is advice │ to be known

``imgprep profiles NAME --markdown`` prints it; safety, which is the same for all, is one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pipeline import profile, profile_text
from pipeline.model import JsonObject, Provenance
from pipeline.profile.requirements import Requirement


def markdown(name_or_path: str) -> str:
    """The page, ending in a newline.  Raises what ``profile.load`` raises."""
    found = profile.load(name_or_path)
    return "\n".join(_page(found)) + "\n"


def _page(found: profile.Profile) -> Iterator[str]:
    yield f"# {_text(found.title)}"
    yield f"\n`{found.name}`: {_text(found.description)}"
    yield f"\nimgprep makes: {_text(profile_text.target_words(found.target))}."
    for scheme, command in found.imports.items():
        yield f"\nThe import {profile_text.IMPORTED_FROM[scheme]}: {_source(command.source)}"
        yield f"\n```\n{command.command}\n```"
    if found.parameters:
        yield "\n## Values\n\n| Value | | Source |\n|---|---|---|"
        for name, value in found.parameters.items():
            yield f"| `{name}` | {_text(profile_text.value_words(value))} | {_given(value)} |"
    cloud = [item for item in found.requirements if not item.template.gate]
    yield from _table("What decides", found, (item for item in cloud if not item.advice))
    yield from _table("Advice", found, (item for item in cloud if item.advice))
    gates = sum(item.template.gate for item in found.requirements)
    yield f"\n{gates} more requirements protect the machine that reads the image, whatever the cloud."
    if found.notes:
        yield "\n## To be known\n"
        for note in found.notes:
            yield f"- **{_text(note.title)}.** {_text(note.text)} {_source(note.source)}"


def _table(title: str, found: profile.Profile, items: Iterable[Requirement]) -> Iterator[str]:
    yield f"\n## {title}\n\n| Rule | | Expected | Source |\n|---|---|---|---|"
    for item in items:
        code = (
            f" (vendor's code {_text(item.template.vendor_code)})"
            if item.template.vendor_code
            else ""
        )
        fixed = "; imgprep fixes it" if item.template.fixed_by else ""
        expected = profile_text.filled(item, found.parameters).expected
        what = f"{_text(item.title)}{code}{fixed}"
        yield f"| `{item.rule}` | {what} | {_text(expected)} | {_source(item.template.source)} |"


def _given(value: JsonObject) -> str:
    source = value.get("x-source")
    return _source(Provenance(**source)) if source else ""


def _source(source: Provenance) -> str:
    note = f"; {_text(source.note)}" if source.note else ""
    return f"[{source.date}]({source.address}){note}"


def _text(text: str) -> str:
    """``text`` as literal Markdown inside a line or a table's cell."""
    return re.sub(r"([\\`*_\[\]|<>~])", r"\\\1", text)
