"""From facts to sentences: a requirement's templates, filled in safely.

    "The disk is {container.virtual_size:size} large."  +  facts  ->  "The disk is 200 GB (…) large."

A template names facts by their path (``{container.virtual_size}``), the evidence (``{detail}``), and a
profile's parameters (``{parameters.max-virtual-size.maximum:size}``).  Nothing else: no attribute
access, no indexing, no code.  What comes from an image is cleaned before it meets a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.text import clean

_FIELD = re.compile(r"\{([a-z0-9_][A-Za-z0-9_.\-]*)(?::([a-z]+))?\}")
_DECIMAL = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
_BINARY = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

NOT_JUDGED = "This could not be judged: "
"""How the message of every finding begins whose requirement nobody could judge."""


def cleaned(value: Any) -> Any:
    """A JSON-shaped value with every string in it cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(item) for item in value]
    return value


def size(count: int) -> str:
    """Bytes for people, in both units, because vendors mix them: ``160 GB (149.01 GiB)``.

    The round one comes first: ``64 MiB (67.11 MB)``.  Where two decimals hide something, the exact
    count follows: a limit is missed by one sector.
    """
    if abs(count) < 1000:
        return "1 byte" if count == 1 else f"{count} bytes"
    decimal, exact_decimal = _scaled(count, 1000, _DECIMAL)
    binary, exact_binary = _scaled(count, 1024, _BINARY)
    if exact_decimal:
        return f"{decimal} ({binary})"
    if exact_binary:
        return f"{binary} ({decimal})"
    return f"{decimal} ({binary}, {count:,} bytes)"


def _scaled(count: int, base: int, units: tuple[str, ...]) -> tuple[str, bool]:
    power = 0
    while abs(count) >= base ** (power + 1) and power < len(units) - 1:
        power += 1
    text = f"{count / base**power:.2f}".rstrip("0").rstrip(".")
    return f"{text} {units[power]}", count * 100 % base**power == 0


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{name} {plain(item)}" for name, item in value.items()]
    items = value if isinstance(value, list | tuple) else [value]
    words = [plain(item) for item in items]
    between = "; " if any(", " in word for word in words) else ", "
    return between.join(words) or "none"


def plain(value: Any) -> str:
    """One value as a word in a sentence."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | tuple):
        return _listed(value)
    if isinstance(value, Mapping):
        return clean(json.dumps(value, ensure_ascii=False, default=str))
    return str(value)


def _as_size(value: Any) -> str:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return size(value) if is_count else plain(value)


def _as_count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(value)


def _as_quoted(value: Any) -> str:
    return f"{clean(value)!r}" if isinstance(value, str) else plain(value)


def _as_day(value: Any) -> str:
    try:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d}"
    except (TypeError, ValueError, OverflowError, OSError):  # a guest's own idea of a time
        return plain(value)


FORMATS: Mapping[str, Callable[[Any], str]] = {
    "size": _as_size,  # bytes, in both units
    "count": _as_count,  # thousands separated
    "day": _as_day,  # of seconds since 1970: 2026-01-02
    "list": _listed,  # a, b, c; with commas in them a; b; of an object: name value, name value
    "quoted": _as_quoted,  # 'text'
}


def lookup(facts: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """Whether ``path`` ("section.fact.part") exists in the facts, and its value."""
    value: Any = facts
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return False, None
        value = value[step]
    return True, value


def fill(template: str, values: Mapping[str, Any]) -> str:
    """The template with every ``{path}`` and ``{path:format}`` replaced; unknown: "unknown"."""

    def one(match: re.Match[str]) -> str:
        known, value = lookup(values, match[1])
        return FORMATS.get(match[2] or "", plain)(value) if known else "unknown"

    return _FIELD.sub(one, template)


def fill_known(template: str, values: Mapping[str, Any]) -> str:
    """Like ``fill``, but what is not known keeps its place: ``<container.virtual_size>``."""

    def one(match: re.Match[str]) -> str:
        known, value = lookup(values, match[1])
        return FORMATS.get(match[2] or "", plain)(value) if known else f"<{match[1]}>"

    return _FIELD.sub(one, template)


def fields(template: str) -> tuple[str, ...]:
    """The paths that a template names."""
    return tuple(match[1] for match in _FIELD.finditer(template))


def template_problems(template: str) -> list[str]:
    """What is wrong with a template: an unknown format, or a brace that is no field."""
    problems = [
        f"{match[0]} names the unknown format {match[2]!r} (known: {', '.join(sorted(FORMATS))})"
        for match in _FIELD.finditer(template)
        if match[2] and match[2] not in FORMATS
    ]
    if re.search(r"[{}]", _FIELD.sub("", template)):
        problems.append(f"a brace in {template!r} is not part of a {{path}} or {{path:format}}")
    return problems
