"""Look at the disk behind the container, once our own parser has cleared the container itself.

    container facts ──gate──▶ unsafe: skipped, no tool is started
                        │
                        ├── raw, fixed VHD: read in place, no tool is started either
                        └── others: qemu-img info (must agree with us), qemu-img check,
                                    qemu-nbd for the disk's bytes
                                                              │
                              disk facts ◀── formats.disk ────┘

For raw and fixed VHD there is nothing that qemu could know better: the disk's bytes are the file's,
and the only metadata, the footer, was judged bit by bit.  Every process that is not started cannot be
attacked, and 40 ms are saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from pipeline import profile
from pipeline.content import allocation, disk
from pipeline.content.free_space import held
from pipeline.errors import ConversionFailed, SourceError, ToolError
from pipeline.formats.base import Problem
from pipeline.formats.tables import cut_short
from pipeline.model import Job, JsonObject, Outcome, StageStatus
from pipeline.stage import Context
from pipeline.text import clean
from pipeline.tools import confine, qemu_img
from pipeline.tools.qemu_img import CheckResult, ImageSpec, Info

_SECTOR = 512
_MOST_GRAINS = 16 << 20  # 1 TiB in the usual grains of 64 KiB
_UNSEEN = (
    *("partition_table", "partitions", "optical", "nested_format", "content", "free_space"),
    "allocation",
)
_OF_THE_MACHINE = ("Permission denied", "Operation not permitted", "Too many open files")
_LIMITS_MET = frozenset({"tool-killed", "tool-output-limit"})


class InspectDisk:
    """Container facts in, disk facts out."""

    name = "inspect_disk"
    version = 3
    reusable = True

    def options(self, job: Job) -> Mapping[str, Any]:
        """How thoroughly the free space is looked into."""
        return {"reclaim": job.options.reclaim}

    def run(self, context: Context) -> Outcome:
        """Inspect the disk.  Raises ``SourceError`` when a running machine writes to the image."""
        container = context.facts["container"]
        in_place = qemu_img.lies_in_file(container)
        if not in_place:
            confine.begin_detecting()
        unsafe = profile.gate(context.facts)
        if unsafe:
            rules = ", ".join(dict.fromkeys(finding.rule for finding in unsafe))
            return _skipped(f"the image is not safe to open ({rules})")
        if context.source.is_file and qemu_img.in_use(context.source.fd):
            raise SourceError(
                "source-in-use",
                f"{context.source.path} is being written by a virtual machine",
                hint="shut the machine down, or copy a snapshot of its disk, then run again",
            )
        if in_place:
            return _done(context, _look(context, container), (), {})
        return _with_tools(context, container)


def _with_tools(context: Context, container: JsonObject) -> Outcome:
    warning = confine.warning()
    if warning is not None:
        context.note(warning, warning=True)
    with ThreadPoolExecutor(1) as beside:
        # It starts while the others read; where it cannot, who reads the disk will hear it.
        beside.submit(context.disk.serve)
        tools, problems = _second_opinion(context, container)
    if any(problem.rule != "leaked-clusters" for problem in problems):
        # Two readers that disagree, or tables that are damaged: the disk's bytes would mean nothing.
        return _unseen(container, problems, tools)
    try:
        found = _look(context, container)
    except ConversionFailed as error:
        disagreement = Problem("container-disagreement", clean(error.message))
        return _unseen(container, (*problems, disagreement), tools)
    found = replace(found, problems=tuple(map(_in_words, found.problems)))
    return _done(context, found, problems, tools)


def _look(context: Context, container: JsonObject) -> disk.DiskContent:
    view = context.disk.as_it_is()
    found = disk.inspect(
        view, is_file=container["format"] == "raw", table=context.disk.partition_table()
    )
    return replace(found, free_space=held.facts(view, context.disk.free_space(), view.extents()))


def _in_words(problem: Problem) -> Problem:
    """A problem's range is the file's; behind a container the disk's offset is only words."""
    if problem.offset is None:
        return problem
    return Problem(problem.rule, f"{problem.detail} (at byte {problem.offset} of the disk)")


def _done(
    context: Context,
    found: disk.DiskContent,
    problems: tuple[Problem, ...],
    tools: Mapping[str, str],
) -> Outcome:
    facts = dict(disk_facts(found, problems))
    facts["allocation"], facts["unknown"] = _allocation(context)
    return Outcome(facts={"disk": facts}, tools=tools)


def disk_facts(found: disk.DiskContent, problems: tuple[Problem, ...]) -> JsonObject:
    """The section ``disk``; ``problems``: what was found besides those on the disk."""
    facts = found.facts()
    facts["problems"] = [*map(asdict, problems), *facts["problems"]]
    facts["unknown"] = {}
    return facts


