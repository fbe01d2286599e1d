"""Faults that others cause: a second uploader, a tidy colleague, a crash of the server, a new source.

A request held by the proxy is the point in time at which the other one acts.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import places
import pytest
import servers
from notebooks import MemoryNotebook
from patterns import MIB
from uploads import COUNT, NAME, PATIENT, Background, Site, make_site

from pipeline.errors import StoreError

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]


# --- two uploaders


def two(site: Site, first_seed: str, second_seed: str, **request: object) -> list[object]:
    """Two whole uploads at the same time, as of two machines: receipts or errors."""
    site.policy = PATIENT
    site.proxy.set(site.committing(do="hold"))
    first = Background(
        lambda: site.upload(
            site.pattern(first_seed), job="one", notebook=MemoryNotebook(), **request
        )
    )
    site.proxy.wait_fired()  # everything of the first is sent, its commit is on its way
    second = Background(
        lambda: site.upload(
            site.pattern(second_seed), job="two", notebook=MemoryNotebook(), **request
        )
    )
    ends = [second.end()]
    site.proxy.release()
    return [*ends, first.end()]


def test_two_uploaders_of_different_contents(site: Site):
    second, first = two(site, "first", "second")
    assert not isinstance(second, StoreError)
    assert isinstance(first, StoreError)
    assert first.code == "object-exists"
    site.assert_stored(site.pattern("second"))


def test_two_uploaders_of_the_same_content(site: Site):
    second, first = two(site, "same", "same")
    assert not isinstance(second, StoreError)
    assert not isinstance(first, StoreError) or first.code == "object-exists"
    site.assert_stored(site.pattern("same"))


def test_two_uploaders_that_both_replace(site: Site):
    site.upload(site.pattern("before"), notebook=MemoryNotebook())
    second, first = two(site, "first", "second", if_exists="replace")
    assert not isinstance(first, StoreError)
    assert not isinstance(second, StoreError)
    site.clean_up()  # of the one that was replaced at once
    site.assert_stored(site.pattern("first"))


def test_two_runs_of_the_same_job(site: Site):
    """Two machines, one shared job: the same segments, sent by both."""
    pattern = site.pattern("same")
    both = [
        Background(lambda: site.upload(pattern, job="one", notebook=MemoryNotebook()))
        for _ in range(2)
    ]
    ends = [uploader.end() for uploader in both]
    errors = [end for end in ends if isinstance(end, StoreError)]
    assert [error.code for error in errors] in ([], ["object-exists"]), errors[0].message
    site.assert_stored(pattern)


def test_replacing_with_the_same_content_keeps_it_whole(site: Site):
    pattern = site.pattern("same")
    site.upload(pattern, notebook=MemoryNotebook())
    site.upload(pattern, notebook=MemoryNotebook(), if_exists="replace")
    site.assert_stored(pattern)


def test_skip_compares_before_it_believes(site: Site):
    pattern = site.pattern("same")
    site.upload(pattern, notebook=MemoryNotebook())
    site.proxy.set()
    for job in ("job", "other"):
        receipt = site.upload(pattern, job=job, notebook=MemoryNotebook(), if_exists="skip")
        assert (site.sent(), receipt.sent_bytes) == ({}, 0)
        site.assert_stored(pattern)
    with pytest.raises(StoreError) as caught:
        site.upload(site.pattern("new"), notebook=MemoryNotebook(), if_exists="skip")
    assert caught.value.code == "object-differs"
    site.assert_stored(pattern)


# --- between the last segment and the commit


def hold_commit(site: Site) -> Background:
    site.policy = PATIENT
    site.proxy.set(site.committing(do="hold"))
    uploader = Background(lambda: site.upload(site.pattern()))
    site.proxy.wait_fired()
    return uploader


def segment_name(site: Site, number: int) -> str:
    names = sorted(name for name in site.place.everything() if re.search(r"/\d+$", name))
    return names[number]


def test_a_segment_is_deleted_before_the_commit(swift: Site):
    uploader = hold_commit(swift)
    swift.place.remove(segment_name(swift, 3))
    swift.proxy.release()
    uploader.join()
    swift.assert_sent_once_but(3)
    swift.assert_stored(swift.pattern())


def replace_segment(site: Site) -> object:
    """Somebody writes over a segment while the commit is on its way; the upload's end."""
    uploader = hold_commit(site)
    container, _, name = segment_name(site, 2).partition("/")
    with contextlib.closing(site.place.client()) as client:
        client.put_object(container, name, b"x" * MIB)
    site.proxy.release()
    return uploader.join()


