"""keep: the proved artifact as the local file that the user asked for.

    planned, or the source itself   written in parallel into a file without a name, then named
    a file of qemu-img's            renamed, where it lies on the same file system; else copied

It comes after ``prove``, so nothing that the profile refuses ever has the name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.model import Artifact, Job, Outcome, StageStatus
from pipeline.stage import Context
from pipeline.targets import output
from pipeline.targets.artifact import file_plan
from pipeline.targets.writing import write_artifact

_BLOCK = 4 << 20


class Keep:
    """Artifact in, the same artifact with a local copy out."""

    name = "keep"
    version = 1
    reusable = True

    def options(self, job: Job) -> Mapping[str, Any]:
        """Where it is kept, and whether its checksum is wanted."""
        chosen = job.options
        return {
            "keep": chosen.keep and os.path.abspath(chosen.keep),
            "dry_run": chosen.dry_run,
            "checksum": chosen.checksum,
        }

    def run(self, context: Context) -> Outcome:
        """Write it.

        Raises ``UsageError`` when the file exists, ``EnvironmentFailed`` when it cannot be written,
        and what reading the artifact raises.  In all these cases no file of ours is left behind.
        """
        options, artifact = context.job.options, context.artifact
        if options.keep is None or artifact is None or options.dry_run:
            return Outcome(StageStatus.SKIPPED, reason="no local file is written")
        path = Path(options.keep).absolute()
        overwrite = options.if_exists == "replace"
        if _lies_beside(artifact, path):
            return Outcome(artifact=_renamed(context, artifact, path, overwrite=overwrite))
        return Outcome(artifact=_written(context, artifact, path, overwrite=overwrite))


def _written(context: Context, artifact: Artifact, path: Path, *, overwrite: bool) -> Artifact:
    options = context.job.options

    def progress(done: int, total: int) -> None:
        context.progress(done, total, "converting")

    return write_artifact(
        artifact,
        context.disk,
        path,
        context.beside,
        overwrite=overwrite,
        connections=options.connections,
        checksum=options.checksum == "sha256",
        cancellation=context.cancellation,
        progress=progress,
    )


def _lies_beside(artifact: Artifact, path: Path) -> bool:
    """Whether the artifact is a file of ours that a rename would bring to its place."""
    if artifact.plan["kind"] != "file":
        return False
    return os.stat(artifact.plan["path"]).st_dev == os.stat(path.parent).st_dev


def _renamed(context: Context, artifact: Artifact, path: Path, *, overwrite: bool) -> Artifact:
    output.require_writable(path, context.source, overwrite=overwrite)
    made = Path(artifact.plan["path"])
    sha256 = _sha256(context, made) if context.job.options.checksum == "sha256" else None
    try:
        output.publish(made, path, overwrite=overwrite)
    except OSError as error:
        raise output.unwritable(path, error) from error
    return replace(artifact, plan=file_plan(path), sha256=sha256)


def _sha256(context: Context, path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            context.cancellation.check()
            found.update(block)
    return found.hexdigest()
