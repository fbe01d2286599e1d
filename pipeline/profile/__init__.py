"""A cloud's profile: loading it, and the one door to judging by it.

    load("rackspace") -> Profile           judge(profile, facts) -> Judgement
    gate(facts)       -> findings          verdict(judgement, …) -> (Verdict, exit code)

A profile is a plain JSON Schema over facts (``schemas/profiles/``): any validator gives the same yes
or no.  What this program adds are the words, what is unknown, and what a conversion will mend.
"""

from __future__ import annotations

import difflib
import functools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urljoin

import msgspec

from pipeline.errors import UsageError
from pipeline.model import Facts, Finding, JsonObject, Target, digest
from pipeline.profile import checking, requirements
from pipeline.profile.description import Import, Note, Profile
from pipeline.profile.judging import (
    check_waivers,
    gate_findings,
    judge,
    stopped_at_gate,
    verdict,
)
from pipeline.profile.requirements import SCHEMAS, Collector, Library, Requirement, local_path

__all__ = [
    "Note",
    "Profile",
    "Requirement",
    "check_waivers",
    "find_requirement",
    "gate",
    "judge",
    "lint",
    "load",
    "names",
    "newest",
    "rules",
    "safety",
    "stopped_at_gate",
    "verdict",
]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SAFE_INPUT = (SCHEMAS / "profiles" / "safe-input.json").as_uri()
"""The group that is judged whatever a profile says."""
VHD_MAX_SIZE = (SCHEMAS / "requirements" / "vhd-max-size.json").as_uri()
"""What is judged wherever the target is a VHD."""


def names() -> tuple[str, ...]:
    """The built-in profiles' names; groups, which have no target, are not profiles."""
    files = sorted((SCHEMAS / "profiles").glob("*.json"))
    return tuple(path.stem for path in files if _is_profile(path))


def newest() -> tuple[str, ...]:
    """Every cloud's newest profile: no other name of one, and none that another one replaces."""
    found = []
    for name in names():
        document = Library().open((SCHEMAS / "profiles" / f"{name}.json").as_uri()) or {}
        if _alias_of(document) is None and "x-replaced-by" not in document:
            found.append(name)
    return tuple(found)


def rules() -> tuple[str, ...]:
    """The names of all built-in requirements."""
    return tuple(sorted(path.stem for path in (SCHEMAS / "requirements").glob("*.json")))


def find_requirement(rule: str) -> Requirement:
    """A built-in requirement by its name; raises ``UsageError`` with the nearest names."""
    library = Library()
    path = SCHEMAS / "requirements" / f"{rule}.json"
    document = library.open(path.as_uri()) if rule in rules() else None
    if document is None:
        raise UsageError(
            "rule-unknown",
            f"there is no requirement {rule!r}",
            hint=_nearest(rule, rules()) or "imgprep profiles NAME lists a profile's requirements",
        )
    return requirements.make(path.as_uri(), document)


def load(name_or_path: str) -> Profile:
    """A built-in profile by its name, or any other by its file's path.

    Raises ``UsageError`` that lists *all* that is wrong: a file that is missing or not JSON, keys
    that do not exist, a reference that leads nowhere, a schema that is none.
    """
    library = Library()
    found = _build(name_or_path, library)
    _require(library, name_or_path)
    assert found is not None
    return found


def lint(path: str) -> tuple[str, ...]:
    """Everything that is wrong with a profile's file and what it lists: ``PATH:LINE:COLUMN: words``.

    Besides what ``load`` refuses: example cases of the user's own requirements that come out wrong.
    Raises ``UsageError`` where there is no such file.
    """
    library = Library()
    if _build(path, library) is not None:
        checking.check_cases(library)
    return tuple(dict.fromkeys(library.problems))


def _build(name_or_path: str, library: Library) -> Profile | None:
    """The profile, and in ``library.problems`` all that is wrong; None where it cannot be made."""
    address, document, aliases = _open(name_or_path, library)
    if library.problems:
        return None
    effective = _with_safe_input(address, document)
    collector = _collected(library, address, effective)
    target = _target(library, collector, address)
    if target is not None and target.format == "vhd" and VHD_MAX_SIZE not in collector.addresses:
        effective = _with(effective, VHD_MAX_SIZE)
        collector = _collected(library, address, effective)
    checking.check(library, address)
    imports = _imports(library, collector, address)
    notes = _notes(library, effective, address)
    if library.problems or target is None:
        return None
    return Profile(
        name=(local_path(address) or Path(name_or_path)).stem,
        title=str(effective["title"]),
        description=str(effective.get("description", "")),
        address=address,
        schema=effective,
        documents=dict(library.documents),
        requirements=tuple(sorted(collector.found.values(), key=lambda item: item.order)),
        target=target,
        parameters=collector.parameters,
        notes=notes,
        imports=imports,
        digest=digest(sorted(library.digests[item] for item in library.documents)),
        aliases=aliases,
    )


