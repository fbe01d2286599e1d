"""What the shell completes: names of profiles, rules and report kinds.

Loads little: a person waits between two keys.
"""

from __future__ import annotations

from pathlib import Path

_SCHEMAS = Path(__file__).parents[2] / "schemas"


def profiles(incomplete: str) -> list[str]:
    """Built-in profiles; a path is completed by the shell itself."""
    from pipeline import profile

    return [name for name in (*profile.names(), "all") if name.startswith(incomplete)]


def rules(incomplete: str) -> list[str]:
    """Requirements."""
    return [name for name in _stems("requirements") if name.startswith(incomplete)]


def explained(incomplete: str) -> list[str]:
    """Requirements and errors, in small letters as they are written."""
    import json

    errors = json.loads((_SCHEMAS / "errors.json").read_bytes())["errors"]
    asked = incomplete.lower()
    return sorted(name for name in {*_stems("requirements"), *errors} if name.startswith(asked))


def waivers(incomplete: str) -> list[str]:
    """``RULE=``, for the reason to follow."""
    return [f"{name}=" for name in rules(incomplete)]


def reports(incomplete: str) -> list[str]:
    """``KIND=``, for the path to follow."""
    from pipeline.reports import KINDS

    return [f"{kind}=" for kind in KINDS if kind.startswith(incomplete)]


def _stems(folder: str) -> list[str]:
    return sorted(path.stem for path in (_SCHEMAS / folder).glob("*.json"))
