"""Requirements and profiles as data: finding the documents, following their references.

    profile ──allOf──▶ {"$ref": "../requirements/x.json", "x-finding": {overrides}}  ──▶ requirement
       │       └─────▶ {"$ref": "safe-input.json"}  ──▶ group ──allOf──▶ more of both
       └──x-advice───▶ the same, but it never decides the plain yes or no

A *document* is one JSON file with the address ``file:///…``.  The built-in ones live in ``schemas/``.
From anywhere, ``imgprep:requirements/NAME.json`` and ``imgprep:profiles/NAME.json`` are the built-in
ones.  Where no file lies beside the referring one, ``requirements/NAME.json`` and ``profiles/NAME.json``
(also with ``../``) and the bare name of a profile mean them too, so that a copy of a built-in profile
works anywhere.  Nothing is ever fetched from a network.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import msgspec

from pipeline.model import JsonObject, Provenance, Severity
from pipeline.profile.positions import Steps, locate

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
LARGEST_DOCUMENT = 4 << 20
"""Bytes; a profile is a page of text."""

DEEPEST = 64
"""Arrays and objects in one another; ours have about fifteen."""

MOST_ENTRIES = 2000
"""Entries of a profile's lists and of the lists in them; ours have about a hundred."""

BUILT_IN = "imgprep:"
"""What a reference to a document of ours begins with."""


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``x-finding`` of a requirement: everything about it that is not the schema."""

    severity: Severity
    message: str  # template: what is wrong, with the value seen
    expected: str  # template
    remedy: str  # template
    source: Provenance
    needs: tuple[str, ...] = ()  # fact paths without which it cannot be judged
    gate: bool = False  # safety: the image goes no further, and no waiver helps
    path: str | None = None  # the fact it speaks of
    vendor_code: str | None = None
    fixed_by: str | None = None  # "convert": on the source it is only information


@dataclass(frozen=True)
class Requirement:
    """One requirement as one profile lists it."""

    rule: str
    title: str
    description: str
    schema: JsonObject
    address: str
    template: Template
    advice: bool = False
    position: tuple[str | int, ...] = ()  # in the profile: ("allOf", 3) or ("allOf", 0, "allOf", 2)
    order: int = 0

    @property
    def cases(self) -> Mapping[str, list[JsonObject]]:
        """Facts that pass and facts that fail, which the suite runs."""
        found: Mapping[str, list[JsonObject]] = self.schema.get("x-cases", {})
        return found


@dataclass
class Library:
    """The documents read so far, and everything that is wrong with them."""

    documents: dict[str, JsonObject] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)  # sha256 (hex) of each one's bytes
    problems: list[str] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)  # addresses that are not ours

    def open(self, address: str, asked: tuple[str, Steps] | None = None) -> JsonObject | None:
        """The document at a ``file:`` address; None, and a problem noted, when it cannot be had.

        ``asked`` is the document that refers to it, and where.
        """
        if address not in self.documents:
            found = self._read(address, asked)
            if found is None:
                return None
            self.documents[address], self.digests[address] = found
        return self.documents[address]

    def follow(self, base: str, reference: str, at: Steps = ()) -> str | None:
        """The address of the document that ``reference``, at a place of ``base``, means; opened."""
        address, _ = urldefrag(urljoin(base, reference))
        return address if self.open(address, (base, at)) is not None else None

    def note(self, address: str, at: Steps, message: str) -> None:
        """Note what is wrong at a place of a document of the user's."""
        path = local_path(address)
        line, column = 1, 1
        with contextlib.suppress(OSError, ValueError, IndexError):  # another text by now
            line, column = locate(path.read_text("utf-8") if path else "{}", at)
        self.problems.append(f"{path or address}:{line}:{column}: {message}")

    def _read(self, address: str, asked: tuple[str, Steps] | None) -> tuple[JsonObject, str] | None:
        path = local_path(address)
        real = path if path is not None and path.is_file() else path and _built_in_twin(path)
        if real is None:
            if path is None:
                wrong = f"{address}: only files can be referred to, never a network address"
            elif SCHEMAS in path.parents:
                wrong = f"{_built_in_name(path)}: nothing built in has that name{_nearest(path)}"
            else:
                wrong = f"{path}: there is no such file, and nothing built in of that name"
            if asked is None:
                self.problems.append(wrong)
            else:
                self.note(*asked, wrong)
            return None
        if SCHEMAS in real.parents:
            return _built_in(real)
        self.foreign.add(address)
        return self._parse(real)

    def _parse(self, path: Path) -> tuple[JsonObject, str] | None:
        try:
            if path.stat().st_size > LARGEST_DOCUMENT:
                self.problems.append(f"{path}: larger than {LARGEST_DOCUMENT} bytes; not a profile")
                return None
            data = path.read_bytes()
            content = json.loads(data)
            too_deep = _deeper_than(content, DEEPEST)
        except OSError as error:
            self.problems.append(f"{path}: cannot be read: {error.strerror}")
        except json.JSONDecodeError as error:
            place = f"{path}:{error.lineno}:{error.colno}"
            self.problems.append(f"{place}: is not JSON: {error.msg}")
        except (ValueError, RecursionError) as error:
            self.problems.append(f"{path}: is not JSON: {error}")
        else:
            if isinstance(content, dict) and not too_deep:
                return _with_addresses(content), hashlib.sha256(data).hexdigest()
            wrong = f"is nested deeper than {DEEPEST}" if too_deep else "is not a JSON object"
            self.problems.append(f"{path}: {wrong}")
        return None