def test_a_segment_is_replaced_before_the_commit(swift: Site):
    replace_segment(swift)
    swift.assert_sent_once_but(2)
    swift.assert_stored(swift.pattern())


def test_a_segment_is_replaced_and_the_server_does_not_look(
    request: pytest.FixtureRequest, tmp_path: Path
):
    """Ceph's gateway takes the manifest as it is; then a look at the segments must notice."""
    site = make_site(request.config, "radosgw-swift", tmp_path)
    receipt = replace_segment(site)
    site.verify(receipt)
    site.assert_sent_once_but(2)
    site.assert_stored(site.pattern())


def test_a_segment_expires_before_the_commit(swift: Site):
    uploader = hold_commit(swift)
    container, _, name = segment_name(swift, 1).partition("/")
    with contextlib.closing(swift.place.client()) as client:
        client.post_object(container, name, {"X-Delete-After": "1"})
        servers.wait_until(lambda: expired(client, container, name), "the segment expires")
    swift.proxy.release()
    uploader.join()
    swift.assert_sent_once_but(1)
    swift.assert_stored(swift.pattern())


def expired(client: object, container: str, name: str) -> bool:
    from swiftclient.exceptions import ClientException

    try:
        client.head_object(container, name)  # type: ignore[attr-defined]
    except ClientException as error:
        return bool(error.http_status == 404)
    return False


def test_the_multipart_upload_is_aborted_before_the_commit(s3: Site):
    uploader = hold_commit(s3)
    (name,) = (name for name in s3.place.everything() if name.startswith("segments/"))
    s3.place.remove(name)
    s3.proxy.release()
    uploader.join()
    s3.assert_sent_once_but(*range(COUNT))
    s3.assert_stored(s3.pattern())


def test_no_segment_of_a_stored_object_will_expire(swift: Site):
    swift.upload(swift.pattern())
    with contextlib.closing(swift.place.client()) as client:
        for name in swift.place.everything():
            if name == NAME:
                continue
            container, _, rest = name.partition("/")
            assert "x-delete-at" not in client.head_object(container, rest), name


def test_segments_of_an_unfinished_upload_will_expire(swift: Site):
    swift.policy = PATIENT
    swift.proxy.set(swift.sending(5, do="hold"))
    uploader = Background(lambda: swift.upload(swift.pattern(), connections=1))
    swift.proxy.wait_fired()
    names = [name for name in swift.place.everything() if name.endswith(tuple("01234"))]
    assert len(names) == COUNT - 1
    with contextlib.closing(swift.place.client()) as client:
        heads = [client.head_object(*name.split("/", 1)) for name in names]
    swift.proxy.release()
    uploader.join()
    assert all("x-delete-at" in head for head in heads)


def test_the_container_is_deleted_during_the_upload(swift: Site):
    swift.policy = PATIENT
    swift.proxy.set(swift.sending(4, do="hold"))
    uploader = Background(lambda: swift.upload(swift.pattern()))
    swift.proxy.wait_fired()
    with contextlib.closing(swift.place.client()) as client:
        client.delete_container(swift.place.container)
    swift.proxy.release()
    with pytest.raises(StoreError) as caught:
        uploader.join()
    assert caught.value.code == "container-missing"
    swift.place.create()
    swift.assert_absent()


