"""identify: what the file is, from at most 4 MiB of its bytes; no tool has seen it yet.

    Source ─▶ signatures ─▶ container facts ◀─ of a dynamic VHD, the whole table and all sector bitmaps
                 ├─▶ packed, and --unpack? ─▶ scratch ─▶ what is inside is identified instead
                 └─▶ on a server, and no raw disk? ─▶ scratch ─▶ the copy is identified instead

Adds ``facts["container"]``.  Everything that later stages are allowed to do depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any, cast

from pipeline import formats, profile
from pipeline import unpack as packed
from pipeline.facts import ContainerFacts, ProblemFacts
from pipeline.fileview import FileView
from pipeline.formats import Identification
from pipeline.formats.base import Problem
from pipeline.formats.vhd import Vhd
from pipeline.formats.vhd_bitmaps import SectorBitmaps
from pipeline.model import Job, JsonObject, Outcome
from pipeline.remote.copying import copy_of
from pipeline.remote.source import RemoteSource
from pipeline.source import Reader, Source
from pipeline.stage import Cancellation, Context
from pipeline.text import clean, size
from pipeline.tools import qemu_img

_MOST_PROBLEMS = 100
_MISPLACED = frozenset({"vhd-bat", "vhd-block-bounds", "vhd-block-overlap", "vhd-truncated"})
_BITMAP_READERS = 8
_BITMAPS = 64  # that a reader is given at a time


class Identify:
    """The stage; see the module."""

    name = "identify"
    version = 1
    reusable = True

    def options(self, job: Job) -> Mapping[str, Any]:
        """Whether a packed image is looked into."""
        return {"unpack": job.options.unpack}

    def run(self, context: Context) -> Outcome:
        """Read the headers.  Raises ``SourceError``, and what ``unpack`` raises."""
        if isinstance(context.source, RemoteSource):
            return _of_server(context, context.source)
        facts = _of_file(context.source, context.cancellation)
        if context.job.options.unpack and facts["format"] in packed.PACKINGS:
            return _look_inside(context, facts)
        return Outcome(facts={"container": facts})


def _of_server(context: Context, source: RemoteSource) -> Outcome:
    """What lies on a server as a disk is stays there; of other containers tools need a file.

    What is not safe to open is not worth copying: the first look tells.
    """
    if not source.origin.by_ranges:
        return _copied(context, source, "its server gives no ranges")
    seen = to_facts(formats.identify(source, name=source.name), file_size=source.size)
    if context.job.options.unpack and seen["format"] in packed.PACKINGS:
        return _look_inside(context, seen)
    if (
        qemu_img.lies_in_file(seen)
        or seen["format"] not in qemu_img.DRIVERS
        or profile.gate({"container": seen})
    ):
        return Outcome(facts={"container": seen})
    return _copied(context, source, f"{seen['format']} cannot be read by ranges")


def _copied(context: Context, source: RemoteSource, why: str) -> Outcome:
    """The copy's facts; the stages that follow see the copy."""

    def tell(done: int) -> None:
        context.cancellation.check()
        context.progress(done, source.size or None, "copying to scratch")

    context.note(f"{source.address} is copied to scratch, because {why}")
    path = copy_of(source, context.scratch, tell)
    with Source.open(path) as copy:
        facts = container_facts(copy, name=source.name, cancellation=context.cancellation)
        if context.job.options.unpack and facts["format"] in packed.PACKINGS:
            return _look_inside(replace(context, source=copy), facts)
        reason = f"copied to scratch ({size(copy.size)}), because {why}"
    return Outcome(facts={"container": facts}, unpacked=str(path), reason=reason)


