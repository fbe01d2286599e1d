"""What only Swift has: expiry, dynamic manifests, limits from /info, one login for everybody."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import places
import pytest
import servers
from patterns import MIB, Pattern

from pipeline.errors import StoreError
from pipeline.stage import Cancellation
from pipeline.stores import open_store, parse, proof, transfer
from pipeline.stores.base import Upload, upload_id
from pipeline.stores.body import SegmentBody, ZeroMap
from pipeline.stores.journal import MemoryNotebook
from pipeline.stores.retry import Policy, Retrier
from pipeline.stores.swift import SwiftStore
from pipeline.stores.swift_auth import Access, Login, Session

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]

SEGMENT = 2 * MIB


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> places.Swift:
    made = places.make(request.config, "swift", tmp_path)
    assert isinstance(made, places.Swift)
    return made


@pytest.fixture
def store(place: places.Swift) -> Iterator[SwiftStore]:
    with servers.environment(place.env):
        opened = open_store(parse(place.url))
    assert isinstance(opened, SwiftStore)
    opened.prepare()
    yield opened
    opened.close()


def begun(store: SwiftStore, pattern: Pattern) -> Upload:
    return store.begin("d.vhd", upload_id("job", pattern.seed), pattern.size, SEGMENT, "")


def put(store: SwiftStore, upload: Upload, pattern: Pattern, number: int):
    offset = number * SEGMENT
    body = SegmentBody(
        pattern,
        ZeroMap(pattern.extents()),
        number=number,
        offset=offset,
        size=min(SEGMENT, pattern.size - offset),
    )
    return store.put_segment(upload, body)


def expires(store: SwiftStore, name: str) -> str | None:
    headers = store.client.call("looking", lambda c: c.head_object(store.segments, name))
    return headers.get("x-delete-at")


def test_segments_expire_until_they_are_an_object(store: SwiftStore):
    pattern = Pattern(5 * MIB)
    upload = begun(store, pattern)
    segments = tuple(put(store, upload, pattern, number) for number in range(3))
    names = [store.segment_name(upload, number) for number in range(3)]
    assert all(expires(store, name) for name in names)

    store.commit(upload, segments, replace=False)

    assert [expires(store, name) for name in names] == [None, None, None]


def test_without_slo_the_manifest_is_a_dynamic_one(store: SwiftStore, place: places.Swift):
    store._info = {key: value for key, value in store.info().items() if key != "slo"}
    pattern = Pattern(5 * MIB)
    request = transfer.Request("d ü.vhd", upload_id("job", "dlo"), segment_size=SEGMENT)
    handles = transfer.Handles(MemoryNotebook(), Cancellation(), Policy())

    receipt = transfer.upload(store, pattern, request, handles)

    assert "x-object-manifest" in place.head("d ü.vhd")
    assert place.read("d ü.vhd") == pattern.all()
    retrier = Retrier(Policy(), Cancellation())
    proof.check_manifest(store, "d ü.vhd", receipt, retrier, lambda: None)
    assert store.unfinished() == ()
    store.delete("d ü.vhd")
    assert place.everything() == {}


def test_limits_come_from_the_store(store: SwiftStore):
    store._info = {
        "swift": {"max_file_size": 64 * MIB, "max_object_name_length": 300},
        "slo": {"max_manifest_segments": 10, "min_segment_size": 5},
    }

    limits = store.limits

    assert (limits.max_segment, limits.max_segments, limits.min_segment) == (64 * MIB, 10, 5)
    assert transfer.segment_size(600 * MIB, limits) == 64 * MIB
    assert limits.max_name_bytes == 300 - 64


def test_a_quota_is_known_before_the_first_byte(store: SwiftStore, place: places.Swift):
    with contextlib.closing(place.client()) as client:
        client.post_container(place.container, {"X-Container-Meta-Quota-Bytes": "1000"})
    store.prepare(size=1000)
    with pytest.raises(StoreError) as caught:
        store.prepare(size=1001)
    assert caught.value.code == "store-quota"


def test_a_refused_token_is_renewed_once_for_all_threads():
    entered = []
    together = threading.Barrier(8)

    def enter() -> Access:
        entered.append(1)
        return Access("http://store/v1/a", f"token-{len(entered)}")

    session = Session(Login("test", enter))

    def worker(_: int) -> str:
        _, generation = session.access()
        together.wait(10)
        session.renew(generation)
        return session.access()[0].token

    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(worker, range(8)))

    assert len(entered) == 2
    assert tokens == {"token-2"}


def test_a_ready_token_cannot_be_renewed():
    session = Session(Login("ready", lambda: Access("http://x", "t0ken"), renewable=False))
    _, generation = session.access()
    with pytest.raises(StoreError) as caught:
        session.renew(generation)
    assert caught.value.code == "store-authentication"
    assert "t0ken" not in f"{caught.value.message} {session!r} {session.access()!r}"
