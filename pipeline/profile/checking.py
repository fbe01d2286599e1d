"""Whether a profile's documents are what they claim to be; every problem is noted, none raised.

Only documents of the user's own are checked here.  The built-in ones are checked by the suite, and
doing it again would cost every run more time than judging the image.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urldefrag

from pipeline.profile import schemas, words
from pipeline.profile.requirements import Library, local_path, references
from pipeline.text import clean


def check(library: Library, address: str) -> None:
    """Note in ``library.problems`` all that is wrong with the documents that are not ours."""
    for other in sorted(library.foreign):
        is_requirement = "x-finding" in library.documents[other] and other != address
        _against(library, other, "requirement" if is_requirement else "profile")
    for other in sorted(library.foreign):
        _check_keywords(library, other)
        _check_references(library, other)
        _check_templates(library, other)
        _check_parameters(library, other)


def _against(library: Library, address: str, schema: str) -> None:
    for problem in schemas.problems(schema, library.documents[address]):
        library.problems.append(f"{local_path(address)}: {problem}")


def _check_keywords(library: Library, address: str) -> None:
    from jsonschema import Draft202012Validator

    meta: Any = Draft202012Validator(
        Draft202012Validator.META_SCHEMA,
        format_checker=Draft202012Validator.FORMAT_CHECKER,  # a pattern that is no pattern
    )
    for error in meta.iter_errors(library.documents[address]):
        library.problems.append(f"{local_path(address)}: {schemas.problem(error)}")


def _check_references(library: Library, address: str) -> None:
    """Open what the document refers to, so that a reference that leads nowhere is found now."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    used = sorted(set(references(library.documents[address])))
    missing = [item for item in used if library.follow(address, item) is None]
    registry: Any = Registry().with_resources(
        (where, DRAFT202012.create_resource(content))
        for where, content in library.documents.items()
    )
    for reference in used:
        try:
            if reference not in missing:
                registry.resolver(address).lookup(reference)
        except Unresolvable:
            library.problems.append(f"{local_path(address)}: {reference!r} refers to nothing")


def _check_parameters(library: Library, address: str) -> None:
    """A limit that no requirement asks for limits nothing, most often because its name is misspelt."""
    asked = {
        urldefrag(item)[1] for content in library.documents.values() for item in references(content)
    }
    document = library.documents[address]
    set_here = document.get("$defs")
    if "x-finding" in document or not isinstance(set_here, Mapping):
        return  # a requirement's own definitions may be for itself
    for name in sorted(set(set_here) - asked):
        near = difflib.get_close_matches(name, sorted(asked), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        library.problems.append(
            f"{local_path(address)}: $defs: no requirement asks for {clean(name)!r}{hint}"
        )


def _check_templates(library: Library, address: str) -> None:
    finding = library.documents[address].get("x-finding")
    if not isinstance(finding, Mapping):
        return
    for key in ("message", "expected", "remedy"):
        for problem in words.template_problems(str(finding.get(key, ""))):
            library.problems.append(f"{local_path(address)}: x-finding.{key}: {problem}")
