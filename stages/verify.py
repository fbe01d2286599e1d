"""verify: what the store holds is proved to be what was sent, and judged by the same profile again.

    manifest   the store's sizes and checksums against ours; headers and tables read back by range
    readback   and every byte: its checksum, and the disk inside against the source's disk

The stored object is identified from its own bytes, as any stranger's file would be.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline import formats, profile
from pipeline.errors import ConversionFailed
from pipeline.model import (
    Artifact,
    Finding,
    Job,
    JsonObject,
    Judgement,
    Outcome,
    Receipt,
    Severity,
    StageStatus,
    Status,
)
from pipeline.stage import Context
from pipeline.stores import open_store
from pipeline.targets import open_artifact
from pipeline.targets.comparison import compare
from pipeline.transfer import proof
from pipeline.transfer.proof import StoredReader
from pipeline.transfer.protocol import ObjectStore
from pipeline.transfer.retry import RetryPolicy
from pipeline.transfer.retrying import Retrying
from stages.identify import to_facts
from stages.upload import stored_name


class Verify:
    """Receipt in, proved receipt and the facts ``result`` out."""

    name = "verify"
    version = 1
    reusable = False  # the object may have changed since

    def options(self, job: Job) -> Mapping[str, Any]:
        """How much is read back."""
        return {"verify": job.options.verify}

    def run(self, context: Context) -> Outcome:
        """Prove it.

        Raises ``StoreError`` when the store holds something else, ``ConversionFailed`` when the
        profile refuses what was stored or its data is not the source's.
        """
        receipt, artifact = context.receipt, context.artifact
        if receipt is None or artifact is None or context.job.destination is None:
            return Outcome(StageStatus.SKIPPED, reason="nothing was stored")
        policy = RetryPolicy.from_environment()
        bare = open_store(context.job.destination, policy=policy)
        store = Retrying(bare, policy, context.cancellation, tell=context.note)
        try:
            return _verified(context, store, artifact, receipt)
        finally:
            store.close()


def _verified(
    context: Context, store: ObjectStore, artifact: Artifact, receipt: Receipt
) -> Outcome:
    name = stored_name(context, artifact)
    store.prepare()
    proof.check_manifest(store, name, receipt, context.cancellation.check)
    with open_artifact(artifact, context.disk) as same:
        reader = StoredReader(store, name, receipt.size, same)
        container = to_facts(formats.identify(reader, name=name), file_size=receipt.size)
    _require_planned(artifact, container, receipt.url)
    facts = {"result": {"container": container}}
    _require_fit(context, artifact, facts, receipt.url)
    mode = context.job.options.verify
    sha256, note = receipt.sha256, receipt.sha256_note
    if mode == "readback":
        sha256 = _read_back(context, store, name, receipt, reader, container)
        note = None
    proved = replace(receipt, verified=mode, sha256=sha256, sha256_note=note)
    return Outcome(facts=facts, receipt=proved)


def _require_planned(artifact: Artifact, container: JsonObject, url: str) -> None:
    wanted = (artifact.format, artifact.virtual_size)
    seen = (container["format"], container["virtual_size"])
    if wanted != seen:
        raise ConversionFailed(
            "result-differs",
            f"{url} is {seen[0]} with a disk of {seen[1]} bytes; {wanted[0]} with {wanted[1]} "
            "bytes was planned",
            hint="do not use the object; please report this with the report file",
        )


def _require_fit(
    context: Context, artifact: Artifact, facts: Mapping[str, JsonObject], url: str
) -> None:
    """The profile's words on the result; what it said of the source already is not said twice."""
    options, target = context.job.options, context.profile.target
    if artifact.format != target.format:
        context.note(
            f"{url} is {artifact.format} as --format says; {context.profile.name} takes "
            f"{target.format}",
            warning=True,
        )
        return
    judged = profile.judge(
        context.profile, {**context.facts, **facts}, subject="result", waivers=options.allow
    )
    known = {finding.rule for finding in _errors(context.judgement or Judgement())}
    fresh = [finding for finding in _errors(judged) if finding.rule not in known]
    if fresh:
        said = "; ".join(f"{finding.rule}: {finding.message}" for finding in fresh[:5])
        raise ConversionFailed(
            "result-unfit",
            f"{url} was stored, but {context.profile.name} refuses it: {said}",
            hint="do not use the object; please report this with the report file",
        )


def _errors(judgement: Judgement) -> tuple[Finding, ...]:
    return tuple(
        finding
        for finding in judgement.findings
        if finding.status is Status.FAIL and finding.severity is Severity.ERROR
    )


def _read_back(
    context: Context,
    store: ObjectStore,
    name: str,
    receipt: Receipt,
    reader: StoredReader,
    container: JsonObject,
) -> str:
    done, told = 0, 0.0
    comparison = compare(reader, container, context.disk.view(whole=True))
    if comparison is None:
        context.note(f"the data inside {container['format']} is compared by checksums only")

    def watch(offset: int, data: bytes) -> str | None:
        nonlocal done, told
        context.cancellation.check()
        done += len(data)
        if time.monotonic() - told > 0.1:
            told = time.monotonic()
            context.progress(min(done, receipt.size), receipt.size, "reading back")
        return comparison.see(offset, data) if comparison is not None else None

    sha256 = proof.readback(
        store,
        name,
        receipt,
        connections=context.job.options.connections or store.connections,
        watcher=watch,
    )
    missing = comparison.missing() if comparison is not None else None
    if missing is not None:
        raise ConversionFailed(
            "result-differs",
            f"{receipt.url}: {missing}",
            hint="do not use the object; please report this with the report file",
        )
    return sha256
