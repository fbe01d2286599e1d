"""Where something stands in a JSON text: line and column of a path, for people who look for a mistake.

    {"allOf": [                       ("allOf", 0, "$ref")  ──▶  line 2, column 4
       {"$ref": "x.json"}             a step that is not there: where its parent stands

The text has been read by ``json`` already, so that it is JSON; nothing is looked at but what lies on the
way to the path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()

Steps = Sequence[str | int]
"""Keys and indexes from the outermost value inwards."""


def locate(text: str, at: Steps) -> tuple[int, int]:
    """Line and column, from 1, of the key or item that ``at`` leads to."""
    place = value = _skip(text, 0)
    for step in at:
        found = next((spot for name, *spot in _members(text, value) if name == step), None)
        if found is None:
            break
        place, value = found
    return text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)


def _skip(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    assert match is not None  # it matches nothing as well
    return match.end()


def _members(text: str, offset: int) -> Iterator[tuple[str | int, int, int]]:
    """Each member of the array or object at ``offset``: its name, and where it and its value begin."""
    opened = text[offset]
    if opened not in "[{":
        return
    place, index = _skip(text, offset + 1), 0
    while text[place] not in "]}":
        name: str | int = index
        value = place
        if opened == "{":
            name, end = _DECODER.raw_decode(text, place)
            value = _skip(text, _skip(text, end) + 1)  # behind the colon
        yield name, place, value
        _, end = _DECODER.raw_decode(text, value)
        place, index = _skip(text, end), index + 1
        if text[place] == ",":
            place = _skip(text, place + 1)