def _deeper_than(content: Any, levels: int) -> bool:
    """Whether arrays and objects lie in one another more than so many times."""
    layer = [content]
    for _ in range(levels):
        layer = [
            inner
            for item in layer
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not layer:
            return False
    return True


@functools.cache
def _built_in(path: Path) -> tuple[JsonObject, str]:
    """A document of ours, which the suite has checked; a run loads two profiles made of the same ones."""
    data = path.read_bytes()
    return json.loads(data), hashlib.sha256(data).hexdigest()


def local_path(address: str) -> Path | None:
    """The path of a ``file:`` address."""
    parts = urlsplit(address)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    return Path(unquote(parts.path))


def _built_in_twin(path: Path) -> Path | None:
    folder = path.parent.name if path.parent.name in _FOLDERS else "profiles"
    twin = SCHEMAS / folder / path.name
    return twin if twin.is_file() else None


_FOLDERS = ("requirements", "profiles")


def _built_in_address(reference: str) -> str:
    """``imgprep:profiles/aws.json`` as the file it is; what leads elsewhere stays, and is refused."""
    name = Path(reference.removeprefix(BUILT_IN))
    if len(name.parts) == 2 and name.parts[0] in _FOLDERS and name.suffix == ".json":
        return (SCHEMAS / name).as_uri()
    return reference


def _with_addresses(content: Any) -> Any:
    """A document with its ``imgprep:`` references as file addresses, which any validator follows."""
    if isinstance(content, dict):
        return {
            key: _built_in_address(value)
            if key == "$ref" and isinstance(value, str) and value.startswith(BUILT_IN)
            else _with_addresses(value)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [_with_addresses(item) for item in content]
    return content


def _built_in_name(path: Path) -> str:
    """As a profile refers to it: ``imgprep:requirements/machine-id.json``."""
    return f"{BUILT_IN}{path.relative_to(SCHEMAS).as_posix()}"


def _nearest(path: Path) -> str:
    """The built-in names that a misspelt one may mean."""
    known = [item.stem for item in path.parent.glob("*.json")]
    near = difflib.get_close_matches(path.stem, known, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


_NO_SCHEMAS = ("x-cases", "x-explain", "x-finding", "const", "enum", "default", "examples")


def keywords(document: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[Steps, str, Any]]:
    """Every key of a document's schemas at any depth: where it stands, its name, its value."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield (*at, key), key, value
            if key not in _NO_SCHEMAS:
                yield from keywords(value, (*at, key))
    elif isinstance(document, list):
        for index, item in enumerate(document):
            yield from keywords(item, (*at, index))


def references(document: Any) -> Iterator[tuple[Steps, str]]:
    """Every ``$ref`` and ``$dynamicRef`` in a document, and where it stands."""
    for at, key, value in keywords(document):
        if key in ("$ref", "$dynamicRef") and isinstance(value, str):
            yield at, value


@dataclass
class Collector:
    """Walks a profile's lists and collects its requirements, each rule once."""

    library: Library
    found: dict[str, Requirement] = field(default_factory=dict)
    addresses: set[str] = field(default_factory=set)
    entries: int = 0  # looked at so far: lists that list one another grow without end
    targets: list[JsonObject] = field(default_factory=list)  # the outermost first …
    imports: list[JsonObject] = field(default_factory=list)  # … of these too
    parameters: dict[str, JsonObject] = field(default_factory=dict)  # the outermost value of each

    def collect(self, address: str, document: JsonObject) -> None:
        """The profile's own list, then its advice."""
        self.addresses.add(address)
        self._walk(address, document, (), {}, advice=False, trail=(address,))

    def _walk(
        self,
        address: str,
        document: JsonObject,
        position: tuple[str | int, ...],
        outer: JsonObject,
        *,
        advice: bool,
        trail: tuple[str, ...],
    ) -> None:
        for key, found in (("x-target", self.targets), ("x-import", self.imports)):
            if isinstance(document.get(key), Mapping):
                found.append(document[key])
        self._set(document)
        for key in ("allOf", "x-advice"):
            listed = document.get(key)
            for index, entry in enumerate(listed if isinstance(listed, list) else ()):
                here = (*position, key, index)
                is_advice = advice or key == "x-advice"
                self._entry(address, entry, here, outer, advice=is_advice, trail=trail)

    def _set(self, document: JsonObject) -> None:
        """Take a document's parameters; what an outer one has set stays, as ``$dynamicRef`` has it."""
        own = document.get("$defs")
        for name, value in own.items() if isinstance(own, Mapping) else ():
            self.parameters.setdefault(name, value)

    def _entry(
        self,
        base: str,
        entry: Any,
        position: tuple[str | int, ...],
        outer: JsonObject,
        *,
        advice: bool,
        trail: tuple[str, ...],
    ) -> None:
        reference = entry.get("$ref") if isinstance(entry, Mapping) else None
        at = (*position[-2:], "$ref")  # position counts from the profile, a place from its document
        named = reference if isinstance(reference, str) else None
        address = None if named is None else self.library.follow(base, named, at)
        if address is None:
            return  # a missing file is noted below, a missing $ref by profile.schema.json
        if address in trail:
            self.library.note(base, at, f"{reference} refers back to itself")
            return
        self.entries += 1
        if self.entries > MOST_ENTRIES:
            if self.entries == MOST_ENTRIES + 1:
                self.library.note(base, (), f"its lists have more than {MOST_ENTRIES} entries")
            return
        self.addresses.add(address)
        words = {**entry.get("x-finding", {}), **outer}
        document = self.library.documents[address]
        if "x-finding" in document:
            self._add(address, document, words, position, advice=advice)
        else:
            self._walk(address, document, position, words, advice=advice, trail=(*trail, address))

    def _add(
        self,
        address: str,
        document: JsonObject,
        overrides: JsonObject,
        position: tuple[str | int, ...],
        *,
        advice: bool,
    ) -> None:
        source = _source_of_values(document, self.parameters)
        try:
            found = make(address, document, {**source, **overrides})
        except msgspec.ValidationError as error:
            self.library.note(address, ("x-finding",), f"x-finding: {error}")
            return
        weaker = found.template.gate and overrides.get("severity", "error") != "error"
        if weaker:
            self.library.problems.append(
                f"{found.rule} protects the machine that reads the image: its severity stays error"
            )
        earlier = self.found.get(found.rule)
        if earlier and advice and not earlier.advice:
            return  # advice does not weaken what decides
        if earlier and advice == earlier.advice and not overrides:
            return  # the same again, with no other words
        self.found[found.rule] = replace(
            found if overrides or not earlier else earlier,
            advice=advice,
            position=position,
            order=earlier.order if earlier else len(self.found),
        )


def _source_of_values(document: JsonObject, parameters: Mapping[str, JsonObject]) -> JsonObject:
    """``{"source": …}`` of the values that a requirement asks for; empty where they have none.

    Where two values come from two texts, the note names the other one.
    """
    asked = document.get("$defs")
    names = [name for name in asked if name in parameters] if isinstance(asked, Mapping) else []
    sources = [parameters[name].get("x-source") for name in names]
    known = [source for source in sources if isinstance(source, Mapping) and "address" in source]
    if not known:
        return {}
    first = dict(known[0])
    others = {
        f"{source['address']} ({source.get('date')})"
        for source in known[1:]
        if source["address"] != first["address"]
    }
    if others:
        also = f"the other text: {', '.join(sorted(others))}"
        first["note"] = f"{first['note']}; {also}" if first.get("note") else also
    return {"source": first}


def make(address: str, document: JsonObject, overrides: JsonObject | None = None) -> Requirement:
    """A requirement of a document; raises ``msgspec.ValidationError`` for a wrong ``x-finding``."""
    words = msgspec.convert({**document["x-finding"], **(overrides or {})}, Template)
    name = unquote(urlsplit(address).path).rsplit("/", 1)[-1]
    return Requirement(
        rule=name.removesuffix(".json"),
        title=str(document.get("title", name)),
        description=str(document.get("description", "")),
        schema=document,
        address=address,
        template=words,
    )
