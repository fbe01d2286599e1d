"""YAML or JSON text as values that know where they stand.

    text ──libyaml──▶ events ──read──▶ Node {value, line, column}
                                         value: scalar | list[Node] | dict[str, Node]

Scalars are read by the core schema of YAML 1.2, of which JSON is a part: ``off`` and ``no`` are
strings, ``012`` is twelve.  (https://yaml.org/spec/1.2.2/#103-core-schema)

Anchors may be used, but not to make a small text a huge value: an alias counts as much as what it
stands for.  Nothing here calls itself for what is nested, so that deep nesting is an error like others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

DEEPEST = 32
MOST_VALUES = 3_000_000
MOST_BYTES = 64 << 20
FREE = 10_000
"""What aliases may stand for in any text; beyond that no more than what is written out."""

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Place:
    """A line and a column, from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a text, and where."""

    place: Place | None  # None: not in the text but with all of it
    text: str


class LocatedError(Exception):
    """The text could not be read; ``problem`` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


@dataclass(slots=True)
class Node:
    """A value and the place where it begins.  ``count`` is how many values it is, written out."""

    value: Any  # Scalar, list[Node] or dict[str, Node]
    place: Place
    count: int = 1
    keys: dict[str, Place] = field(default_factory=dict)  # of a mapping


def read(text: str) -> Node:
    """The one document in ``text``.

    Raises ``LocatedError`` at the first thing after which nothing can be trusted: bad syntax, a key
    twice, anchors that explode.
    """
    if len(text) > MOST_BYTES:
        raise LocatedError(Problem(None, f"it is longer than {MOST_BYTES} characters"))
    import yaml

    try:
        return _Builder().build(yaml.parse(text, Loader=_loader()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else None
        words = " ".join(part for part in (error.context, error.problem) if part)
        raise LocatedError(Problem(place, _with_advice(words, text, mark))) from error
    except yaml.YAMLError as error:
        raise LocatedError(Problem(None, " ".join(str(error).split()))) from error


def plain(node: Node) -> Any:
    """The value without its places."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def place_of(node: Node, path: Sequence[str | int]) -> Place:
    """Where the value at ``path`` begins; of a missing one, what should hold it."""
    for step in path:
        inside = node.value
        if isinstance(inside, dict) and step in inside:
            node = inside[str(step)]
        elif isinstance(inside, list) and isinstance(step, int) and step < len(inside):
            node = inside[step]
        else:
            break
    return node.place


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml: fifteen times as fast


def _with_advice(words: str, text: str, mark: Any) -> str:
    if mark is None or "\t" not in text:
        return words
    line = (text.split("\n")[mark.line : mark.line + 1] or [""])[0]
    at_tab = "\t" in line[: mark.column + 1]
    return f"{words}; there is a tab, and YAML indents with spaces" if at_tab else words


class _Builder:
    """From events to nodes, with a stack of what is open."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._written = 0
        self._root: Node | None = None

    def build(self, events: Iterator[Any]) -> Node:
        import yaml

        documents = 0
        for event in events:
            match event:
                case yaml.ScalarEvent():
                    self._written += 1
                    value = _scalar(event.value) if event.implicit[0] else event.value
                    self._add(Node(value, _place(event)), event.anchor)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._begin(event, is_map=isinstance(event, yaml.MappingStartEvent))
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._end()
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise _wrong(_place(event), "a second document begins; one is expected")
        if self._root is None:
            raise LocatedError(Problem(None, "it is empty"))
        return self._root

    def _begin(self, event: Any, *, is_map: bool) -> None:
        self._written += 1
        place = _place(event)
        if len(self._open) >= DEEPEST:
            raise _wrong(place, f"values are nested deeper than {DEEPEST}")
        node = Node({} if is_map else [], place)
        self._open.append(_Open(node, event.anchor))

    def _end(self) -> None:
        done = self._open.pop()
        self._add(done.node, done.anchor)

    def _alias(self, event: Any) -> None:
        place = _place(event)
        known = self._anchors.get(event.anchor)
        if known is None:
            raise _wrong(place, f"*{event.anchor} stands for nothing that ended before it")
        self._add(Node(known.value, place, known.count, known.keys), None)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self._root = node
            return
        top = self._open[-1]
        top.node.count += node.count
        most = min(MOST_VALUES, 2 * self._written + FREE)
        if top.node.count > most:
            raise _wrong(node.place, f"anchors explode: more than {most} values, written out")
        top.put(node)


@dataclass(slots=True)
class _Open:
    """A mapping or a sequence that has not ended yet."""

    node: Node
    anchor: str | None
    key: str | None = None

    def put(self, node: Node) -> None:
        inside = self.node.value
        if isinstance(inside, list):
            inside.append(node)
        elif self.key is not None:
            inside[self.key], self.key = node, None
        else:
            self._put_key(node)

    def _put_key(self, node: Node) -> None:
        if isinstance(node.value, dict | list):
            raise _wrong(node.place, "a key must be a word")
        key = str(node.value)
        if key in self.node.value:
            first = self.node.keys[key]
            raise _wrong(node.place, f"the key {key!r} was there already in line {first.line}")
        self.node.keys[key] = node.place
        self.key = key


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _wrong(place: Place, text: str) -> LocatedError:
    return LocatedError(Problem(place, text))


_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def _scalar(text: str) -> Scalar:
    """A scalar without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