# --- a segment of a stored object


def test_an_object_whose_segment_was_deleted_is_no_equal_one(swift: Site):
    pattern = swift.pattern()
    swift.upload(pattern, notebook=MemoryNotebook())
    swift.place.remove(segment_name(swift, 2))
    with pytest.raises(StoreError) as caught:
        swift.upload(pattern, job="other", notebook=MemoryNotebook(), if_exists="skip")
    assert caught.value.hint
    swift.upload(pattern, notebook=MemoryNotebook(), if_exists="replace")
    swift.assert_stored(pattern)


# --- the server crashes


def test_the_server_is_killed_and_restarted_during_the_upload(
    request: pytest.FixtureRequest, tmp_path
):
    """SIGKILL to all of Swift in the middle of a segment; it comes back with other token keys."""
    server = servers.start_swift(tmp_path / "crash")
    proxy = servers.Faults(server.url)
    try:
        place = places.Swift(server.env)
        place.create()
        site = Site(place, proxy)
        pattern = site.pattern(count=12)
        proxy.set(site.sending(5, do="hold", after=MIB // 2))
        uploader = Background(lambda: site.upload(pattern))
        proxy.wait_fired()

        server.kill()
        proxy.release()
        before = len(proxy.log())
        servers.wait_until(lambda: len(proxy.log()) > before + 3, "it tries again")
        server.start()
        uploader.join()

        site.assert_stored(pattern)
        done = [
            entry for entry in site.requests("PUT", "_segments/.*/\\d+$") if entry["status"] == 201
        ]
        assert len(done) == len({entry["target"] for entry in done}), (
            "a whole segment was sent twice"
        )
        assert len([e for e in site.requests("GET", "/auth") if e["status"] == 200]) == 2
    finally:
        proxy.stop()
        server.stop()


# --- resume


@pytest.mark.parametrize("with_journal", [True, False])
def test_a_resume_sends_only_what_is_missing(any_site: Site, with_journal: bool):
    pattern = any_site.pattern()
    any_site.proxy.set(any_site.sending(4, do="status", status=403, times=None))
    with pytest.raises(StoreError):
        any_site.upload(pattern, connections=1)
    held = any_site.held()
    assert held >= {0, 1, 2, 3}
    assert 4 not in held

    any_site.proxy.set()
    notebook = any_site.notebook if with_journal else MemoryNotebook()
    receipt = any_site.upload(pattern, notebook=notebook)

    assert dict(any_site.sent()) == dict.fromkeys(set(range(COUNT)) - held, 1)
    assert receipt.reused_bytes + receipt.sent_bytes == pattern.size
    any_site.assert_stored(pattern)


def test_a_changed_source_reuses_nothing(any_site: Site):
    any_site.proxy.set(any_site.sending(4, do="status", status=403, times=None))
    with pytest.raises(StoreError):
        any_site.upload(any_site.pattern("before"), connections=1)

    any_site.proxy.set()
    after = any_site.pattern("after")
    receipt = any_site.upload(after)

    any_site.assert_sent_once_but()
    assert receipt.reused_bytes == 0
    assert any_site.clean_up() == 1
    any_site.assert_stored(after)


def test_a_segment_that_rotted_meanwhile_is_sent_again(swift: Site):
    pattern = swift.pattern()
    swift.proxy.set(swift.sending(4, do="status", status=403, times=None))
    with pytest.raises(StoreError):
        swift.upload(pattern, connections=1)
    container, _, name = segment_name(swift, 1).partition("/")
    with contextlib.closing(swift.place.client()) as client:
        client.put_object(container, name, b"y" * MIB)
    missing = set(range(COUNT)) - swift.held()
    assert 4 in missing
    swift.proxy.set()
    swift.upload(pattern)
    assert dict(swift.sent()) == dict.fromkeys(missing | {1}, 1)
    swift.assert_stored(pattern)
