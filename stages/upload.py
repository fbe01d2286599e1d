"""upload: the artifact into the store, segment by segment, resumed exactly, committed at the end.

    artifact ──open_artifact──▶ ranges ──pipeline.transfer.upload──▶ object ──▶ receipt

The upload's id comes from the job and from everything that decides the artifact's bytes; so a
second run finds what the first one sent, and a changed source finds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from pipeline import __version__
from pipeline.model import Artifact, Job, Outcome, StageStatus, digest
from pipeline.source import Source
from pipeline.stage import Context, identify_job
from pipeline.stores import open_store, parse
from pipeline.stores.destination import object_name
from pipeline.stores.location import Destination
from pipeline.stores.schemes import SCHEMES
from pipeline.targets.artifact import open_artifact
from pipeline.text import clean
from pipeline.transfer import upload as transfer
from pipeline.transfer.protocol import upload_id
from pipeline.transfer.request import Handles, UploadRequest
from pipeline.transfer.retry import RetryPolicy


class Upload:
    """Artifact in, receipt out."""

    name = "upload"
    version = 1
    reusable = False  # what the store holds is asked, not remembered

    def options(self, job: Job) -> Mapping[str, Any]:
        """Where it goes and what it is called."""
        chosen = job.options
        return {
            "destination": job.destination,
            "name": chosen.name,
            "if_exists": chosen.if_exists,
            "dry_run": chosen.dry_run,
        }

    def run(self, context: Context) -> Outcome:
        """Store it.  Raises ``UsageError`` for a malformed destination or name, ``StoreError``."""
        options, artifact = context.job.options, context.artifact
        if context.job.destination is None:
            return Outcome(StageStatus.SKIPPED, reason="there is no destination")
        if artifact is None:
            return Outcome(StageStatus.SKIPPED, reason="there is no artifact to store")
        policy = RetryPolicy.from_environment()
        store = open_store(context.job.destination, policy=policy)
        try:
            request = _request(context, artifact)
            require_other_file(parse(context.job.destination), request, context.source)
            with open_artifact(artifact, context.disk) as reader:
                handles = _handles(context, policy)
                if options.dry_run:
                    plan = transfer.plan(store, reader, request, handles)
                    return Outcome(StageStatus.SKIPPED, reason=f"dry run: {plan.describe()}")
                return Outcome(receipt=transfer.upload(store, reader, request, handles))
        finally:
            store.close()


def stored_name(context: Context, artifact: Artifact) -> str:
    """What the object of this job is called, relative to the destination."""
    place = parse(context.job.destination or "")
    return object_name(place, context.job.source, artifact.suffix, name=context.job.options.name)


def require_other_file(place: Destination, request: UploadRequest, source: Source) -> None:
    """Raise ``UsageError`` when the object would replace the source itself."""
    if place.scheme == "file" and request.if_exists == "replace":
        source.require_other(Path(place.container) / request.name)


def _request(context: Context, artifact: Artifact) -> UploadRequest:
    options, target = context.job.options, context.profile.target
    scheme = SCHEMES[parse(context.job.destination or "").scheme]
    content_id = context.disk.content_id
    job_id = identify_job(context.job, content_id, context.profile.digest)
    content = digest([content_id, artifact.plan, artifact.size])
    about = {
        "imgprep-version": __version__,
        "imgprep-source": clean(PurePath(context.job.source).name, 200),
        "imgprep-format": artifact.format,
        "imgprep-virtual-size": str(artifact.virtual_size),
    }
    if context.job.profile is not None:
        about["imgprep-profile"] = context.profile.name
    if artifact.sha256:
        about["imgprep-sha256"] = artifact.sha256
    return UploadRequest(
        stored_name(context, artifact),
        upload_id(job_id, content),
        metadata=about,
        content_type=target.content_type,
        if_exists=options.if_exists,
        create=options.create,
        connections=options.connections,
        # A cloud's wish is about Swift's large objects; other stores know better what suits them.
        segment_size=target.segment_size if scheme.profile_segments else None,
        sha256=artifact.sha256,
    )


def _handles(context: Context, policy: RetryPolicy) -> Handles:
    def progress(done: int, total: int) -> None:
        context.progress(done, total, "uploading")

    return Handles(
        context.notebook,
        context.cancellation,
        policy,
        progress,
        context.note,
        context.pace,
        context.source.require_unchanged,
    )
