"""Every field of a structure at its edges, and what is said of each: a table that a person can read.

    what is said of the structure as it is
    24+8 = 0000000000000000      what is said otherwise now

The tables lie beside the tests that make them.  A test compares; after a change of what is said,
``python tests/every_field.py`` writes all of them anew, and whoever runs it reads the difference.
"""

from __future__ import annotations

import itertools
import json
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handmade import Memory

ROOT = Path(__file__).resolve().parents[1]

Field = tuple[int, int]
"""Offset and length in bytes."""
Order = str  # "big" or "little"
Telling = Callable[["Memory"], Mapping[str, Any]]
"""What is said of bytes: names and values, JSON-shaped."""


@dataclass(frozen=True)
class Structure:
    """Bytes, and the fields in them."""

    data: bytes
    fields: tuple[Field, ...] = ()
    order: Order = "big"
    mend: Callable[[Memory], Memory] = lambda changed: changed
    """Makes checksums right again."""
    cuts: tuple[int, ...] = ()
    """Lengths to which it is cut as well; beyond its end: zeros follow."""


def run(first: int, *lengths: int) -> tuple[Field, ...]:
    """Fields that follow one another."""
    found = []
    for length in lengths:
        found.append((first, length))
        first += length
    return tuple(found)


def edges(old: int, length: int) -> Iterator[int]:
    """Values other than the old one that a field may be mistaken about."""
    most = (1 << 8 * length) - 1
    wanted = (0, old - 1, old + 1, old ^ 1 << 4 * length, most)
    yield from (value for value in dict.fromkeys(wanted) if value != old and 0 <= value <= most)


def table(structure: Structure, tell: Telling) -> list[str]:
    """The lines for one structure."""
    whole = Memory(structure.data)
    changes = ((label, tell(changed)) for label, changed in _changes(structure, whole))
    return [*compared(tell(whole), changes)]


def compared(
    base: Mapping[str, Any], others: Iterable[tuple[str, Mapping[str, Any]]]
) -> Iterator[str]:
    """What is said of the first one, and by their labels what is said otherwise of the others."""
    yield from (f"{name}: {_text(value)}" for name, value in base.items())
    for label, seen in others:
        yield f"{label}  {otherwise(base, seen)}".rstrip()


def cases(group: Mapping[str, Any], tell: Callable[[Any], Mapping[str, Any]]) -> Iterator[str]:
    """What is said of each of these by its name; of the first one in full."""
    told = ((_shown(name), tell(item)) for name, item in group.items())
    first, base = next(told)
    yield f"{first}:"
    yield from compared(base, told)


def _shown(name: str) -> str:
    return name.encode("unicode_escape").decode("ascii")


def _changes(structure: Structure, whole: Memory) -> Iterator[tuple[str, Memory]]:
    for offset, length in structure.fields:
        old = int.from_bytes(whole.read(offset, length), structure.order)  # type: ignore[arg-type]
        for value in edges(old, length):
            new = value.to_bytes(length, structure.order)  # type: ignore[arg-type]
            changed = structure.mend(whole.also(offset, new))
            yield f"{offset}+{length} = {new.hex()}", changed
    for size in structure.cuts:
        yield f"{size} bytes", Memory(structure.data[:size].ljust(size, b"\0"))


def otherwise(base: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    """What is not said as it was, in one line."""
    told = [f"{name}: {_text(value)}" for name, value in seen.items() if base.get(name) != value]
    if base.get("format") == seen.get("format"):  # of another one nothing is the same
        told += [f"no {name}" for name in base if name not in seen]
    return "; ".join(told)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names like ``details.version``."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            found |= flat(item, f"{before}{name}.")
        else:
            found[before + name] = item
    return found


def check(folder: Path, name: str, lines: Iterable[str]) -> None:
    """Compare with the table that is stored; where ``WRITING`` is true it is written instead.

    It ends at the first line that differs: what is wrong early is known early.
    """
    path = folder / f"{name}.txt"
    if WRITING:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))
        return
    made = (piece for line in lines for piece in line.split("\n"))
    kept = path.read_text().removesuffix("\n").split("\n")
    for number, (now, before) in enumerate(itertools.zip_longest(made, kept), 1):
        hint = f"{path.name}:{number}: python tests/every_field.py writes it anew"
        assert now == before, hint


WRITING = False


def main() -> None:
    """Write all tables, or those of the test files that are named."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import tests.every_field as used

    used.WRITING = True
    for path in map(Path, sys.argv[1:] or sorted((ROOT / "tests").rglob("test_every_*.py"))):
        sys.path.insert(0, str(path.parent))
        found = runpy.run_path(str(path))
        for name in found["STRUCTURES"]:
            found["compare"](name)
        print(path.name, len(found["STRUCTURES"]))


if __name__ == "__main__":
    main()