@functools.cache
def safety() -> Profile:
    """The safe-input group as a profile of its own; it has no use for a target."""
    library = Library()
    document = library.open(SAFE_INPUT)
    _require(library, "safe-input")
    assert document is not None
    collector = Collector(library)
    collector.collect(SAFE_INPUT, document)
    _require(library, "safe-input")
    return Profile(
        name="safe-input",
        title=str(document.get("title", "")),
        description=str(document.get("description", "")),
        address=SAFE_INPUT,
        schema=document,
        documents=dict(library.documents),
        requirements=tuple(collector.found.values()),
        target=Target(format="raw", suffix=""),
        parameters={},
        notes=(),
        imports={},
        digest=digest(sorted(library.digests[item] for item in library.documents)),
    )


def gate(facts: Facts, profile: Profile | None = None) -> tuple[Finding, ...]:
    """The safety requirements that already fail on what is known so far, in the profile's words.

    With any of these the image goes no further: no tool is started on it.  What cannot be judged yet
    is not reported; the check after the inspection does that.
    """
    return gate_findings(profile or safety(), facts)


def _open(name_or_path: str, library: Library) -> tuple[str, JsonObject, tuple[str, ...]]:
    if "/" in name_or_path or name_or_path.endswith(".json"):
        if not Path(name_or_path).is_file():  # or what is built in under that name would be taken
            raise UsageError(
                "profile-missing",
                f"there is no such file: {name_or_path}",
                hint="check the path; 'imgprep profiles' lists the built-in profiles",
            )
        address = Path(name_or_path).absolute().as_uri()
    else:
        path = SCHEMAS / "profiles" / f"{name_or_path}.json"
        if path not in path.parent.glob("*.json") or not _is_profile(path):
            raise UsageError(
                "profile-unknown",
                f"there is no profile {name_or_path!r}; there are: {', '.join(names())}",
                hint=_nearest(name_or_path, names())
                or "for a profile of your own give its file's path, for example ./mine.json",
            )
        address = path.as_uri()
    document = library.open(address) or {}
    other = _alias_of(document)
    if other is None:
        return address, document, ()
    real = library.follow(address, other)
    library.documents.pop(address)
    library.foreign.discard(address)
    return real or address, library.documents.get(real or "", {}), (name_or_path,)


def _is_profile(path: Path) -> bool:
    document = Library().open(path.as_uri()) or {}
    return "x-target" in document or _alias_of(document) is not None


def _collected(library: Library, address: str, document: JsonObject) -> Collector:
    library.documents[address] = document
    collector = Collector(library)
    collector.collect(address, document)
    return collector


def _with(document: JsonObject, reference: str) -> JsonObject:
    """The document with one more in its list."""
    return {**document, "allOf": [*document.get("allOf", []), {"$ref": reference}]}


def _alias_of(document: JsonObject) -> str | None:
    """An alias is a profile that consists of one reference."""
    reference = document.get("$ref")
    is_alias = isinstance(reference, str) and not {"allOf", "x-target"} & set(document)
    return reference if is_alias else None


def _with_safe_input(address: str, document: JsonObject) -> JsonObject:
    listed = document.get("allOf", [])
    if not isinstance(listed, list):
        return document  # profile.schema.json will say so
    named = (item.get("$ref") for item in listed if isinstance(item, Mapping))
    if any(isinstance(ref, str) and urljoin(address, ref) == SAFE_INPUT for ref in named):
        return document
    return _with(document, SAFE_INPUT)


def _target(library: Library, collector: Collector, address: str) -> Target | None:
    if not collector.targets:
        library.note(address, (), "no x-target: say at least the target's format and suffix")
        return None
    try:
        return msgspec.convert(collector.targets[0], Target)
    except msgspec.ValidationError as error:
        library.note(address, ("x-target",), f"x-target: {error}")
        return None


def _imports(library: Library, collector: Collector, address: str) -> Mapping[str, Import]:
    try:
        return msgspec.convert(next(iter(collector.imports), {}), dict[str, Import])
    except msgspec.ValidationError as error:
        library.note(address, ("x-import",), f"x-import: {error}")
        return {}


def _notes(library: Library, document: JsonObject, address: str) -> tuple[Note, ...]:
    try:
        return msgspec.convert(document.get("x-explain", []), tuple[Note, ...])
    except msgspec.ValidationError as error:
        library.note(address, ("x-explain",), f"x-explain: {error}")
        return ()


def _require(library: Library, name: str) -> None:
    problems = list(dict.fromkeys(library.problems))
    if not problems:
        return
    count = f"{len(problems)} problems: " if len(problems) > 1 else ""
    raise UsageError(
        "profile-invalid",
        f"the profile {name!r} cannot be used: {count}{'; '.join(problems)}",
        hint=f"imgprep profiles lint {shlex.quote(name)} lists them one a line; "
        "docs/policies.md shows how a profile is written",
    )


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else ""
