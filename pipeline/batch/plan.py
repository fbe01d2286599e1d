"""From entries to tasks: which files there are, and what speaks against starting.

    Entry "golden/*.qcow2", two profiles ─▶ Task (a.qcow2, first), (a.qcow2, second), (b.qcow2, …) …

Looked for before anything starts, and told all at once: an image that is missing or listed twice, two
objects of one name, a profile or destination that is none, a destination without credentials.

A cluster knows an image by its content: what a worker began is continued by another one, which may see
the file under another inode and with other times.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from pipeline import __version__, profile
from pipeline.batch import images
from pipeline.batch.images import Image, OnServers
from pipeline.batch.located import Problem
from pipeline.batch.manifest import Entry, Identity, Manifest, ManifestError
from pipeline.errors import ImgprepError, SourceError
from pipeline.model import Job, Options
from pipeline.stores import open_store
from pipeline.stores.destination import object_name, parse
from pipeline.stores.location import Destination
from pipeline.targets import choice

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """One job of a batch."""

    job: Job
    key: str  # what makes it this task: source, profile, destination and name
    stamp: str  # what makes its result stale: the file, the profile's content, the options but identity
    size: int  # of the source file on the disk, bytes


@dataclass(frozen=True)
class _Judge:
    """A profile, and the name by which any process finds it again."""

    name: str
    profile: profile.Profile


@dataclass
class _Seen:
    """What was met already."""

    base: Path
    here: bool
    identity: Identity | None
    on_servers: OnServers
    problems: list[Problem] = field(default_factory=list)
    results: dict[tuple[object, ...], tuple[tuple[object, ...], str]] = field(default_factory=dict)
    judges: dict[str, _Judge | None] = field(default_factory=dict)
    places: dict[str, Destination | None] = field(default_factory=dict)

    def tried(self, entry: Entry, action: Callable[[], T]) -> T | None:
        """The action's value; None when it failed, which is then one of the problems."""
        try:
            return action()
        except ImgprepError as error:
            hint = f" ({error.hint})" if error.hint else ""
            self.add(entry, f"{error.message}{hint} [{error.code}]")
            return None

    def add(self, entry: Entry, text: str) -> None:
        self.problems.append(Problem(entry.place, text))


def make(
    manifest: Manifest, *, here: bool = True, identity: Identity | None = None
) -> tuple[Task, ...]:
    """Every task of a manifest, in its order.  Raises ``ManifestError`` with all problems.

    ``here``: jobs run on this machine, so its credentials count, and a file is known by its place and
    times unless content is asked for.  A cluster's workers have their own credentials, and know a file
    by its content always.  ``identity``: of all images, whatever the manifest says.
    """
    on_servers = images.on_servers((entry.image for entry in manifest.entries), here=here)
    seen = _Seen(manifest.base, here, identity, on_servers)
    tasks = [
        task
        for entry in manifest.entries
        for path in _files(entry, seen)
        for task in _tasks(entry, path, seen)
    ]
    if seen.problems:
        raise ManifestError(manifest.name, seen.problems)
    return tuple(tasks)


def _files(entry: Entry, seen: _Seen) -> Iterator[str]:
    try:
        yield from images.meant(entry.image, seen.base)
    except SourceError as error:
        seen.add(entry, error.message)


def _tasks(entry: Entry, path: str, seen: _Seen) -> Iterator[Task]:
    try:
        found = images.look(path, seen.on_servers)
    except ImgprepError as error:
        seen.add(entry, f"the image {path!r} cannot be used: {error.message}")
        return
    place = _place(entry, seen)
    identity = _identity(entry, found, seen)
    if identity is None or (place is None and entry.destination is not None):
        return
    for name in entry.profiles:
        judge = _judge(entry, name, seen)
        if judge is not None and _is_alone(entry, path, found, judge, place, seen):
            yield _task(entry, path, found, judge, place, identity)


def _identity(entry: Entry, found: Image, seen: _Seen) -> Identity | None:
    """What makes the image the same one; None when a cluster cannot do what was asked for.

    What a server says of an image is the same for every worker.
    """
    wanted = seen.identity or entry.identity
    if found.on_server:
        return wanted or "stat"
    if not seen.here and wanted == "stat":
        seen.add(
            entry,
            "identity 'stat' is for one machine: with --scheduler leave it out or say 'content'",
        )
        return None
    return wanted or ("stat" if seen.here else "content")


def _judge(entry: Entry, name: str, seen: _Seen) -> _Judge | None:
    """The profile, loaded once; None when that is a problem, which is told once."""
    if name not in seen.judges:
        seen.judges[name] = seen.tried(entry, partial(_loaded, name, seen.base))
    found = seen.judges[name]
    if found is not None and entry.options.allow:
        seen.tried(entry, partial(profile.check_waivers, found.profile, entry.options.allow))
    return found


def _loaded(name: str, base: Path) -> _Judge:
    if "/" in name or name.endswith(".json"):  # relative to the manifest, as images are
        name = os.path.normpath(os.path.join(base, os.path.expanduser(name)))
    return _Judge(name, profile.load(name))


def _place(entry: Entry, seen: _Seen) -> Destination | None:
    """The destination, with credentials for it; None when there is none, or a problem."""
    name = entry.destination
    if name is None:
        return None
    if name not in seen.places:
        seen.places[name] = seen.tried(entry, partial(_opened if seen.here else parse, name))
    return seen.places[name]


def _opened(name: str) -> Destination:
    place = parse(name)
    open_store(place).close()  # which finds the credentials, and asks nobody yet
    return place


def _is_alone(
    entry: Entry,
    path: str,
    found: Image,
    judge: _Judge,
    place: Destination | None,
    seen: _Seen,
) -> bool:
    """Whether no other task has this very result: the same object, or the same judgement."""
    result: tuple[object, ...] = (*found.place, judge.name)
    name = None
    if place is not None:
        name = seen.tried(entry, partial(_name, entry.options, path, judge.profile, place))
        result = (place.url, name or path)
    if result not in seen.results:
        seen.results[result] = (found.place, _where(entry, path))
        return True
    other, where = seen.results[result]
    if name is None or (other == found.place and len(entry.profiles) == 1):
        seen.add(entry, f"the image {path!r} is listed twice; first {where}")
    else:
        words = f"{path!r} would be stored as {name!r} as well as {where}"
        seen.add(entry, f"{words}; give one of them another name or destination")
    return False


def _name(options: Options, path: str, judge: profile.Profile, place: Destination) -> str:
    """What the object will be called.  Raises ``UsageError`` for a name or a format that is none."""
    suffix = choice.chosen(judge.target, options.format).suffix
    return object_name(place, path, suffix, name=options.name)


def _where(entry: Entry, path: str) -> str:
    return f"{path!r} (line {entry.place.line})" if entry.place else repr(path)


def _task(
    entry: Entry,
    path: str,
    found: Image,
    judge: _Judge,
    place: Destination | None,
    identity: Identity,
) -> Task:
    options = replace(entry.options, identity=identity)
    if place is not None and place.scheme == "file":
        options = replace(options, create=True)  # as imgprep run does: a directory is made
    job = Job(path, judge.name, entry.destination, options)
    asked = replace(options, identity=Options().identity)  # it makes no result another one
    url = place.url if place else None
    return Task(
        job,
        key=_short_digest(path, judge.name, url, options.name),
        stamp=_short_digest(*found.stamp, judge.profile.digest, asked, __version__),
        size=found.size,
    )


def _short_digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
