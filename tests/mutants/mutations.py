"""The mutants of a file of code: one small change each, thought of by cosmic-ray's operators.

A mutant is known by the file's content, the operator and its place, so that a session that goes on
another day means the same ones; a sample orders them by a seed without regard to that content, so that
a change in one file leaves the sample of all others as it was.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.work_item import MutationSpec, WorkItem
from rooms import CACHE, ROOT

Position = tuple[int, int]  # line from 1, column from 0

# What is left out, as it changes nothing that runs: a type hint; a bare star among parameters, which is no
# product; what only a type checker runs; that a record is frozen, as there is nobody who writes to one; and
# whether it is the same None, or enumeration's item, or an equal one.
_IDLE = re.compile(r"\*,|\*$|(if )?TYPE_CHECKING:|True\)(?<=@dataclass\(frozen=True\))")
_SAME = ("core/ReplaceComparisonOperator_Is_Eq", "core/ReplaceComparisonOperator_IsNot_NotEq")


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    id: str
    file: str
    operator: str
    occurrence: int  # which of the places in the file that the operator can change
    start: Position
    end: Position

    @cached_property
    def source(self) -> str:
        """The whole file with the change in it."""
        operator = cosmic_ray.plugins.get_operator(self.operator)()
        changed: str = mutate_code((ROOT / self.file).read_text(), operator, self.occurrence)
        return changed

    @property
    def lines(self) -> tuple[str, str]:
        """What the changed lines were, and what they became."""
        old, new = (ROOT / self.file).read_text().splitlines(), self.source.splitlines()
        head = _equal(old, new)
        tail = _equal(
            old[: head - 1 if head else None : -1], new[: head - 1 if head else None : -1]
        )
        return _text(old[head : len(old) - tail]), _text(new[head : len(new) - tail])

    @property
    def item(self) -> WorkItem:
        """What a session of cosmic-ray holds of it."""
        spec = MutationSpec(self.file, self.operator, self.occurrence, self.start, self.end)
        return WorkItem.single(self.id, spec)

    @property
    def compiles(self) -> bool:
        """Whether it is a program: a star before an argument is taken for a product, for one.

        Nor can cosmic-ray change an exception that is named with a dot among others.
        """
        try:
            compile(self.source, self.file, "exec", dont_inherit=True)
        except (SyntaxError, AttributeError):
            return False
        return True

    def order(self, seed: str) -> str:
        """Where a sample by this seed has it."""
        return _digest(seed, self.file, self.operator, str(self.occurrence))


def mutants(file: str) -> list[Mutant]:
    """All mutants of a file that could mean something; thought of once, and kept while it stays."""
    kept = CACHE / "places" / f"{digest_of([file, __file__])}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps([dataclasses.astuple(each) for each in _mutants(file)]))
    return [
        Mutant(key, name, operator, index, tuple(start), tuple(end))
        for key, name, operator, index, start, end in json.loads(kept.read_text())
    ]


def _mutants(file: str) -> list[Mutant]:
    source = (ROOT / file).read_text()
    tree, hints, text = get_ast(source), list(_hints(source)), source.splitlines()
    nodes = list(ast_nodes(tree))
    found = []
    for name in cosmic_ray.plugins.operator_names():
        kind = cosmic_ray.plugins.get_operator(name)
        if kind.arguments() or name in _SAME:  # arguments: one variable by another, as configured
            continue
        places = [place for node in nodes for place in kind().mutation_positions(node)]
        for index, (start, end) in enumerate(places):
            hint = any(first <= start < last for first, last in hints)
            if not hint and not _IDLE.match(text[start[0] - 1], start[1]):
                key = _digest(file, source, name, str(index))
                found.append(Mutant(key, file, name, index, start, end))
    return found


def _hints(source: str) -> Iterator[tuple[Position, Position]]:
    """Where the type hints stand."""
    for node in ast.walk(ast.parse(source)):
        for hint in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(hint, ast.expr) and hint.end_lineno and hint.end_col_offset:
                yield (hint.lineno, hint.col_offset), (hint.end_lineno, hint.end_col_offset)


@dataclass(frozen=True)
class Place:
    """What stands around a position."""

    function: str | None  # the outermost function or method in whose body it is, qualified
    lines: frozenset[int]  # of the innermost statement, or its head where it has a body
    names: tuple[str, ...]  # of that function, or of what the module's statement gives a value to


def place(source: str, at: Position) -> Place:
    """What stands around a position in a file; without a function it runs when that is imported."""
    around = _around(ast.parse(source).body, at)
    names: list[str] = []
    for node in around:
        if isinstance(node, ast.ClassDef):
            names.append(node.name)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if at >= (node.body[0].lineno, node.body[0].col_offset):
                return Place(".".join([*names, node.name]), _head(around[-1]), (node.name,))
            break
    return Place(None, frozenset(), _given(around[0]) if around else ())


def _around(body: list[Any], at: Position) -> list[Any]:
    """The statements, handlers and cases that hold a position, from the outside."""
    for node in body:
        if _first(node) <= at[0] <= _last(node):
            fields = (getattr(node, name, ()) for name in _BODIES)
            return [node, *_around([each for field in fields for each in field], at)]
    return []


_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


def _head(node: Any) -> frozenset[int]:
    body = getattr(node, "body", None)
    after = max(_first(node) + 1, _first(body[0])) if body else _last(node) + 1
    return frozenset(range(_first(node), after))


def _given(node: Any) -> tuple[str, ...]:
    targets = getattr(node, "targets", None) or [getattr(node, "target", node)]
    names = [getattr(each, "id", getattr(each, "name", None)) for each in targets]
    return tuple(name for name in names if name)


def _last(node: Any) -> int:
    end: int | None = getattr(node, "end_lineno", None)  # a case has none of its own
    return _last(node.body[-1]) if end is None else end


def _first(node: Any) -> int:
    begin = getattr(node, "lineno", None)
    lines = [node.pattern.lineno if begin is None else begin]
    return int(min([*lines, *(each.lineno for each in getattr(node, "decorator_list", []))]))


def _equal(old: list[str], new: list[str]) -> int:
    """How many lines at the beginning are the same."""
    pairs = zip(old, new, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))


def _text(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def digest_of(files: list[str]) -> str:
    """What these files hold, in one word."""
    return _digest(*files, *((ROOT / file).read_text() for file in files))
