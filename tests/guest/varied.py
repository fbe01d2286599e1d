"""A guest's files, each changed in every way that its readers may be mistaken about, and what is said then.

what is said of them as they are
etc/fstab 3.2 gone      what is said otherwise now        line 3, word 2
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from guests import Link
from phony import files_of

from pipeline.guest.answers import unfold
from pipeline.guest.tree import Files, TreeError
from tests import every_field

Content = Mapping[str, Any]
"""Names and contents, as ``phony.Memory`` has them."""
Telling = Callable[[Files], Any]


class Tables:
    """The tables that a test file makes, and where they are stored."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.made: dict[str, Callable[[], Iterator[str]]] = {}

    def __call__(self, make: Callable[[], Iterator[str]]) -> Callable[[], Iterator[str]]:
        """Register what makes a table; its name is the table's."""
        self.made[make.__name__.replace("_", "-")] = make
        return make

    def compare(self, name: str) -> None:
        """One table with the one that is stored."""
        every_field.check(self._folder, name, self.made[name]())


def told(question: Callable[[], Any]) -> dict[str, Any]:
    """What is said, by name; its lists one by one where records are in them."""
    try:
        value, reasons = unfold(question())
    except TreeError as error:
        return {"error": str(error)}
    found = dict(_flat("", value))
    return found | {f"unknown {name}": reason for name, reason in reasons.items()}


def _flat(before: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(f"{before}.{name}".lstrip("."), item)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for number, item in enumerate(value):
            yield from _flat(f"{before} {number}".lstrip(), item)
    elif value not in (None, [], ""):
        yield before or "said", value


def texts(text: str) -> Iterator[tuple[str, str]]:
    """The text without each line, with it again at the end, as a comment, and with each word changed."""
    lines = text.splitlines(keepends=True)
    for at, line in enumerate(lines):
        rest = [*lines[:at], *lines[at + 1 :]]
        yield f"{at + 1} gone", "".join(rest)
        yield f"{at + 1} last", "".join(rest) + line
        yield f"{at + 1} again", text + line
        yield f"{at + 1} #", "".join([*lines[:at], f"#{line}", *lines[at + 1 :]])
        for number, (start, end) in enumerate(_words(line), 1):
            for label, word in _changed(line[start:end]):
                new = line[:start] + word + line[end:]
                yield f"{at + 1}.{number} {label}", "".join([*lines[:at], new, *lines[at + 1 :]])


def _words(line: str) -> Iterator[tuple[int, int]]:
    yield from (match.span() for match in re.finditer(r"[\w./%@+-]+|[^\w\s./%@+-]+", line))


def _changed(word: str) -> Iterator[tuple[str, str]]:
    yield "gone", ""
    if word.isdigit():
        yield "+1", str(int(word) + 1)
        if int(word):
            yield "-1", str(int(word) - 1)
    elif word.swapcase() != word:
        yield "CASE", word.swapcase()
        yield "x", f"{word}x"
    else:
        yield "twice", word * 2


def trees(tree: Content) -> Iterator[tuple[str, Content]]:
    """The tree without each of its files, with nothing in it, and with a directory or a dead link instead."""
    for name, content in tree.items():
        yield f"{name} gone", {other: tree[other] for other in tree if other != name}
        if isinstance(content, str | bytes):
            yield f"{name} empty", {**tree, name: b""}
            yield f"{name} directory", {**tree, name: None}
        yield f"{name} dead link", {**tree, name: Link("/nowhere")}


def of_text(text: str, tell: Callable[[str], Any]) -> Iterator[str]:
    """The table of one text."""
    yield from _table(lambda new: told(lambda: tell(new)), text, texts(text))


def of_tree(tree: Content, tell: Telling, *varied: str, whole: bool = True) -> Iterator[str]:
    """The table of a tree, where the texts of some files are changed too."""

    def changes() -> Iterator[tuple[str, Content]]:
        yield from trees(tree) if whole else ()
        for name in varied:
            for label, text in texts(tree[name]):
                yield f"{name} {label}", {**tree, name: text}

    yield from _table(lambda new: told(lambda: tell(files_of(dict(new)))), tree, changes())


def of_values(values: Mapping[str, Any], tell: Callable[[Any], Any]) -> Iterator[str]:
    """The table of named values."""
    for label, value in values.items():
        yield f"{label}  {every_field.otherwise({}, told(lambda value=value: tell(value)))}".rstrip()


def of_record(
    record: Any, changes: Mapping[str, tuple[Any, ...]], tell: Callable[[Any], Any]
) -> Iterator[str]:
    """The table of a record with other values in its fields."""
    changed = (
        (f"{name} = {value!r}", dataclasses.replace(record, **{name: value}))
        for name, values in changes.items()
        for value in values
    )
    yield from _table(lambda new: told(lambda: tell(new)), record, changed)


def _table(
    tell: Callable[[Any], dict[str, Any]], base: Any, changes: Iterator[tuple[str, Any]]
) -> Iterator[str]:
    known = tell(base)
    yield from every_field.otherwise({}, known).split("; ")
    for label, changed in changes:
        yield f"{label}  {otherwise(known, tell(changed))}".rstrip()


def otherwise(known: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    """What is not said as it was; of lists what is gone and what has come."""
    return every_field.otherwise(
        known, {name: _short(known.get(name), value) for name, value in seen.items()}
    )


def _short(old: Any, new: Any) -> Any:
    if old == new or not (isinstance(old, list) and isinstance(new, list)):
        return new
    gone, come = [x for x in old if x not in new], [x for x in new if x not in old]
    if [x for x in old if x in new] != [x for x in new if x in old]:
        return new
    return " ".join([*(f"-{x}" for x in gone), *(f"+{x}" for x in come)])


def of_guests(tree: Content, tell: Callable[[Content], Any]) -> Iterator[str]:
    """The table of a whole guest, each of its files otherwise."""
    yield from _table(lambda new: told(lambda: tell(new)), tree, trees(tree))
