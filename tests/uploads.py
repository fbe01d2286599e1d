"""An uploader before a server that breaks: a place, the proxy in front of it, and what came of it."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import places
import pytest
import servers
from notebooks import MemoryNotebook
from patterns import MIB, Pattern
from places import S3, Place

from pipeline.errors import ImgprepError
from pipeline.model import Receipt
from pipeline.stage import Cancellation
from pipeline.stores import open_store
from pipeline.stores.destination import parse
from pipeline.transfer import proof
from pipeline.transfer import request as request_of
from pipeline.transfer import upload as transfer
from pipeline.transfer.protocol import ObjectStore, upload_id
from pipeline.transfer.retry import RetryPolicy
from pipeline.transfer.retrying import Retrying

NAME = "disk.img"
COUNT = 6  # segments of the usual object

QUICK = RetryPolicy(deadline_s=20.0, least_attempts=4, first_s=0.02, cap_s=0.2, stall_s=30.0)
"""Waits are short, because the faults are ours; only a test of stalls lets one be found quickly."""

PATIENT = RetryPolicy(deadline_s=60.0, least_attempts=4, first_s=0.02, cap_s=0.2, stall_s=60.0)
"""For tests that hold a request while somebody else acts: a slow machine must not look like a stall."""


@dataclass
class Site:
    """A place behind the proxy, and its own words for segments and commits."""

    place: Place
    proxy: servers.Faults
    notebook: MemoryNotebook = field(default_factory=MemoryNotebook)
    policy: RetryPolicy = QUICK

    @property
    def is_s3(self) -> bool:
        return isinstance(self.place, S3)

    @property
    def segment(self) -> int:
        """Bytes of a segment: S3 takes none under 5 MiB."""
        return 5 * MIB if self.is_s3 else MIB

    def pattern(self, seed: str = "content", *, count: int = COUNT) -> Pattern:
        """An artifact of so many segments, the last one short."""
        return Pattern((count - 1) * self.segment + 54321, seed)

    # --- rules of the proxy

    def sending(self, number: int | str = r"\d+", **rule: Any) -> dict[str, Any]:
        """A rule for the request that sends a segment."""
        if self.is_s3:
            part = number + 1 if isinstance(number, int) else number
            return {"method": "PUT", "query": rf"partNumber={part}(&|$)", **rule}
        last = f"{number:05d}" if isinstance(number, int) else number
        return {"method": "PUT", "path": rf"_segments/.*/0*{last}$", **rule}

    def committing(self, **rule: Any) -> dict[str, Any]:
        """A rule for the request that makes the object of its segments."""
        if self.is_s3:
            return {"method": "POST", "query": "uploadId=", **rule}
        return {"method": "PUT", "query": "multipart-manifest=put", **rule}

    def reading(self, **rule: Any) -> dict[str, Any]:
        """A rule for a request that reads the object's data."""
        return {"method": "GET", "path": rf"/{re.escape(NAME)}$", "query": "^$", **rule}

    # --- what the proxy saw

    def sent(self) -> Counter[int]:
        """How often each segment was begun to be sent, by number.

        Not counted is what a token that ran out refused: how often that is depends on the machine.
        """
        found: Counter[int] = Counter()
        for entry in self.proxy.log():
            path, _, query = entry["target"].partition("?")
            if entry["method"] != "PUT" or entry["status"] == 401:
                continue
            if self.is_s3 and (match := re.search(r"partNumber=(\d+)", query)):
                found[int(match[1]) - 1] += 1
            elif not self.is_s3 and (match := re.search(r"_segments/.*/(\d+)$", path)):
                found[int(match[1])] += 1
        return found

    def requests(self, method: str, path: str = "") -> list[dict[str, Any]]:
        """The log's entries of one kind."""
        entries = self.proxy.log()
        return [e for e in entries if e["method"] == method and re.search(path, e["target"])]

    def held(self) -> set[int]:
        """The segments that the store holds for unfinished uploads, by number."""
        if self.is_s3:
            return self.place.parts()
        found = (re.search(r"/(\d+)$", name) for name in self.place.everything())
        return {int(match[1]) for match in found if match}

    # --- uploading

    def open(self) -> ObjectStore:
        with servers.environment(self.proxy.through(self.place.env)):
            return open_store(parse(self.place.url), policy=self.policy)

    def upload(
        self,
        pattern: Pattern,
        *,
        job: str = "job",
        policy: RetryPolicy | None = None,
        notebook: MemoryNotebook | None = None,
        store: ObjectStore | None = None,
        **request: Any,
    ) -> Receipt:
        wanted = request_of.UploadRequest(
            **{
                "name": NAME,
                "upload_id": upload_id(job, pattern.seed),
                "segment_size": self.segment,
                "connections": 3,
                **request,
            }
        )
        handles = request_of.Handles(
            notebook or self.notebook, Cancellation(), policy=policy or self.policy
        )
        used = store or self.open()
        try:
            return transfer.upload(used, pattern, wanted, handles)
        finally:
            used.close()

    def retrying(self, store: ObjectStore) -> Retrying:
        return Retrying(store, self.policy, Cancellation())

    def verify(self, receipt: Receipt) -> None:
        """What the stage ``verify`` does by default; raises ``StoreError``."""
        store = self.open()
        store.prepare()
        proof.check_manifest(self.retrying(store), NAME, receipt, lambda: None)
        store.close()

    # --- what must be true in the end

    def assert_stored(self, pattern: Pattern) -> None:
        """The object is byte-identical, and there is nothing beside it and its segments."""
        kept = self.place.everything()
        assert self.place.objects() == {NAME}
        assert self.place.read(NAME) == pattern.all()
        beside = {name: size for name, size in kept.items() if name != NAME}
        if self.is_s3:
            assert beside == {}
        else:
            assert sum(beside.values()) == pattern.size
            assert len(beside) == -(-pattern.size // self.segment)

    def assert_absent(self) -> None:
        """No object; whatever is kept is found by ``unfinished``, and gone after ``discard``."""
        assert self.place.objects() == set()
        self.clean_up()
        assert self.place.everything() == {}

    def clean_up(self) -> int:
        """What ``imgprep cleanup`` does; how many uploads it found."""
        self.proxy.set()
        store = self.open()
        store.prepare()
        left = store.unfinished()
        for item in left:
            self.retrying(store).discard(item.upload)
        assert store.unfinished() == ()
        store.close()
        return len(left)

    def assert_sent_once_but(self, *again: int, times: int = 2, count: int = COUNT) -> None:
        """From the log: these segments were sent ``times`` times, all the others once."""
        expected = {number: times if number in again else 1 for number in range(count)}
        assert dict(self.sent()) == expected


def make_site(config: pytest.Config, kind: str, scratch: Path) -> Site:
    place = places.make(config, kind, scratch)
    name = kind.split("-")[0]
    server = servers.swift(config) if name == "swift" else servers.radosgw(config)
    return Site(place, servers.faults(config, server, name))


class Background:
    """Something that runs while the test does something else; its error is raised by ``join``."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            self.value = work()
        except ImgprepError as error:
            self.error = error

    def end(self) -> Any:
        """Its value or its error."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "it never ended"
        return self.value if self.error is None else self.error

    def join(self) -> Any:
        """Its value; raises its error."""
        if isinstance(error := self.end(), ImgprepError):
            raise error
        return self.value
