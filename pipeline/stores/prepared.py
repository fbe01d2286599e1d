"""What the command line does with a store besides a job: store a prepared file, tidy up.

upload_file   a file as it is, with the same engine and proof as a job
plan_file     the same, but nothing is stored
cleanup       what interrupted uploads left in a destination
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal, TypeAlias

from pipeline import __version__
from pipeline.fileview import FileView
from pipeline.model import Receipt, digest
from pipeline.source import Source
from pipeline.stage import Cancellation
from pipeline.stores import open_store
from pipeline.stores.destination import Destination, object_name, parse
from pipeline.text import clean
from pipeline.transfer import proof
from pipeline.transfer import upload as transfer
from pipeline.transfer.journal import MemoryNotebook
from pipeline.transfer.protocol import Unfinished, upload_id
from pipeline.transfer.retry import Policy, Retrier
from pipeline.transfer.upload import Handles, Plan, Request

IfExists: TypeAlias = Literal["fail", "skip", "replace"]


@dataclass(frozen=True)
class FileOptions:
    """What may be chosen about ``imgprep upload``; named as on the command line."""

    name: str | None = None
    if_exists: IfExists = "fail"
    create: bool = False
    connections: int | None = None
    verify: Literal["manifest", "readback"] = "manifest"


class _File(FileView):
    """A file whose pieces are read where they are needed, without a copy."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer; ``ConversionFailed`` when the file ends before."""
        self.fetch([(offset, buffer)])
        return len(buffer)


def file_job_id(source: Source, destination: str, name: str | None = None) -> str:
    """The id of this upload's job directory: the same file to the same place gives the same."""
    identity = dataclasses.asdict(source.identity())
    return digest({"upload": identity, "destination": parse(destination).url, "name": name})[:16]


def upload_file(
    source: Source, destination: str, options: FileOptions, handles: Handles | None = None
) -> Receipt:
    """Store an open file as it is, resumable, and prove it; the receipt says how far.

    ``handles.notebook`` is the job directory's, so that a killed upload continues without hashing
    again what it had sent.  Raises ``UsageError``, ``StoreError``, ``SourceError`` (the file changed
    meanwhile), ``Interrupted``.
    """
    handles = handles or Handles(MemoryNotebook(), Cancellation(), Policy.from_environment())
    place = parse(destination)
    request = _request(source, place, options)
    require_other_file(place, request, source)
    store = open_store(place, policy=handles.policy)
    try:
        receipt = transfer.upload(store, _File(source, source.size), request, handles)
        source.require_unchanged()
        retrier = Retrier(handles.policy, handles.cancellation, tell=handles.note)
        check = handles.cancellation.check
        proof.check_manifest(store, request.name, receipt, retrier, check)
        sha256, note = receipt.sha256, receipt.sha256_note
        if options.verify == "readback":

            def watch(_offset: int, _data: bytes) -> None:
                check()

            connections = options.connections or store.connections
            sha256 = proof.readback(
                store, request.name, receipt, retrier, connections=connections, watcher=watch
            )
            note = None
        return replace(receipt, verified=options.verify, sha256=sha256, sha256_note=note)
    finally:
        store.close()


def plan_file(
    source: Source, destination: str, options: FileOptions, handles: Handles | None = None
) -> Plan:
    """What ``upload_file`` would do.  Credentials, container and quota are looked at."""
    handles = handles or Handles(MemoryNotebook(), Cancellation(), Policy.from_environment())
    place = parse(destination)
    store = open_store(place, policy=handles.policy)
    try:
        request = _request(source, place, options)
        require_other_file(place, request, source)
        return transfer.plan(store, _File(source, source.size), request, handles)
    finally:
        store.close()


def cleanup(
    destination: str,
    *,
    job: str | None = None,
    dry_run: bool = False,
    active: Collection[str] = (),
    tell: Callable[[str], None] | None = None,
) -> tuple[Unfinished, ...]:
    """What interrupted uploads left there, removed unless ``dry_run``; in the order of names.

    ``job``: only this job's (its id or the id's beginning).  ``active``: ids of jobs that are
    running now; theirs is left alone.  Finished objects and what is not imgprep's are not touched.
    """
    policy = Policy.from_environment()
    retrier = Retrier(policy, Cancellation(), tell=tell)
    store = open_store(destination, policy=policy)
    try:
        Retrier(policy.short(), Cancellation(), tell=tell).call(store.prepare)
        found = tuple(
            left
            for left in retrier.call(store.unfinished)
            if (job is None or _is_job(left.job, job))
            and not any(_is_job(left.job, running) for running in active)
        )
        for left in found if not dry_run else ():
            transfer.discard(store, left, retrier)
        return found
    finally:
        store.close()


def _is_job(left: str, job: str) -> bool:
    return bool(job) and (left.startswith(job[:16]) or job.startswith(left))


def require_other_file(place: Destination, request: Request, source: Source) -> None:
    """Raise ``UsageError`` when the object would replace the source itself."""
    if place.scheme == "file" and request.if_exists == "replace":
        source.require_other(Path(place.container) / request.name)


def _request(source: Source, place: Destination, options: FileOptions) -> Request:
    name = object_name(place, source.name, PurePath(source.name).suffix, name=options.name)
    job = file_job_id(source, place.url, options.name)
    return Request(
        name,
        upload_id(job, digest(dataclasses.asdict(source.identity()))),
        metadata={
            "imgprep-version": __version__,
            "imgprep-source": clean(source.name, 200),
        },
        if_exists=options.if_exists,
        create=options.create,
        connections=options.connections,
    )
