"""pack: the proved artifact, wrapped as the cloud wants it (gzip, or a tar in gzip).

artifact ──prove──▶ pack ──▶ a file in the job's directory ──▶ upload
│
└ the profile judges again, now that the packed size is known
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline import profile
from pipeline.errors import ConversionFailed
from pipeline.model import (
    Artifact,
    Facts,
    Job,
    Judgement,
    Outcome,
    Severity,
    StageStatus,
    Status,
    digest,
)
from pipeline.stage import Context, StageFailed
from pipeline.targets import packing
from pipeline.targets.artifact import file_plan, open_artifact
from pipeline.targets.writing import WORKERS


class Pack:
    """Artifact in, the packed artifact out."""

    name = "pack"
    version = 3
    reusable = True

    def options(self, job: Job) -> Mapping[str, Any]:
        """Where the file is made."""
        return {"keep": job.options.keep, "dry_run": job.options.dry_run}

    def run(self, context: Context) -> Outcome:
        """Pack it.

        Raises ``StageFailed`` with exit code 4 when the packed artifact is larger than the profile
        takes; what reading the artifact raises.
        """
        artifact = context.artifact
        if artifact is None or artifact.packing is None:
            return Outcome(StageStatus.SKIPPED, reason="nothing is to be packed")
        if context.job.options.dry_run:
            reason = f"not done (--dry-run): {artifact.packing} of {artifact.size} bytes"
            return Outcome(StageStatus.SKIPPED, reason=reason)
        path = context.beside.directory() / f"packed{artifact.suffix}"
        threads = context.job.options.connections or WORKERS
        with open_artifact(artifact, context.disk) as opened:
            packing.pack(
                packing.stream_of(
                    opened, artifact.packing, threads=threads, cancellation=context.cancellation
                ),
                path,
                notebook=context.notebook,
                key=digest(
                    [self.version, context.disk.content_id, artifact.plan, artifact.packing]
                ),
                threads=threads,
                cancellation=context.cancellation,
                progress=lambda done, total: context.progress(done, total, "packing"),
            )
        context.source.require_unchanged()
        size = path.stat().st_size
        packed = replace(artifact, size=size, plan=file_plan(path), copy=None)
        facts = _with_packed_size(context.facts, artifact, size)
        judged = _require_fit(context, facts)
        return Outcome(artifact=packed, facts={"result": facts["result"]}, result=judged)


def _with_packed_size(facts: Facts, artifact: Artifact, size: int) -> dict[str, Any]:
    result = dict(facts.get("result") or {})
    packed = {"format": artifact.packing, "name": f"packed{artifact.suffix}", "size": size}
    result["container"] = {**result.get("container", {}), "packed": packed}
    return {**facts, "result": result}


def _require_fit(context: Context, facts: Facts) -> Judgement:
    """What the profile says now; an error where it is about what only a packed artifact has."""
    judged = profile.judge(
        context.profile, facts, subject="result", waivers=context.job.options.allow
    )
    path = "container.packed"
    failed = [
        item
        for item in judged.findings
        if item.status is Status.FAIL
        and item.severity is Severity.ERROR
        and (item.path or "").startswith(path)
    ]
    if failed:
        said = "; ".join(f"{item.rule}: {item.message}" for item in failed)
        error = ConversionFailed(
            "result-unfit",
            f"what was packed does not fit {context.profile.name}, so nothing was stored: {said}",
            hint="make the disk smaller, or leave out what was deleted with --reclaim",
        )
        raise StageFailed(error, Outcome(facts={"result": facts["result"]}, result=judged))
    return judged