def _look_inside(context: Context, facts: JsonObject) -> Outcome:
    """The facts of what is inside; a refusal's problems instead, when it does not come out."""
    result = packed.unpack(
        context.source,
        facts["format"],
        context.scratch,
        cancellation=context.cancellation,
        progress=lambda done, total: context.progress(done, total, "unpacking"),
    )
    origin = {"format": result.packed_as, "name": clean(result.name), "size": result.packed_size}
    if result.path is None:
        problems = [asdict(problem) for problem in result.problems]
        return Outcome(facts={"container": {**facts, "problems": problems, "packed": origin}})
    with Source.open(result.path) as inner:
        inside = _of_file(inner, context.cancellation)
    return Outcome(facts={"container": {**inside, "packed": origin}}, unpacked=str(result.path))


def _of_file(source: Source, cancellation: Cancellation) -> ContainerFacts:
    return container_facts(
        source,
        name=source.name,
        allocated_size=source.allocated_size,
        cancellation=cancellation,
    )


def container_facts(
    reader: Reader,
    *,
    name: str,
    allocated_size: int | None = None,
    cancellation: Cancellation | None = None,
) -> ContainerFacts:
    """The facts ``container`` of a file, or of what would be one.  Raises what reading it raises."""
    found = formats.identify(reader, name=name)
    if found.container.details.get("table_checked") is False:
        found = _with_whole_table(found, reader)
    if "allocated_blocks" in found.container.details:
        found = _with_bitmaps(found, reader, cancellation or Cancellation())
    return to_facts(found, file_size=reader.size, allocated_size=allocated_size)


def _with_whole_table(found: Identification, source: Reader) -> Identification:
    """A VHD whose block table is longer than identification reads (above 256 GiB), judged whole.

    Nothing may open the disk before that.
    """
    whole = Vhd().inspect(source)
    others = (item for item in found.container.problems if item not in whole.problems)
    return replace(found, container=replace(whole, problems=(*whole.problems, *others)))


def _with_bitmaps(
    found: Identification, reader: Reader, cancellation: Cancellation
) -> Identification:
    """A dynamic VHD with the problems of its stored blocks' sector bitmaps, all of them read.

    Many small reads, so they are in flight together; no more are begun once enough is wrong.
    """
    container = found.container
    if any(problem.rule in _MISPLACED for problem in container.problems):
        return found  # what stands where a bitmap should be would only add noise
    holes_known = FileView(reader, reader.size) if isinstance(reader, Source) else reader
    bitmaps = SectorBitmaps(holes_known)
    stored = bitmaps.stored
    parts = [stored[at : at + _BITMAPS] for at in range(0, len(stored), _BITMAPS)]
    wrong: list[Problem] = []
    with ThreadPoolExecutor(_BITMAP_READERS) as pool:
        for at in range(0, len(parts), _BITMAP_READERS):
            cancellation.check()
            for some in pool.map(bitmaps.problems, parts[at : at + _BITMAP_READERS]):
                wrong += some
            if len(wrong) >= _MOST_PROBLEMS:
                break
    return replace(found, container=replace(container, problems=(*container.problems, *wrong)))


def to_facts(
    found: Identification, *, file_size: int, allocated_size: int | None = None
) -> ContainerFacts:
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
        "problems": [
            cast(ProblemFacts, asdict(problem)) for problem in container.problems[:_MOST_PROBLEMS]
        ],
        "details": {**container.details, **_against_the_clock(container.details)},
        "packed": None,
        "unknown": _unknown(found, allocated_size),
    }


def _against_the_clock(details: Mapping[str, Any]) -> dict[str, int]:
    """How many seconds the file's own time stamp is ahead of now; none when it lies in the past."""
    stamp = details.get("timestamp_unix")
    return {} if stamp is None else {"timestamp_ahead": max(0, stamp - int(time.time()))}


def _unknown(found: Identification, allocated_size: int | None) -> dict[str, str]:
    """Why facts are null that every image has."""
    reasons = {}
    if found.container.virtual_size is None:
        reasons["virtual_size"] = (
            "the file is of no known format"
            if found.container.format == "unknown"
            else "the disk size is unknown until it is unpacked"
            if found.container.format in packed.PACKINGS
            else f"the header of {found.container.format} does not tell it"
        )
    if allocated_size is None:
        reasons["allocated_size"] = "the place where the bytes are does not tell it"
    return reasons
