"""One suite for every store: what ``pipeline.transfer.protocol`` promises, against the real thing.

A directory; OpenStack Swift by its own API and by S3; Ceph's gateway by both, as second opinion.
What a store left or made is looked at with somebody else's client (``places``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

import pytest
from conformance import ABOUT, NAME, SEGMENT, SIZE, TYPE, begin, body, commit, send, stored
from patterns import MIB, Pattern
from places import Place

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.stores import open_store
from pipeline.stores.destination import parse
from pipeline.transfer.protocol import (
    UPLOAD_KEY,
    ObjectStore,
    Piece,
    SegmentsChangedError,
    StoredSegment,
    UploadLostError,
)
from pipeline.transfer.segments import SegmentPayload, ZeroMap

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]


@pytest.fixture
def store(place: Place) -> Iterator[ObjectStore]:
    opened = open_store(parse(place.url))
    opened.prepare()
    yield opened
    opened.close()


# --- what an upload makes


def test_segments_become_the_object_only_at_commit(store: ObjectStore, place: Place):
    pattern = Pattern(SIZE, "one")
    upload = begin(store, pattern)
    segments = send(store, upload, pattern)
    assert store.stat(NAME) is None
    assert NAME not in place.objects()

    made = commit(store, upload, segments)

    assert made == store.stat(NAME)
    assert (made.name, made.size, made.content_type) == (NAME, SIZE, TYPE)
    assert made.metadata == {**ABOUT, UPLOAD_KEY: upload.id}
    assert made.etag is None or made.etag == store.expected_etag(segments)
    assert place.read(NAME) == pattern.all()
    assert store.unfinished() == ()


def test_a_segment_tells_what_the_store_received(store: ObjectStore):
    pattern = Pattern(SIZE, "md5")
    upload = begin(store, pattern)
    for number, size in ((0, SEGMENT), (2, 12345)):
        told = store.put_segment(upload, body(pattern, number))
        assert (told.number, told.size) == (number, size)
        assert told.md5 == pattern.md5(number * SEGMENT, size)


def test_segments_come_in_any_order_and_at_the_same_time(store: ObjectStore, place: Place):
    pattern = Pattern(3 * SEGMENT + 1, "threads")
    upload = begin(store, pattern)
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda n: store.put_segment(upload, body(pattern, n)), (3, 1, 0, 2)))
    commit(store, upload, tuple(sorted(sent, key=lambda segment: segment.number)))
    assert place.read(NAME) == pattern.all()


def test_one_small_segment_is_enough(store: ObjectStore, place: Place):
    pattern = Pattern(7, "small", holes=False)
    assert stored(store, pattern).size == 7
    assert place.read(NAME) == pattern.all()


def test_a_segment_is_replaced_by_one_of_the_same_number(store: ObjectStore, place: Place):
    wrong, right = Pattern(SIZE, "wrong"), Pattern(SIZE, "right")
    upload = begin(store, right)
    store.put_segment(upload, body(wrong, 0))
    segments = send(store, upload, right, replace=True)
    assert dict(store.list_segments(upload))[0].md5 == right.md5(0, SEGMENT)
    commit(store, upload, segments)
    assert place.read(NAME) == right.all()


def test_holes_cost_no_source_reads(store: ObjectStore):
    pattern = Pattern(SIZE, "holes")
    stored(store, pattern)
    assert pattern.hole_reads == 0
    assert pattern.reads <= pattern.size


@pytest.mark.parametrize(
    "name", ["ünï çødé 磁盘.vhd", "a b+c%20d#e?f&g=h;i.vhd", "-rf *.vhd", "'quoted\".vhd"]
)
def test_names_are_kept_to_the_letter(store: ObjectStore, place: Place, name: str):
    pattern = Pattern(SEGMENT + 1, "name")
    stored(store, pattern, name)
    assert place.objects() == {name}
    assert place.read(name) == pattern.all()
    store.delete(name)
    assert place.everything() == {}


# --- what a resume needs


def test_begin_again_finds_what_is_there(store: ObjectStore, place: Place):
    pattern = Pattern(SIZE, "resume")
    upload = begin(store, pattern)
    store.put_segment(upload, body(pattern, 0))
    store.put_segment(upload, body(pattern, 2))
    store.close()

    later = open_store(parse(place.url))
    later.prepare()
    again = begin(later, pattern, token=upload.token)

    assert again == upload
    held = later.list_segments(again)
    assert {number: part.size for number, part in held.items()} == {0: SEGMENT, 2: 12345}
    for number, size in ((0, SEGMENT), (2, 12345)):
        assert held[number].md5 == pattern.md5(number * SEGMENT, size)
        looked = later.stat_segment(again, number)
        assert looked is not None
        assert (looked.size, looked.md5) == (size, held[number].md5)
    assert later.stat_segment(again, 1) is None
    segments = (held[0], later.put_segment(again, body(pattern, 1)), held[2])
    commit(later, again, segments)
    later.close()
    assert place.read(NAME) == pattern.all()


def test_a_forgotten_token_is_replaced(store: ObjectStore, place: Place):
    pattern = Pattern(SIZE, "token")
    upload = begin(store, pattern)
    store.put_segment(upload, body(pattern, 0))
    store.discard(upload)

    again = begin(store, pattern, token=upload.token)

    assert store.list_segments(again) == {}
    commit(store, again, send(store, again, pattern))
    assert place.read(NAME) == pattern.all()


def test_other_content_never_meets_these_segments(store: ObjectStore):
    one, other = Pattern(SIZE, "one"), Pattern(SIZE, "other")
    upload = begin(store, one)
    store.put_segment(upload, body(one, 0))
    assert store.list_segments(begin(store, other)) == {}


# --- commit: all or nothing


def test_commit_again_succeeds(store: ObjectStore, place: Place):
    pattern = Pattern(SIZE, "twice")
    upload = begin(store, pattern)
    segments = send(store, upload, pattern)
    first = commit(store, upload, segments)
    assert commit(store, upload, segments) == first
    assert place.read(NAME) == pattern.all()


def test_an_object_is_not_overwritten_unasked(store: ObjectStore, place: Place):
    before, after = Pattern(SIZE, "before"), Pattern(SIZE, "after")
    stored(store, before)
    upload = begin(store, after)
    segments = send(store, upload, after)
    with pytest.raises(StoreError) as caught:
        commit(store, upload, segments)
    assert caught.value.code == "object-exists"
    assert caught.value.hint
    assert place.read(NAME) == before.all()


def test_a_stranger_s_object_is_not_overwritten_unasked(store: ObjectStore, place: Place):
    place.put(NAME, b"somebody else's")
    pattern = Pattern(SIZE, "mine")
    upload = begin(store, pattern)
    segments = send(store, upload, pattern)
    with pytest.raises(StoreError) as caught:
        commit(store, upload, segments)
    assert caught.value.code == "object-exists"
    assert place.read(NAME) == b"somebody else's"


def test_replace_leaves_nothing_of_the_old_object(store: ObjectStore, place: Place):
    before, after = Pattern(SIZE, "before"), Pattern(SEGMENT + 5, "after")
    stored(store, before)
    old = set(place.everything())
    upload = begin(store, after)
    commit(store, upload, send(store, upload, after), replace=True)
    assert place.read(NAME) == after.all()
    assert place.objects() == {NAME}
    assert not (old & set(place.everything())) - {NAME}


def test_commit_refuses_a_segment_that_is_not_there(store: ObjectStore, place: Place):
    pattern = Pattern(SIZE, "missing")
    upload = begin(store, pattern)
    first = store.put_segment(upload, body(pattern, 0))
    last = store.put_segment(upload, body(pattern, 2))
    never = replace(
        first, number=1, md5=pattern.md5(SEGMENT, SEGMENT), name=first.name.replace("0000", "0001")
    )
    with pytest.raises((SegmentsChangedError, UploadLostError)):
        commit(store, upload, (first, never, last))
    assert store.stat(NAME) is None
    assert NAME not in place.objects()


def test_commit_refuses_a_segment_that_was_replaced(store: ObjectStore, place: Place):
    pattern, other = Pattern(SIZE, "mine"), Pattern(SIZE, "theirs")
    upload = begin(store, pattern)
    segments = send(store, upload, pattern)
    store.put_segment(upload, body(other, 1), replace=True)
    with pytest.raises((SegmentsChangedError, UploadLostError)):
        commit(store, upload, segments)
    assert NAME not in place.objects()


def test_commit_refuses_when_everything_was_discarded(store: ObjectStore, place: Place):
    pattern = Pattern(SIZE, "discarded")
    upload = begin(store, pattern)
    segments = send(store, upload, pattern)
    store.discard(upload)
    with pytest.raises((SegmentsChangedError, UploadLostError)):
        commit(store, upload, segments)
    assert place.everything() == {}


# --- failures


class BreakingBody(SegmentPayload):
    """Raises in its middle, as a source does that changed or a user who pressed Ctrl-C."""

    def pieces(self) -> Iterator[Piece]:
        for number, piece in enumerate(super().pieces()):
            if number == 2:
                raise RuntimeError("broken in the middle")
            yield piece


def test_a_body_that_breaks_leaves_no_segment(store: ObjectStore, place: Place):
    pattern = Pattern(SIZE, "broken")
    upload = begin(store, pattern)
    zeros = ZeroMap(pattern.extents())
    broken = BreakingBody(pattern, zeros, number=0, offset=0, size=SEGMENT)
    with pytest.raises(RuntimeError, match="broken in the middle"):
        store.put_segment(upload, broken)
    assert store.stat_segment(upload, 0) is None
    commit(store, upload, send(store, upload, pattern))
    assert place.read(NAME) == pattern.all()


def test_a_missing_container_is_final_and_says_so(place: Place):
    address = place.url.rstrip("/") + "x/"
    store = open_store(parse(address))
    with pytest.raises(StoreError) as caught:
        store.prepare()
    assert caught.value.code == "container-missing"
    assert not isinstance(caught.value, TemporaryStoreError)
    assert "--create" in caught.value.hint
    store.prepare(create=True)
    pattern = Pattern(SEGMENT + 1, "created")
    assert stored(store, pattern).size == pattern.size
    store.close()


def test_absent_things_are_absent(store: ObjectStore):
    assert store.stat("nothing") is None
    assert store.unfinished() == ()
    store.delete("nothing")
    with pytest.raises(StoreError):
        store.read_range("nothing", 0, 1)


# --- who works on it


def test_a_lease_is_seen_by_whoever_tidies_until_it_is_released(store: ObjectStore, place: Place):
    pattern = Pattern(SIZE, "lease")
    upload = begin(store, pattern)
    store.put_segment(upload, body(pattern, 0))
    store.renew(upload, "somebody")
    tidier = open_store(parse(place.url))
    (left,) = tidier.unfinished()
    assert left.owner
    assert left.lease_age_s < 60
    assert set(store.list_segments(upload)) == {0}, "it is no segment"

    store.release(upload)

    (left,) = tidier.unfinished()
    assert left.owner == ""
    tidier.discard(left.upload)
    tidier.close()
    assert place.everything() == {}


def test_nothing_of_a_lease_is_left_of_an_upload_that_ended_well(store: ObjectStore, place: Place):
    pattern = Pattern(SEGMENT + 1, "lease")
    upload = begin(store, pattern)
    store.renew(upload, "somebody")
    segments = send(store, upload, pattern)
    store.renew(upload, "somebody")
    commit(store, upload, segments)
    store.release(upload)
    assert place.objects() == {NAME}
    assert store.unfinished() == ()
    store.delete(NAME)
    assert place.everything() == {}


# --- looking and tidying


def test_ranges_are_read_exactly(store: ObjectStore):
    pattern = Pattern(SIZE, "ranges")
    stored(store, pattern)
    whole = pattern.all()
    for offset, length in ((0, 1), (SEGMENT - 3, 7), (SIZE - 512, 512), (MIB + 5, 3 * MIB)):
        assert store.read_range(NAME, offset, length) == whole[offset : offset + length]
    with pytest.raises(StoreError):
        store.read_range(NAME, SIZE - 1, 2)


def test_the_store_tells_the_object_s_segments_in_order(store: ObjectStore, place: Place):
    pattern = Pattern(SIZE, "manifest")
    stored(store, pattern)
    told = store.stored_segments(NAME)
    if told is None:
        assert not place.kind.endswith("swift"), "Swift tells the segments of a large object"
        return
    assert [part.size for part in told] == [SEGMENT, SEGMENT, 12345]
    for part in told:
        expected = pattern.md5(part.number * SEGMENT, part.size)
        assert part.md5 in (None, expected)


def test_discard_removes_the_upload_and_nothing_else(store: ObjectStore, place: Place):
    place.put("other", b"data")
    before = place.everything()
    pattern = Pattern(SIZE, "discard")
    upload = begin(store, pattern)
    send(store, upload, pattern)
    assert sum(place.everything().values()) >= SIZE
    store.discard(upload)
    assert place.everything() == before
    store.discard(upload)


def test_unfinished_uploads_are_found_and_only_they(store: ObjectStore, place: Place):
    place.put("other", b"data")
    stored(store, Pattern(SIZE, "done"), "done.vhd")
    assert store.unfinished() == ()
    pattern = Pattern(SIZE, "left")
    upload = begin(store, pattern)
    store.put_segment(upload, body(pattern, 0))
    store.close()

    later = open_store(parse(place.url))
    later.prepare()
    (left,) = later.unfinished()

    assert (left.name, left.upload_id, left.job) == (NAME, upload.id, "job")
    assert (left.segments, left.size) == (1, SEGMENT), "what a resume need not send again"
    assert datetime.fromisoformat(left.modified).tzinfo is not None
    later.discard(left.upload)
    assert later.unfinished() == ()
    assert place.objects() == {"other", "done.vhd"}
    assert later.read_range("done.vhd", 0, 100) == Pattern(SIZE, "done").all()[:100]
    later.close()


def test_delete_removes_the_object_and_its_segments(store: ObjectStore, place: Place):
    place.put("disk.vhd.old", b"data")
    before = place.everything()
    stored(store, Pattern(SIZE, "delete"))
    store.delete(NAME)
    assert store.stat(NAME) is None
    assert place.everything() == before


def test_limits_leave_room_for_the_largest_image(store: ObjectStore):
    limits = store.limits
    assert limits.min_segment <= limits.preferred_segment <= limits.max_segment
    assert limits.max_segment * limits.max_segments >= 160 * 10**9
    assert limits.max_name_bytes >= 255


def test_addresses_hold_no_credentials(store: ObjectStore, place: Place):
    address = store.url(NAME)
    assert address.endswith(NAME)
    for key in ("ST_KEY", "ST_USER", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert place.env.get(key, "\0") not in address


def test_the_expected_etag_follows_the_segments(store: ObjectStore):
    one = hashlib.md5(b"1").hexdigest()
    two = hashlib.md5(b"2").hexdigest()
    parts = tuple(StoredSegment(n, 5, md5) for n, md5 in enumerate((one, two)))
    there, back = store.expected_etag(parts), store.expected_etag(parts[::-1])
    assert there is None or there != back
