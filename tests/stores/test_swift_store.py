"""What only Swift has: expiry, dynamic manifests, limits from /info, one login for everybody."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import places
import pytest
import servers
from msgspec.structs import replace
from notebooks import MemoryNotebook
from patterns import MIB, Pattern

from pipeline.errors import StoreError
from pipeline.stage import Cancellation
from pipeline.stores import open_store, parse, responses
from pipeline.stores.swift.auth import Access, Login, Session
from pipeline.stores.swift.store import SwiftStore
from pipeline.transfer import proof
from pipeline.transfer import request as request_of
from pipeline.transfer import upload as transfer
from pipeline.transfer.protocol import Upload, upload_id
from pipeline.transfer.retry import RetryPolicy
from pipeline.transfer.segments import SegmentPayload, ZeroMap

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]

SEGMENT = 2 * MIB
PATTERN = Pattern(5 * MIB)  # three segments


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> places.Swift:
    made = places.make(request.config, "swift", tmp_path)
    assert isinstance(made, places.Swift)
    return made


@pytest.fixture
def store(place: places.Swift) -> Iterator[SwiftStore]:
    with opened(place) as made:
        yield made


@contextlib.contextmanager
def opened(place: places.Swift, env: Mapping[str, str] | None = None) -> Iterator[SwiftStore]:
    with servers.environment(env or place.env):
        made = open_store(parse(place.url))
    assert isinstance(made, SwiftStore)
    made.prepare()
    yield made
    made.close()


def begun(store: SwiftStore, pattern: Pattern) -> Upload:
    return store.begin("d.vhd", upload_id("job", pattern.seed), pattern.size, SEGMENT, "")


def put(store: SwiftStore, upload: Upload, pattern: Pattern, number: int):
    offset = number * SEGMENT
    body = SegmentPayload(
        pattern,
        ZeroMap(pattern.extents()),
        number=number,
        offset=offset,
        size=min(SEGMENT, pattern.size - offset),
    )
    return store.put_segment(upload, body)


def stored(store: SwiftStore, pattern: Pattern) -> Upload:
    upload = begun(store, pattern)
    segments = tuple(put(store, upload, pattern, number) for number in range(3))
    store.commit(upload, segments, replace=False)
    return upload


def expires(store: SwiftStore, name: str) -> str | None:
    headers = store.client.call("looking", lambda c: c.head_object(store.containers.segments, name))
    return headers.get("x-delete-at")


def test_segments_expire_until_they_are_an_object(store: SwiftStore):
    pattern = Pattern(5 * MIB)
    upload = begun(store, pattern)
    segments = tuple(put(store, upload, pattern, number) for number in range(3))
    names = [store.containers.segment_name(upload, number) for number in range(3)]
    assert all(expires(store, name) for name in names)

    store.commit(upload, segments, replace=False)

    assert [expires(store, name) for name in names] == [None, None, None]


def test_without_slo_the_manifest_is_a_dynamic_one(store: SwiftStore, place: places.Swift):
    store.containers._info = replace(store.containers.info(), slo=None)
    pattern = Pattern(5 * MIB)
    request = request_of.UploadRequest("d ü.vhd", upload_id("job", "dlo"), segment_size=SEGMENT)
    handles = request_of.Handles(MemoryNotebook(), Cancellation(), RetryPolicy())

    receipt = transfer.upload(store, pattern, request, handles)

    assert "x-object-manifest" in place.head("d ü.vhd")
    assert place.read("d ü.vhd") == pattern.all()
    proof.check_manifest(store, "d ü.vhd", receipt, lambda: None)
    assert store.unfinished() == ()
    store.delete("d ü.vhd")
    assert place.everything() == {}


@pytest.mark.parametrize("kind", ["swift", "radosgw-swift"])
def test_an_object_whose_metadata_somebody_changed_keeps_its_segments(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
):
    """A change of metadata replaces all of them: the mark that tells whose upload it was is gone."""
    place = places.make(request.config, kind, tmp_path)
    assert isinstance(place, places.Swift)
    with opened(place) as store:
        upload = stored(store, PATTERN)
        with contextlib.closing(place.client()) as client:
            client.post_object(place.container, "d.vhd", {"X-Object-Meta-Owner": "somebody"})

        assert store.unfinished() == ()
        store.discard(upload)

    assert place.read("d.vhd") == PATTERN.all()


def test_a_manifest_that_somebody_copied_keeps_its_segments(store: SwiftStore, place: places.Swift):
    stored(store, PATTERN)
    with contextlib.closing(place.client()) as client:
        raw = "multipart-manifest=get&format=raw"
        _, manifest = client.get_object(place.container, "d.vhd", query_string=raw)
        put = "multipart-manifest=put"
        client.put_object(place.container, "renamed.vhd", manifest, query_string=put)
        client.delete_object(place.container, "d.vhd")

    assert store.unfinished() == ()
    assert place.read("renamed.vhd") == PATTERN.all()


def test_segments_whose_object_somebody_deleted_are_found(store: SwiftStore, place: places.Swift):
    stored(store, PATTERN)
    with contextlib.closing(place.client()) as client:
        client.delete_object(place.container, "d.vhd")

    assert [left.segments for left in store.unfinished()] == [3]


def test_limits_come_from_the_store(store: SwiftStore):
    told = {
        "swift": {"max_file_size": 64 * MIB, "max_object_name_length": 300},
        "slo": {"max_manifest_segments": 10, "min_segment_size": 5},
    }
    store.containers._info = responses.read("asking", told, responses.Capabilities)

    limits = store.limits

    assert (limits.max_segment, limits.max_segments, limits.min_segment) == (64 * MIB, 10, 5)
    assert request_of.segment_size(600 * MIB, limits) == 64 * MIB
    assert limits.max_name_bytes == 300 - 64


def test_a_quota_is_known_before_the_first_byte(store: SwiftStore, place: places.Swift):
    with contextlib.closing(place.client()) as client:
        client.post_container(place.container, {"X-Container-Meta-Quota-Bytes": "1000"})
    store.prepare(size=1000)
    with pytest.raises(StoreError) as caught:
        store.prepare(size=1001)
    assert caught.value.code == "store-quota"


def test_the_quota_of_the_segments_counts_too(store: SwiftStore, place: places.Swift):
    with contextlib.closing(place.client()) as client:
        client.put_container(store.containers.segments, {"X-Container-Meta-Quota-Bytes": "1000"})
    store.prepare(size=1000)
    with pytest.raises(StoreError) as caught:
        store.prepare(size=1001)
    assert caught.value.code == "store-quota"


def test_who_may_only_write_to_the_containers_can_store(place: places.Swift):
    """The container of segments is there already; to make one is the account owner's right."""
    rights = {"X-Container-Read": ".rlistings,test:reader", "X-Container-Write": "test:reader"}
    with contextlib.closing(place.client()) as client:
        client.post_container(place.container, rights)
        client.put_container(f"{place.container}_segments", rights)
    writer = {**place.env, "ST_USER": "test:reader", "ST_KEY": "reading"}
    with opened(place, writer) as store:
        stored(store, PATTERN)
        assert store.unfinished() == ()

    assert place.read("d.vhd") == PATTERN.all()


def test_who_may_not_make_the_container_of_segments_is_told_who_can(place: places.Swift):
    rights = {"X-Container-Read": ".rlistings,test:reader", "X-Container-Write": "test:reader"}
    with contextlib.closing(place.client()) as client:
        client.post_container(place.container, rights)
    writer = {**place.env, "ST_USER": "test:reader", "ST_KEY": "reading"}
    with opened(place, writer) as store, pytest.raises(StoreError) as caught:
        begun(store, PATTERN)
    assert caught.value.code == "store-forbidden"
    assert store.containers.segments in caught.value.hint


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
