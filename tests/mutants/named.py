"""The survivors that were looked at: ``equivalent.toml`` says of each why it changes nothing that counts.

[["pipeline/formats/vhd.py"]]
was = "if length > LIMIT:"        # the changed lines, without indentation
becomes = "if length >= LIMIT:"   # left out: whatever becomes of them
why = "at the limit both ways give the same list"
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

from mutations import Mutant
from rooms import ROOT

FILE = ROOT / "tests" / "mutants" / "equivalent.toml"


@dataclass(frozen=True)
class Named:
    """One survivor and its reason."""

    file: str
    was: str
    becomes: str | None
    why: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether it speaks of this mutant."""
        if mutant.file != self.file:
            return False
        was, becomes = mutant.lines
        return self.was == was and self.becomes in (None, becomes)


def load() -> list[Named]:
    """All of them."""
    files = tomllib.loads(FILE.read_text())
    return [
        Named(file, entry["was"], entry.get("becomes"), entry["why"])
        for file, entries in files.items()
        for entry in entries
    ]
