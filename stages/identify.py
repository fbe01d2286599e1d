"""identify: what the file is, from at most 4 MiB of its bytes; no tool has seen it yet.

Adds ``facts["container"]``.  Everything that later stages are allowed to do depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline import formats
from pipeline.formats import Identification
from pipeline.model import Job, JsonObject, Outcome
from pipeline.source import Source
from pipeline.stage import Context

_MOST_PROBLEMS = 100


class Identify:
    """The stage; see the module."""

    name = "identify"
    version = 1
    reusable = True

    def options(self, job: Job) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing but the source decides."""
        return {}

    def run(self, context: Context) -> Outcome:
        """Read the headers.  Raises ``SourceError`` when the file cannot be read."""
        return Outcome(facts={"container": container_facts(context.source)})


def container_facts(source: Source) -> JsonObject:
    """The facts ``container`` of an open file.  Raises ``SourceError``."""
    found = formats.identify(source, name=source.name)
    return to_facts(found, file_size=source.size, allocated_size=source.allocated_size)


def to_facts(
    found: Identification, *, file_size: int, allocated_size: int | None = None
) -> JsonObject:
    """An identification as facts; sizes in bytes."""
    container = found.container
    return {
        "format": container.format,
        "variant": container.variant,
        "creator": container.creator,
        "virtual_size": container.virtual_size,
        "file_size": file_size,
        "allocated_size": allocated_size,
        "external_references": list(container.external_references),
        "encrypted": container.encrypted,
        "snapshots": container.snapshots,
        "uuid": container.uuid,
        "suffix": found.suffix,
        "matches": list(found.matches),
        "problems": [asdict(problem) for problem in container.problems[:_MOST_PROBLEMS]],
        "details": dict(container.details),
        "unknown": _unknown(found, allocated_size),
    }


def _unknown(found: Identification, allocated_size: int | None) -> dict[str, str]:
    """Why facts are null that every image has."""
    reasons = {}
    if found.container.virtual_size is None:
        reasons["virtual_size"] = f"the header of {found.container.format} does not tell it"
    if allocated_size is None:
        reasons["allocated_size"] = "the place where the bytes are does not tell it"
    return reasons
