"""Nothing lost in a week: no segment of a stored object expires, whoever sent it last.

A segment expires until it is part of an object.  Two uploaders of the same bytes use the same segments:
the slower one must not put its own, which expire, over those of the faster one's object.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import places
import pytest
import servers
from notebooks import MemoryNotebook
from uploads import NAME, PATIENT, Background, Site

from pipeline.errors import StoreError

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]


def expiring(site: Site) -> list[str]:
    """The segments that will expire."""
    with contextlib.closing(site.place.client()) as client:
        found = [name.partition("/") for name in site.place.everything() if name != NAME]
        heads = {name: client.head_object(container, name) for container, _, name in found}
    return [name for name, head in heads.items() if "x-delete-at" in head]


def let_expire(site: Site, number: int) -> None:
    """What a slower uploader of before did with its segment."""
    (name,) = (name for name in site.place.everything() if name.endswith(f"/{number:08d}"))
    container, _, name = name.partition("/")
    with contextlib.closing(site.place.client()) as client:
        client.post_object(container, name, {"X-Delete-After": "604800"})


def test_a_slower_uploader_of_the_same_object_leaves_it_lasting(swift: Site):
    # given an uploader that hangs in the middle, and another one that stores it all meanwhile
    swift.policy = PATIENT
    swift.proxy.set(swift.sending(2, do="hold"))
    slower = Background(lambda: swift.upload(swift.pattern(), notebook=MemoryNotebook()))
    swift.proxy.wait_fired()
    swift.upload(swift.pattern(), notebook=MemoryNotebook())
    assert expiring(swift) == []

    # when the first one goes on
    swift.proxy.release()
    receipt = slower.join()

    # then both have stored the object, and it stays
    assert receipt.size == swift.pattern().size
    assert expiring(swift) == []
    swift.assert_stored(swift.pattern())


def test_an_expiry_that_comes_back_before_the_commit_is_seen(swift: Site):
    swift.policy = PATIENT
    swift.proxy.set(swift.committing(do="hold"))
    uploader = Background(lambda: swift.upload(swift.pattern()))
    swift.proxy.wait_fired()
    let_expire(swift, 3)
    swift.proxy.release()
    uploader.join()
    assert expiring(swift) == []
    swift.assert_stored(swift.pattern())


def test_a_repeated_job_mends_an_object_that_would_expire(swift: Site):
    swift.upload(swift.pattern(), notebook=MemoryNotebook())
    let_expire(swift, 1)
    swift.proxy.set()

    receipt = swift.upload(swift.pattern(), notebook=MemoryNotebook())

    assert (receipt.sent_bytes, receipt.reused_bytes) == (0, receipt.size)
    assert expiring(swift) == []


def test_a_repeated_job_mends_an_object_whose_segment_is_gone(swift: Site):
    pattern = swift.pattern()
    swift.upload(pattern, notebook=MemoryNotebook())
    (name,) = (name for name in swift.place.everything() if name.endswith("/00000004"))
    swift.place.remove(name)
    swift.proxy.set()

    swift.upload(pattern, notebook=MemoryNotebook())

    assert dict(swift.sent()) == {4: 1}
    swift.assert_stored(pattern)


@pytest.mark.parametrize("which", ["dynamic manifest"])
def test_a_dynamic_manifest_lasts_too(swift: Site, which: str):
    from msgspec.structs import replace as without

    def upload(hold: threading.Event | None = None):
        store = swift.open()
        store.prepare()
        store.containers._info = without(store.containers.info(), slo=None)
        return swift.upload(swift.pattern(), store=store, notebook=MemoryNotebook())

    swift.policy = PATIENT
    swift.proxy.set(swift.sending(2, do="hold"))
    slower = Background(upload)
    swift.proxy.wait_fired()
    upload()
    swift.proxy.release()
    slower.join()
    assert "x-object-manifest" in swift.place.head(NAME)
    assert expiring(swift) == []
    assert swift.place.read(NAME) == swift.pattern().all()


def test_eight_days_later(request: pytest.FixtureRequest, tmp_path: Path):
    """The real expirer, by a clock that is ahead: what is an object stays, what was left goes."""
    server = servers.start_swift(tmp_path / "week")
    try:
        place = places.Swift(server.env)
        place.create()
        proxy = servers.faults(request.config, server, f"week-{tmp_path.name}")
        site = Site(place, proxy)
        site.upload(site.pattern())
        proxy.set(site.sending(3, do="status", status=403, times=None))
        with pytest.raises(StoreError):
            site.upload(
                site.pattern("left"), name="left.vhd", notebook=MemoryNotebook(), connections=1
            )
        assert any("left.vhd/" in name for name in place.everything())
        server.stop()
        server.argv = [*server.argv, "--clock-ahead", str(8 * 24 * 3600), "--expire"]
        server.start()

        assert not any("left.vhd" in name for name in place.everything())
        site.assert_stored(site.pattern())
    finally:
        server.stop()


def test_a_slower_uploader_of_the_same_parts(s3: Site):
    s3.policy = PATIENT
    s3.proxy.set(s3.sending(2, do="hold"))
    slower = Background(lambda: s3.upload(s3.pattern(), notebook=MemoryNotebook()))
    s3.proxy.wait_fired()
    s3.upload(s3.pattern(), notebook=MemoryNotebook())
    s3.proxy.release()
    assert slower.join().size == s3.pattern().size
    s3.assert_stored(s3.pattern())
