"""The manifest: what shall be done, as its author wrote it down.

    images.yaml ──located──▶ Node ──batch.schema.json──▶ Manifest {entries: Entry…}
                                        └── every problem, with line and column

    version: 1
    defaults: {profile: rackspace, to: "swift://images/", options: {guest: auto}}
    images:
      - web.qcow2                                 a file
      - golden/                                   every image in a directory
      - "nightly/*.vmdk"                          a pattern
      - image: db.qcow2                           … and what differs for it
        name: db-2026.vhd
        profile: rackspace-2014                   one, or a list: a job for each
        options: {guest: "off"}

A list alone is the same as ``images:``.  What an entry says stands above the defaults, option by option.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from pipeline import defaults
from pipeline.batch import located
from pipeline.batch.located import LocatedError, Node, Place, Problem
from pipeline.errors import UsageError
from pipeline.model import Options
from pipeline.profile import schemas
from pipeline.text import clean

MOST_TOLD = 100

Identity: TypeAlias = Literal["stat", "content"]


@dataclass(frozen=True)
class Entry:
    """One line of the manifest: images, and what shall be done with them."""

    image: str  # a path, a directory or a pattern, as it was written
    place: Place | None
    profiles: tuple[str, ...] = (defaults.PROFILE,)
    destination: str | None = None
    options: Options = field(default_factory=Options)
    identity: Identity | None = None  # as its author wrote it; None: as suits whoever does the jobs


@dataclass(frozen=True)
class Manifest:
    """A manifest that fits its schema."""

    name: str  # for messages
    base: Path  # what relative paths are relative to
    entries: tuple[Entry, ...]


class ManifestError(UsageError):
    """A manifest with everything that is wrong with it: ``lines`` for people, one a problem."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self.lines = tuple(_line(name, problem) for problem in problems[:MOST_TOLD])
        left = len(problems) - len(self.lines)
        if left > 0:
            self.lines += (f"{name}: {left} more problems",)
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            "manifest-invalid",
            f"{clean(name)} has {count}; the first: {self.lines[0]}",
            hint="nothing was started; the form is in schemas/batch.schema.json",
        )


def load(path: Path) -> Manifest:
    """Read a manifest.  Raises ``UsageError``: ``manifest-unreadable``, or ``ManifestError``."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            "manifest-unreadable",
            f"the manifest {str(path)!r} cannot be read: {error.strerror}",
            hint="give the path of a YAML or JSON file; for images give --to DEST as well",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            "manifest-unreadable",
            f"the manifest {str(path)!r} is no UTF-8 text (byte {error.start}): is it an image?",
            hint="to do images without a manifest give --to DEST as well",
        ) from error
    return parse(text, name=str(path), base=path.absolute().parent)


def of_images(
    images: Sequence[str], destination: str, profiles: tuple[str, ...], options: Options
) -> Manifest:
    """The manifest that the command line is: every image to one destination."""
    entries = (
        Entry(image, None, profiles or (defaults.PROFILE,), destination, options)
        for image in images
    )
    return Manifest("the command line", Path.cwd(), tuple(entries))


def parse(text: str, *, name: str, base: Path) -> Manifest:
    """The manifest in ``text``; raises ``ManifestError``."""
    try:
        root = located.read(text)
    except LocatedError as error:
        raise ManifestError(name, [error.problem]) from error
    if isinstance(root.value, list):
        root = Node({"images": root}, root.place)
    problems = list(_problems(root))
    if problems:
        raise ManifestError(name, sorted(problems, key=_order))
    return Manifest(name, base, tuple(_entries(root)))


def _order(problem: Problem) -> tuple[int, int]:
    return (problem.place.line, problem.place.column) if problem.place else (0, 0)


def _problems(root: Node) -> Iterator[Problem]:
    """All that is wrong by the schema.

    A long manifest has few kinds of entries: those that differ in image and name alone are shown to
    the validator once, and plain paths never.
    """
    images = root.value.get("images") if isinstance(root.value, dict) else None
    if images is None or not isinstance(images.value, list) or not images.value:
        yield from _against(schemas.validator("batch"), root)
        return
    head = Node(
        {**root.value, "images": Node([Node("any", images.place)], images.place)},
        root.place,
        1,
        root.keys,
    )
    yield from _against(schemas.validator("batch"), head)
    schema = schemas.validator("batch").schema["properties"]["images"]["items"]
    validator = schemas.validator("batch").evolve(schema=schema)
    good = {repr("x")}
    for item in images.value:
        kind = repr(_without_words(located.plain(item)))
        if kind not in good:
            problems = list(_against(validator, item))
            yield from problems
            if not problems:
                good.add(kind)


def _without_words(value: Any) -> Any:
    """The entry with an ``x`` for each text of which the schema only asks that it is one."""
    if _is_text(value):
        return "x"
    if isinstance(value, dict):
        words = {key: "x" for key in ("image", "name") if _is_text(value.get(key))}
        return value | words
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _against(validator: Any, node: Node) -> Iterator[Problem]:
    for error in validator.iter_errors(located.plain(node)):
        path = list(error.absolute_path)
        place = located.place_of(node, path)
        if error.validator == "additionalProperties":
            yield from _strangers(error, node, path)
            continue
        where = ".".join(str(step) for step in path)
        words = "is not allowed here" if error.validator == "not" else str(error.message)
        yield Problem(place, f"{where}: {words}" if where else words)


def _strangers(error: Any, node: Node, path: Sequence[str | int]) -> Iterator[Problem]:
    """Each key that nobody knows, at its own place."""
    import difflib

    for step in path:
        node = node.value[step]
    known = error.schema.get("properties", {})
    for key, place in node.keys.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            yield Problem(place, f"the key {key!r} is not known; {advice}")


def _entries(root: Node) -> Iterator[Entry]:
    defaults = located.plain(root.value["defaults"]) if "defaults" in root.value else {}
    usual = _entry("", None, defaults)
    for item in root.value["images"].value:
        if isinstance(item.value, str):
            yield replace(usual, image=item.value, place=item.place)
        else:
            own = located.plain(item)
            options = {**defaults.get("options", {}), **own.get("options", {})}
            if "name" in own:
                options["name"] = own["name"]
            yield _entry(own["image"], item.place, {**defaults, **own, "options": options})


def _entry(image: str, place: Place | None, choices: Mapping[str, Any]) -> Entry:
    profiles = choices.get("profile", defaults.PROFILE)
    options = choices.get("options", {})
    return Entry(
        image,
        place,
        (profiles,) if isinstance(profiles, str) else tuple(profiles),
        choices.get("to"),
        msgspec.convert(options, Options),
        options.get("identity"),
    )


def _line(name: str, problem: Problem) -> str:
    place = f":{problem.place.line}:{problem.place.column}" if problem.place else ""
    return f"{clean(name)}{place}: {clean(problem.text, 600)}"
