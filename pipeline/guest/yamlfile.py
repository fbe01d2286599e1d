"""A guest's YAML files: read by a real parser, and never more than it can do harm with.

Tags make no objects (the safe loader), anchors are counted, depth is limited.  What does not parse is
None, as the guest's own programs pass over such a file too.
"""

from __future__ import annotations

from typing import Any

MAX_BYTES = 64 * 1024
MAX_ALIASES = 64
MAX_DEPTH = 20


def parse(text: str, *, typed: bool = True) -> Any:
    """The document in ``text``; None when it is none, or one that costs too much.

    Not ``typed``, every scalar stays the text that it is: netplan's parser knows no types, and to
    PyYAML 52:54:00:12:34:56 is a number of base 60.
    """
    import yaml

    if len(text) > MAX_BYTES or not _harmless(text):
        return None
    try:
        return yaml.load(text, _loader(typed))  # noqa: S506 - it is the safe loader, in C where there is one
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return None


def mapping(text: str | None, *, typed: bool = True) -> dict[str, Any]:
    """The document as a mapping; empty when it is something else."""
    found = parse(text, typed=typed) if text else None
    return found if isinstance(found, dict) else {}


def _loader(typed: bool) -> Any:
    import yaml

    names = ("CSafeLoader", "SafeLoader") if typed else ("CBaseLoader", "BaseLoader")
    return getattr(yaml, names[0], getattr(yaml, names[1]))


def _harmless(text: str) -> bool:
    """Looks at the events alone: nothing is built before depth and aliases are known."""
    import yaml

    aliases = depth = 0
    try:
        for event in yaml.parse(text, _loader(True)):
            aliases += isinstance(event, yaml.AliasEvent)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if aliases > MAX_ALIASES or depth > MAX_DEPTH:
                return False
    except yaml.YAMLError:
        return False
    return True
