"""Whether a profile's documents are what they claim to be; every problem is noted, none raised.

Only documents of the user's own are checked here.  The built-in ones are checked by the suite, and
doing it again would cost every run more time than judging the image.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from pipeline.profile import patterns, schemas, templates
from pipeline.profile.positions import Steps
from pipeline.profile.requirements import Library, keywords, references
from pipeline.text import clean


def check(library: Library, address: str) -> None:
    """Note in ``library.problems`` all that is wrong with the documents that are not ours."""
    for other in sorted(library.foreign):
        is_requirement = "x-finding" in library.documents[other] and other != address
        _against(library, other, "requirement" if is_requirement else "profile")
    for other in sorted(library.foreign):
        _check_keywords(library, other)
        _check_alias(library, other)
        _check_references(library, other)
        _check_patterns(library, other)
        _check_templates(library, other)
        _check_parameters(library, other)
    _check_endless(library)


def check_cases(library: Library) -> None:
    """Note each example of a requirement of the user's own that does not come out as it says."""
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    registry: Any = Registry().with_resources(
        (where, DRAFT202012.create_resource(content))
        for where, content in library.documents.items()
    )
    for address in sorted(library.foreign):
        document = library.documents[address]
        if "x-finding" not in document:
            continue
        validator: Any = Draft202012Validator({**document, "$id": address}, registry=registry)
        for kind, wanted in (("pass", True), ("fail", False)):
            for number, facts in enumerate(document.get("x-cases", {}).get(kind, ())):
                if validator.is_valid(facts) is not wanted:
                    wrong = f"x-cases: this case shall {kind}, and does not"
                    library.note(address, ("x-cases", kind, number), wrong)


def _against(library: Library, address: str, schema: str) -> None:
    for error in schemas.errors(schema, library.documents[address]):
        library.note(address, _place(error), schemas.problem(error))


def _check_keywords(library: Library, address: str) -> None:
    from jsonschema import Draft202012Validator

    meta: Any = Draft202012Validator(
        Draft202012Validator.META_SCHEMA,
        format_checker=Draft202012Validator.FORMAT_CHECKER,  # a pattern that is no pattern
    )
    for error in meta.iter_errors(library.documents[address]):
        library.note(address, _place(error), schemas.problem(error))


def _place(error: Any) -> Steps:
    """Where a person has to look: for a key that should not be there, that key."""
    at = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        extra = [key for key in error.instance if key not in error.schema.get("properties", {})]
        return (*at, *extra[:1])
    return at


def _check_alias(library: Library, address: str) -> None:
    """What a profile's own ``$ref`` asks is judged by others and by nobody here: its lists are walked."""
    document = library.documents[address]
    if "$ref" in document and "x-finding" not in document:
        wrong = "$ref: only a profile that is nothing but another name has one; list it in allOf"
        library.note(address, ("$ref",), wrong)


def _check_references(library: Library, address: str) -> None:
    """Open what the document refers to, so that a reference that leads nowhere is found now."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    used = list(references(library.documents[address]))
    missing = {item for at, item in used if library.follow(address, item, at) is None}
    registry: Any = Registry().with_resources(
        (where, DRAFT202012.create_resource(content))
        for where, content in library.documents.items()
    )
    for at, reference in used:
        try:
            if reference not in missing:
                registry.resolver(address).lookup(reference)
        except Unresolvable:
            library.note(address, at, f"{reference!r} refers to nothing")


@dataclass(frozen=True)
class _Reference:
    """A ``$ref`` of a document of the user's, and what it points at."""

    base: str
    at: Steps
    text: str
    target: str  # the document's address
    pointer: tuple[str, ...]  # steps of the JSON pointer in it

    def holds(self, other: _Reference) -> bool:
        """Whether the other reference lies in what this one points at."""
        inside = [str(step) for step in other.at[: len(self.pointer)]]
        return self.target == other.base and inside == list(self.pointer)


def _check_endless(library: Library) -> None:
    """A schema that refers to what holds it would be followed without end."""
    found = [
        _reference(base, at, text)
        for base in sorted(library.foreign)
        for at, text in references(library.documents[base])
        if at[-1] == "$ref"
    ]
    reaches = [[n for n, other in enumerate(found) if each.holds(other)] for each in found]
    for start, reference in enumerate(found):
        seen: set[int] = set()
        waiting = [*reaches[start]]
        while waiting and start not in seen:
            each = waiting.pop()
            waiting += reaches[each] if each not in seen else ()
            seen.add(each)
        if start in seen:
            library.note(reference.base, reference.at, f"{reference.text} refers back to itself")


def _reference(base: str, at: Steps, text: str) -> _Reference:
    target, fragment = urldefrag(urljoin(base, text))
    steps = fragment.split("/")[1:] if fragment.startswith("/") else []
    unescaped = (step.replace("~1", "/").replace("~0", "~") for step in map(unquote, steps))
    return _Reference(base, at, text, target, tuple(unescaped))


def _check_patterns(library: Library, address: str) -> None:
    for at, key, value in keywords(library.documents[address]):
        asked = [value] if key == "pattern" else []
        if key == "patternProperties" and isinstance(value, Mapping):
            asked = list(value)
        for pattern in asked:
            wrong = patterns.problem(pattern) if isinstance(pattern, str) else None
            if wrong:
                library.note(address, at, f"{clean(pattern, 80)!r}: {wrong}")


def _check_parameters(library: Library, address: str) -> None:
    """A limit that no requirement asks for limits nothing, most often because its name is misspelt."""
    asked = {
        urldefrag(item)[1]
        for content in library.documents.values()
        for _, item in references(content)
    }
    document = library.documents[address]
    set_here = document.get("$defs")
    if "x-finding" in document or not isinstance(set_here, Mapping):
        return  # a requirement's own definitions may be for itself
    for name in sorted(set(set_here) - asked):
        near = difflib.get_close_matches(name, sorted(asked), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        library.note(
            address, ("$defs", name), f"$defs: no requirement asks for {clean(name)!r}{hint}"
        )


def _check_templates(library: Library, address: str) -> None:
    finding = library.documents[address].get("x-finding")
    if not isinstance(finding, Mapping):
        return
    for key in ("message", "expected", "remedy"):
        for problem in templates.template_problems(str(finding.get(key, ""))):
            library.note(address, ("x-finding", key), f"x-finding.{key}: {problem}")
