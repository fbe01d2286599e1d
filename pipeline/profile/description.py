"""What a loaded profile is: one cloud's requirements and target, as ``load`` puts them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from pipeline.model import JsonObject, Provenance, Target
from pipeline.profile.requirements import Requirement


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something to know about a cloud that no image can pass or fail (``x-explain``)."""

    title: str
    text: str
    source: Provenance


class Import(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cloud's own command for the import of what is stored (``x-import``): a shell's line.

    {container}, {object}, {path}, {name}, {size}, {format} and {FORMAT} are filled in; what is written
    in capitals, as REGION, only the person knows.
    """

    command: str
    source: Provenance


@dataclass(frozen=True, eq=False)
class Profile:
    """One cloud's requirements and its target format."""

    name: str
    title: str
    description: str
    address: str  # file:///… of its document
    schema: JsonObject  # the document itself, with safe-input in its allOf
    documents: Mapping[str, JsonObject]  # every document it is made of, by address
    requirements: tuple[Requirement, ...]
    target: Target
    parameters: Mapping[str, JsonObject]  # limits and lists: $defs, its own and of what it extends
    notes: tuple[Note, ...]
    imports: Mapping[str, Import]  # by the scheme of the store that the cloud imports from
    digest: str  # of all its documents' contents
    aliases: tuple[str, ...] = field(default=())  # the names that were given for it

    def requirement(self, rule: str) -> Requirement | None:
        """The requirement of that name, with this profile's words."""
        return next((item for item in self.requirements if item.rule == rule), None)
