"""verify: what the store holds is proved to be what was sent.

    manifest   the store's sizes and checksums against ours; both ends, where headers, tables and
               footers are, read back by range and compared
    readback   and every byte: its checksum, and the disk inside against the source's disk

What the artifact is was judged before it was sent, by ``prove``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline import facts
from pipeline.errors import ConversionFailed
from pipeline.model import Artifact, Job, Outcome, Receipt, StageStatus
from pipeline.stage import Context
from pipeline.stores import open_store
from pipeline.targets.artifact import OpenArtifact, open_artifact
from pipeline.targets.comparison import DiskComparison, compare
from pipeline.transfer import proof
from pipeline.transfer.protocol import ObjectStore
from pipeline.transfer.retry import RetryPolicy
from pipeline.transfer.retrying import Retrying
from stages.upload import stored_name


class Verify:
    """Receipt in, proved receipt out."""

    name = "verify"
    version = 2
    reusable = False  # the object may have changed since

    def options(self, job: Job) -> Mapping[str, Any]:
        """How much is read back."""
        return {"verify": job.options.verify}

    def run(self, context: Context) -> Outcome:
        """Prove it.

        Raises ``StoreError`` when the store holds something else, ``ConversionFailed`` when the data
        in it is not the source's.
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
    name, mode = stored_name(context, artifact), context.job.options.verify
    store.prepare()
    proof.check_manifest(store, name, receipt, context.cancellation.check)
    sha256, note = receipt.sha256, receipt.sha256_note
    with open_artifact(artifact, context.disk) as opened:
        proof.check_ends(store, name, opened)
        if mode == "readback":
            sha256 = _read_back(
                context, store, name, receipt, _comparison(context, artifact, opened)
            )
            note = None
    proved = replace(receipt, verified=mode, sha256=sha256, sha256_note=note)
    return Outcome(receipt=proved)


def _comparison(
    context: Context, artifact: Artifact, opened: OpenArtifact
) -> DiskComparison | None:
    """Of the stored disk and the source's; None where the checksums are all there is to compare."""
    if artifact.plan["kind"] == "source" and artifact.packing is None:
        return None  # the very bytes, whose checksums are compared
    result = facts.result(context.facts)
    found = None
    if result is not None and artifact.packing is None:
        found = compare(opened, result["container"], context.disk.view(map_first=True))
    if found is None:
        inside = artifact.packing or artifact.format
        context.note(f"the data inside {inside} is compared by checksums only")
    return found


def _read_back(
    context: Context,
    store: ObjectStore,
    name: str,
    receipt: Receipt,
    comparison: DiskComparison | None,
) -> str:
    done, told = 0, 0.0

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