def _allocation(context: Context) -> tuple[JsonObject | None, dict[str, str]]:
    """How the data is spread, and why that is not known."""
    size = context.disk.size
    if size > allocation.MOST_BYTES:
        return None, {"allocation": "the disk is too large to ask where its data lies"}
    try:
        return allocation.of(context.disk.as_it_is().extents(), size), {}
    except (allocation.TooScattered, ConversionFailed) as error:
        return None, {"allocation": clean(str(error))}


def _unseen(
    container: JsonObject, problems: tuple[Problem, ...], tools: Mapping[str, str]
) -> Outcome:
    """The outcome for a disk that must not, or could not, be looked at."""
    facts = {
        "virtual_size": container.get("virtual_size"),
        **dict.fromkeys(_UNSEEN),
        "problems": list(map(asdict, problems)),
        "unknown": dict.fromkeys(_UNSEEN, f"not read, because {problems[-1].detail}"),
    }
    return Outcome(facts={"disk": facts}, tools=tools)


def _second_opinion(
    context: Context, container: JsonObject
) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Which qemu-img this is, and what it says about a container that we found sound.

    None of the three children needs another's answer, and each of them mostly waits.
    """
    image = ImageSpec.of(context.source, container)
    stop = context.cancellation
    with ThreadPoolExecutor(3) as pool:
        version = pool.submit(qemu_img.version)
        info = pool.submit(qemu_img.info, image, stop=stop)
        check = (
            pool.submit(qemu_img.check, image, stop=stop)
            if image.format in qemu_img.CHECKED and not _too_many_grains(container)
            else None
        )
    problems = _said(info, check, image, container, context.source.size)
    return {"qemu-img": version.result()}, tuple(problems)


def _said(
    info: Future[Info],
    check: Future[CheckResult] | None,
    image: ImageSpec,
    container: JsonObject,
    file_size: int,
) -> Iterator[Problem]:
    """What the two answers hold against the container."""
    try:
        seen = info.result()
        yield from _disagreements(seen, image, container)
        if check is not None:
            yield from _damage(check.result(), seen, file_size)
    except ToolError as error:
        yield _refused(error)


def _too_many_grains(container: JsonObject) -> bool:
    """Whether ``qemu-img check``, which asks for every grain of a VMDK, would take seconds."""
    grain = container.get("details", {}).get("grain_size")
    return bool(grain) and (container["virtual_size"] or 0) // grain > _MOST_GRAINS


def _refused(error: ToolError) -> Problem:
    """The problem that a failing tool stands for; raises when the machine is at fault."""
    said = clean(error.message)
    if error.code in _LIMITS_MET or "Cannot allocate memory" in error.message:
        return Problem("inspection-limit", said)
    if error.code == "tool-failed" and not any(words in said for words in _OF_THE_MACHINE):
        return Problem("container-disagreement", said)
    raise error


def _disagreements(info: Info, image: ImageSpec, container: JsonObject) -> Iterator[Problem]:
    ours, theirs = container.get("virtual_size"), info.virtual_size
    if ours is None or -(-ours // _SECTOR) * _SECTOR != theirs:
        yield _differs("the disk's size", ours, theirs)
    if info.format != image.driver:
        yield _differs("the format", image.driver, info.format)
    if info.encrypted:
        yield _differs("encryption", "none", "encrypted")
    others = [info.backing_file, info.data_file, *info.extents]
    for name in others:
        if name is not None and name != image.path:
            yield _differs("the files it consists of", "one", f"also '{clean(name)}'")
    if info.snapshots != (container.get("snapshots") or 0):
        yield _differs("the number of snapshots", container.get("snapshots"), info.snapshots)
    if info.corrupt:
        yield Problem("marked-corrupt", "qemu-img info shows the corrupt flag")


def _differs(what: str, ours: object, theirs: object) -> Problem:
    return Problem(
        "container-disagreement", f"{what}: imgprep reads {ours}, qemu-img reads {theirs}"
    )


def _damage(check: CheckResult, info: Info, file_size: int) -> Iterator[Problem]:
    if check.corruptions or check.errors:
        count = check.corruptions + check.errors
        first = clean(check.said.splitlines()[0]) if check.said else "it gave no reason"
        yield Problem("corrupt-metadata", f"qemu-img check counts {count} errors: {first}")
    if check.leaks:
        yield Problem("leaked-clusters", f"{check.leaks} leaked clusters")
    missing = (check.image_end or 0) - file_size
    if missing >= (info.cluster_size or _SECTOR):  # compressed images may end inside a cluster
        detail = cut_short(file_size, file_size + missing)
        yield Problem("truncated", detail, file_size, missing)


def _skipped(reason: str) -> Outcome:
    facts = {"status": "skipped", "reason": reason}
    return Outcome(status=StageStatus.SKIPPED, reason=reason, facts={"disk": facts})
