"""Many file systems on one disk, for the direct reader and one appliance to be asked about alike."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from phony import builder

from pipeline.content import filesystems
from pipeline.guest import facts
from pipeline.guest.survey import Survey, Volume, survey
from pipeline.guest.tree import TreeError
from pipeline.source import Source
from pipeline.tools import nbd
from pipeline.tools.appliance import launch
from pipeline.tools.reader import client
from pipeline.tools.reader.child import UnableError
from pipeline.tools.rungs import Ladder

MIB = 1 << 20
ALL_ANSWERS_S = 900.0


def gather(path: Path, contents: dict[str, Path]) -> dict[str, Volume]:
    """One GPT disk with each of the files in a partition; the volumes by the names of the files."""
    disks = builder("guest_disks")
    pieces, volumes, at = [], {}, 1
    for number, (name, content) in enumerate(contents.items(), start=1):
        length = content.stat().st_size
        size = -(-length // MIB)
        pieces.append(disks.Piece(at, size, "linux", content))
        volumes[name] = Volume(f"/dev/sda{number}", at * MIB, size * MIB, None)
        at += size
    disks.disk(path, at + 1, "gpt", pieces)
    with Source.open(path) as source:
        return {name: _described(source, volume) for name, volume in volumes.items()}


def _described(source: Source, volume: Volume) -> Volume:
    assert volume.offset is not None
    return replace(volume, type=filesystems.signature(source, volume.offset, volume.size))


@dataclass
class Both:
    """One disk, open in both ways."""

    volumes: dict[str, Volume]
    source: Source
    direct: client.DirectReader
    appliance: launch.Appliance


@contextlib.contextmanager
def both(path: Path, volumes: dict[str, Volume], scratch: Path) -> Iterator[Both]:
    """The disk in an appliance and in the direct reader; a busy machine takes its time to start one."""
    patient = mock.patch.object(launch, "LAUNCH_TCG_S", ALL_ANSWERS_S)
    with Source.open(path) as source, patient:
        container = {"format": "raw", "virtual_size": source.size}
        with (
            nbd.serve(source, container, scratch=scratch) as server,
            launch.open_appliance(server, scratch=scratch) as appliance,
            client.open_reader(source) as direct,
        ):
            appliance._channel.allow(ALL_ANSWERS_S)
            yield Both(volumes, source, direct, appliance)


def answer(ask: Any, *arguments: Any) -> Any:
    """An answer, or the kind of refusal it is."""
    try:
        return ask(*arguments)
    except TreeError:
        return "error"
    except UnableError as error:
        return f"unable: {error}"


def everything(tree: Any, limit: int = 200, deepest: int = 8) -> dict[str, Any]:
    """All that a tree says about its files, question by question; directories beyond a limit by name.

    Damaged directories may hold themselves, so there is a deepest one.
    """
    told: dict[str, Any] = {}
    todo = ["/"]
    while todo:
        directory = todo.pop()
        names = answer(tree.names, directory)
        told[f"names {directory}"] = names
        if isinstance(names, str):
            continue
        for name, entry in zip(names, _stats(tree, directory, names[:limit]), strict=False):
            path = f"{directory.rstrip('/')}/{name}"
            told[f"stat {path}"] = _said(entry)
            if getattr(entry, "modified", None) is not None:
                told[f"modified {path}"] = entry.modified
            if isinstance(entry, str) or entry is None:
                continue
            if entry.kind == "directory" and name != "lost+found" and path.count("/") < deepest:
                todo.append(path)
            elif entry.kind == "link":
                told[f"readlink {path}"] = answer(tree.readlink, path)
            elif entry.kind == "file" and entry.size:
                told[f"read {path}"] = answer(_content, tree, path, entry.size)
    return told | {question: ask(tree) for question, ask in _ANYWHERE.items()}


_ANYWHERE: dict[str, Callable[[Any], Any]] = {
    "free": lambda tree: answer(lambda: tree.free()["free"]),
    "stat missing": lambda tree: answer(tree.stat, "/", ["no such name", "x" * 255]),
    "names missing": lambda tree: answer(tree.names, "/no/such/directory"),
}


def asked_again(tree: Any, questions: Iterable[str]) -> dict[str, Any]:
    """The answers to some of the questions of ``everything``."""
    return {
        question: _ANYWHERE[question](tree) if question in _ANYWHERE else _told(tree, question)
        for question in questions
    }


def _told(tree: Any, question: str) -> Any:
    what, _, path = question.partition(" ")
    if what == "names":
        return answer(tree.names, path)
    if what == "readlink":
        return answer(tree.readlink, path)
    directory, _, name = path.rpartition("/")
    [entry] = _stats(tree, directory or "/", [name])
    if what == "stat" or entry is None or isinstance(entry, str):
        return _said(entry)
    return entry.modified if what == "modified" else answer(_content, tree, path, entry.size)


def _stats(tree: Any, directory: str, names: list[str]) -> list[Any]:
    found = answer(tree.stat, directory, names)
    if not isinstance(found, str):
        return found
    return [
        one if isinstance(one, str) else one[0]
        for one in (answer(tree.stat, directory, [name]) for name in names)
    ]


def _said(entry: Any) -> Any:
    if entry is None or isinstance(entry, str):
        return entry
    size = entry.size if entry.kind in ("file", "link") else 0
    return (entry.kind, size, entry.mode if entry.kind != "link" else 0)


def _content(tree: Any, path: str, size: int) -> bytes:
    """The start of a file, a piece of its middle, and its end."""
    spots = {0: 64 << 10, size // 2: 1000, max(0, size - 100): 200}
    return b"|".join(tree.read(path, at, length) for at, length in spots.items())


def differences(told: dict[str, Any], reference: dict[str, Any]) -> list[str]:
    """Where what was told is not what the reference says; "unable" is no answer, so not wrong."""
    found = []
    for question, said in told.items():
        if isinstance(said, str) and said.startswith("unable"):
            continue
        if said != reference.get(question, "not asked"):
            found.append(f"{question}: {_brief(said)} but {_brief(reference.get(question))}")
    return found


def _brief(said: Any) -> str:
    return repr(said)[:120]


class Renamed:
    """An appliance in which a guest's devices have other names."""

    def __init__(self, appliance: launch.Appliance, names: dict[str, str]) -> None:
        self._appliance = appliance
        self._names = names

    def mount(self, device: str, kind: str) -> Any:
        return self._appliance.mount(self._names[device], kind)

    def kind(self, device: str) -> str | None:
        return self._appliance.kind(self._names[device])

    def inspect(self) -> Any:
        raise TreeError("not asked here")


def sections(image: Path, open_disk: Both, names: dict[str, str]) -> tuple[Any, Any]:
    """A guest's section by the direct reader alone, and by the appliance."""
    with Source.open(image) as source, client.open_reader(source) as direct:
        seen: Survey = survey(source)
        ours = facts.collect(seen, Ladder(seen, direct, None))
        theirs = facts.collect(seen, Renamed(open_disk.appliance, names))
    return ours, theirs
