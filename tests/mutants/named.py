"""The survivors that were looked at: ``equivalent.toml`` says of each why it changes nothing that counts.

[["pipeline/formats/vhd.py"]]
was = "if length > LIMIT:"        # the changed lines, without indentation
becomes = "if length >= LIMIT:"   # left out: whatever becomes of them
why = "at the limit both ways give the same list"

[[class]]                         # many of one kind, in any file
operator = "RemoveDecorator"      # cosmic-ray's name of the change begins so
was = '@functools\\.cache'         # what is found in the changed lines: a regular expression
becomes = 'None'                  # … and in what they became (\\1: that group's text); left out: anything
why = "without the cache it is slower, and the same"
"""

from __future__ import annotations

import re
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


@dataclass(frozen=True)
class Kind:
    """Survivors of one kind, and the reason."""

    operator: str
    was: str
    becomes: str
    why: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether it speaks of this mutant."""
        if not mutant.operator.removeprefix("core/").startswith(self.operator):
            return False
        was, becomes = mutant.lines
        found = re.search(self.was, was)
        if found is None:
            return False
        wanted = re.sub(r"\\(\d)", lambda group: re.escape(found[int(group[1])]), self.becomes)
        return re.search(wanted, becomes) is not None


def load() -> tuple[list[Named], list[Kind]]:
    """All of them: one by one, and the kinds."""
    files = tomllib.loads(FILE.read_text())
    kinds = [
        Kind(e["operator"], e["was"], e.get("becomes", ""), e["why"])
        for e in files.pop("class", ())
    ]
    single = [
        Named(file, entry["was"], entry.get("becomes"), entry["why"])
        for file, entries in files.items()
        for entry in entries
    ]
    return single, kinds
