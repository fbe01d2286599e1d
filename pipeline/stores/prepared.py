"""What the command line does with a store besides a job: store a prepared file.

upload_file   a file as it is, with the same engine and proof as a job
plan_file     the same, but nothing is stored
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal, TypeAlias

from pipeline import __version__
from pipeline.fileview import FileView
from pipeline.model import Receipt, digest
from pipeline.source import Source
from pipeline.stage import Cancellation
from pipeline.stores import open_store
from pipeline.stores.destination import object_name, parse
from pipeline.stores.location import Destination
from pipeline.text import clean
from pipeline.transfer import proof
from pipeline.transfer import upload as transfer
from pipeline.transfer.journal import MemoryNotebook
from pipeline.transfer.protocol import ObjectStore, upload_id
from pipeline.transfer.retry import RetryPolicy
from pipeline.transfer.retrying import Retrying
from pipeline.transfer.upload import Handles, UploadPlan, UploadRequest

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
    handles = handles or Handles(MemoryNotebook(), Cancellation(), RetryPolicy.from_environment())
    place = parse(destination)
    request = _request(source, place, options)
    require_other_file(place, request, source)
    store: ObjectStore = open_store(place, policy=handles.policy)
    try:
        receipt = transfer.upload(store, _File(source, source.size), request, handles)
        source.require_unchanged()
        store = Retrying(store, handles.policy, handles.cancellation, tell=handles.note)
        check = handles.cancellation.check
        proof.check_manifest(store, request.name, receipt, check)
        sha256, note = receipt.sha256, receipt.sha256_note
        if options.verify == "readback":

            def watch(_offset: int, _data: bytes) -> None:
                check()

            connections = options.connections or store.connections
            sha256 = proof.readback(
                store, request.name, receipt, connections=connections, watcher=watch
            )
            note = None
        return replace(receipt, verified=options.verify, sha256=sha256, sha256_note=note)
    finally:
        store.close()


def plan_file(
    source: Source, destination: str, options: FileOptions, handles: Handles | None = None
) -> UploadPlan:
    """What ``upload_file`` would do.  Credentials, container and quota are looked at."""
    handles = handles or Handles(MemoryNotebook(), Cancellation(), RetryPolicy.from_environment())
    place = parse(destination)
    store = open_store(place, policy=handles.policy)
    try:
        request = _request(source, place, options)
        require_other_file(place, request, source)
        return transfer.plan(store, _File(source, source.size), request, handles)
    finally:
        store.close()


def require_other_file(place: Destination, request: UploadRequest, source: Source) -> None:
    """Raise ``UsageError`` when the object would replace the source itself."""
    if place.scheme == "file" and request.if_exists == "replace":
        source.require_other(Path(place.container) / request.name)


def _request(source: Source, place: Destination, options: FileOptions) -> UploadRequest:
    name = object_name(place, source.name, PurePath(source.name).suffix, name=options.name)
    job = file_job_id(source, place.url, options.name)
    return UploadRequest(
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
