"""prove: the artifact, read at its own offsets as any stranger's file, judged before anything is sent.

    artifact ──open_artifact──▶ formats.identify ─▶ content.disk ─▶ result facts ─▶ the same profile
                                                                                      │
            what the profile takes is sent  ◀── nothing new against it ───────────────┘
            anything else ends here, and nothing is stored

Container and disk are read anew by our own parsers; only the disk inside a format that qemu-img wrote
is read through qemu-nbd.  What the guest holds did not change, so its facts are carried over.  Where
``--format`` names another format or variant than the profile takes, the profile's words say nothing
about it: only its structure is judged, and a warning tells what the profile takes instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pipeline import profile
from pipeline.content import disk as disk_content
from pipeline.content import free_space
from pipeline.content.free_space import held
from pipeline.disk import GuestDisk
from pipeline.errors import ConversionFailed
from pipeline.facts import ContainerFacts
from pipeline.formats.vhd_disk import DynamicDisk
from pipeline.model import (
    Artifact,
    Facts,
    Finding,
    Job,
    JsonObject,
    Judgement,
    Outcome,
    Severity,
    StageStatus,
    Status,
)
from pipeline.source import Extent, Reader, Source
from pipeline.stage import Context, StageFailed
from pipeline.targets import choice
from pipeline.targets.artifact import OpenArtifact, open_artifact
from stages.identify import container_facts
from stages.inspect_disk import disk_facts


class Prove:
    """Artifact in; the facts ``result`` and the judgement of the result out."""

    name = "prove"
    version = 1
    reusable = False  # cheap, and its words may have been mended since

    def options(self, job: Job) -> Mapping[str, Any]:
        """What the user allows about the source is allowed about the result."""
        return {"allow": dict(job.options.allow), "strict": job.options.strict}

    def run(self, context: Context) -> Outcome:
        """Judge it.

        Raises ``StageFailed`` with exit code 4 when the artifact is not what was planned or the
        profile refuses it: that is our doing.  Unknowns refuse it only with ``--strict``.
        """
        artifact = context.artifact
        if artifact is None:
            return Outcome(StageStatus.SKIPPED, reason="there is no artifact")
        with open_artifact(artifact, context.disk) as opened:
            result = _look(context, artifact, opened)
        facts = {"result": result}
        _require_planned(artifact, result["container"])
        target = choice.chosen(context.profile.target, context.job.options.format)
        if choice.is_foreign(target, context.profile.target):
            context.note(
                f"the artifact is {choice.describe(target)}, as --format says; {context.profile.name} "
                f"takes {choice.describe(context.profile.target)}",
                warning=True,
            )
            _require_none(profile.gate(result), artifact, "safe-input", Outcome(facts=facts))
            return Outcome(
                facts=facts,
                reason=f"structure only: {context.profile.name} takes "
                f"{choice.describe(context.profile.target)}",
            )
        return _judged(context, artifact, facts)


def _judged(context: Context, artifact: Artifact, facts: Facts) -> Outcome:
    """By the whole profile; what it said of the source already is not held against us."""
    judgement = profile.judge(
        context.profile,
        {**context.facts, **facts},
        subject="result",
        waivers=context.job.options.allow,
    )
    outcome = Outcome(facts=facts, result=judgement)
    fresh = _fresh(judgement, context.judgement or Judgement())
    failed = [
        item for item in fresh if item.status is Status.FAIL and item.severity is Severity.ERROR
    ]
    _require_none(failed, artifact, context.profile.name, outcome)
    unknown = [item.rule for item in fresh if item.status is Status.UNKNOWN]
    if unknown and context.job.options.strict:
        reason = f"what was made could not be judged by {', '.join(dict.fromkeys(unknown))}"
        return Outcome(StageStatus.REFUSED, reason=reason, facts=facts, result=judgement)
    return outcome


def _fresh(result: Judgement, source: Judgement) -> list[Finding]:
    """What the profile says of the result and did not say of the source."""
    known = {(item.rule, item.status) for item in source.findings if item.fixed_by != "convert"}
    return [item for item in result.findings if (item.rule, item.status) not in known]


def _require_none(
    failed: list[Finding] | tuple[Finding, ...], artifact: Artifact, name: str, outcome: Outcome
) -> None:
    if not failed:
        return
    said = "; ".join(f"{item.rule}: {item.message}" for item in failed[:5])
    raise StageFailed(
        ConversionFailed(
            "result-unfit",
            f"the {artifact.format} that was made does not fit {name}, so nothing was stored: {said}",
            hint="please report this with the report file",
        ),
        outcome,
    )


def _require_planned(artifact: Artifact, container: ContainerFacts) -> None:
    wanted = (artifact.format, artifact.virtual_size)
    seen = (container["format"], container["virtual_size"])
    if wanted != seen:
        raise ConversionFailed(
            "result-differs",
            f"what was made is {seen[0]} with a disk of {seen[1]} bytes; {wanted[0]} with "
            f"{wanted[1]} bytes was planned; nothing was stored",
            hint="please report this with the report file",
        )


def _look(context: Context, artifact: Artifact, opened: OpenArtifact) -> JsonObject:
    container = container_facts(opened, name=_name(artifact))
    with _disk_of(context, artifact, opened, container) as view:
        found = disk_content.inspect(view, is_file=container["format"] == "raw")
        everywhere = (Extent(0, view.size, "data"),)
        free = free_space.survey(view, found.table, thorough=False)
        space = held.facts(view, free, everywhere)
    found = replace(found, free_space=space)
    return {"container": container, "disk": disk_facts(found, ())}


def _name(artifact: Artifact) -> str:
    """A name whose suffix is not held against what is packed only later."""
    return f"artifact.{artifact.format}" if artifact.packing else f"artifact{artifact.suffix}"


@contextmanager
def _disk_of(
    context: Context, artifact: Artifact, opened: OpenArtifact, container: ContainerFacts
) -> Iterator[Reader]:
    """The disk inside the artifact."""
    kind = (container["format"], container["variant"])
    if artifact.plan["kind"] == "source":
        yield context.disk.view()
    elif kind == ("vhd", "dynamic"):
        yield DynamicDisk(opened)
    elif kind[0] == "raw" or kind == ("vhd", "fixed"):
        yield _Front(opened, artifact.virtual_size)
    else:
        with (
            Source.open(str(artifact.plan["path"])) as file,
            GuestDisk(file, container, context.scratch) as disk,
        ):
            yield disk.view()


class _Front:
    """The first ``size`` bytes: a disk in front of its footer."""

    def __init__(self, reader: Reader, size: int) -> None:
        self.size = size
        self._reader = reader

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end of the disk."""
        return self._reader.read(offset, max(0, min(length, self.size - offset)))
