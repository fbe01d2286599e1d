"""Whether a regular expression may be asked about a stranger's strings: none that can take for ever.

    (a+)+  (a|aa)*  .*.*.*     each character more doubles or multiplies the time that "no" takes

Python's ``re`` tries every way to match and cannot be stopped.  So an expression of the user's own is
looked at before: no repetition inside a repetition, no choice inside one, at most two of them in a row,
no reference back.  What is left takes at most the cube of the string's length, and facts are short.
https://owasp.org/www-community/attacks/Regular_expression_Denial_of_Service_-_ReDoS
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

LONGEST = 500  # characters of an expression
MOST_REPEATS = 2
_FEW = 32
"""A repetition that ends after so many is none that explodes."""

_parser: Any = importlib.import_module("re._parser")


def problem(pattern: str) -> str | None:
    """Why an expression is refused; None: it is fine, or none at all, which others say better."""
    if len(pattern) > LONGEST:
        return f"the pattern is longer than {LONGEST} characters"
    try:
        parsed = _parser.parse(pattern)
    except Exception:  # noqa: BLE001  # the meta schema tells that it is no pattern
        return None
    found = list(_items(parsed, repeated=False))
    for name, repeated in found:
        if name in ("GROUPREF", "GROUPREF_EXISTS", "ASSERT", "ASSERT_NOT"):
            return "the pattern refers back or looks ahead, which can take for ever"
        if repeated and name in ("REPEAT", "BRANCH"):
            return "the pattern repeats what repeats or chooses itself, which can take for ever"
    if sum(name == "REPEAT" for name, _ in found) > MOST_REPEATS:
        return f"the pattern has more than {MOST_REPEATS} repetitions, which can take for ever"
    return None


def _items(parsed: Any, *, repeated: bool) -> Iterator[tuple[str, bool]]:
    """Every operation, and whether it stands inside a repetition without a small end."""
    for operation, argument in parsed:
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _, most, inside = argument
            endless = most > _FEW
            if endless:
                yield "REPEAT", repeated
            yield from _items(inside, repeated=repeated or endless)
        elif name == "BRANCH":
            yield name, repeated
            for choice in argument[1]:
                yield from _items(choice, repeated=repeated)
        elif name == "SUBPATTERN":
            yield from _items(argument[-1], repeated=repeated)
        elif name == "ATOMIC_GROUP":
            yield from _items(argument, repeated=repeated)
        else:
            yield name, repeated
