"""Faults on the wire: cut, refused, lost, changed, stalled.

Each ends with the object byte-identical and nothing beside it, or with no object and nothing that
``cleanup`` does not find; and the proxy's log shows that only bad segments were sent again.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from patterns import MIB, Pattern
from uploads import COUNT, NAME, QUICK, Site

from pipeline.errors import StoreError
from pipeline.transfer.retry import RetryPolicy

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]

IMPATIENT = RetryPolicy(deadline_s=0.5, least_attempts=2, first_s=0.02, cap_s=0.1, stall_s=30.0)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_the_connection_is_cut_in_the_middle_of_a_segment(site: Site, how: str):
    pattern = site.pattern()
    site.proxy.set(site.sending(3, do=how, after=MIB // 2))
    site.upload(pattern)
    assert site.proxy.fired() == [1]
    site.assert_sent_once_but(3)
    site.assert_stored(pattern)


@pytest.mark.parametrize(("status", "after"), [(503, 0), (500, -1)])
def test_the_server_refuses_for_a_moment(site: Site, status: int, after: int):
    refuse_twice(site, status, after)


@pytest.mark.parametrize(("status", "after"), [(429, 0), (408, 0), (503, -1), (502, 200_000)])
def test_the_server_refuses_for_other_reasons(swift: Site, status: int, after: int):
    refuse_twice(swift, status, after)


def refuse_twice(site: Site, status: int, after: int) -> None:
    pattern = site.pattern()
    site.proxy.set(site.sending(2, do="status", status=status, after=after, times=2))
    site.upload(pattern)
    assert site.proxy.fired() == [2]
    site.assert_sent_once_but(2, times=3)
    site.assert_stored(pattern)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(swift: Site, status: int):
    pattern = swift.pattern()
    header = {"Retry-After": "1"}
    swift.proxy.set(swift.sending(1, do="status", status=status, headers=header))
    swift.upload(pattern)
    refused, again = swift.requests("PUT", "/0*1$")
    assert again["at"] - refused["at"] >= 1.0
    swift.assert_sent_once_but(1)
    swift.assert_stored(pattern)


def test_all_workers_share_one_new_token(swift: Site):
    pattern = swift.pattern(count=12)
    swift.proxy.set(swift.sending(4, do="revoke"))
    swift.upload(pattern, connections=4)
    assert len(swift.requests("GET", "/auth/v1.0")) == 2, "one at the start, one for the lost token"
    assert sum(entry["status"] == 401 for entry in swift.proxy.log()) <= 4
    swift.assert_stored(pattern)


def test_a_key_that_stops_working_is_final(swift: Site):
    swift.proxy.set(
        swift.sending(1, do="revoke"),
        {"path": "/auth/v1.0", "do": "status", "status": 401, "skip": 1, "times": None},
    )
    with pytest.raises(StoreError) as caught:
        swift.upload(swift.pattern())
    assert caught.value.exit_code == 5
    assert "ST_" in caught.value.hint
    assert len(swift.requests("GET", "/auth/v1.0")) == 2
    swift.assert_absent()


def test_the_answer_tells_a_wrong_checksum(site: Site):
    pattern = site.pattern()
    wrong = {"ETag": '"00000000000000000000000000000000"'}
    site.proxy.set(site.sending(2, do="rewrite", headers=wrong))
    site.upload(pattern)
    assert site.proxy.fired() == [1]
    assert site.sent()[2] in (1, 2), "sent again, or found to be right by a look"
    site.assert_sent_once_but(2, times=site.sent()[2])
    site.assert_stored(pattern)


def test_the_answer_tells_no_checksum(site: Site):
    pattern = site.pattern()
    site.proxy.set(site.sending(2, do="rewrite", headers={"ETag": None}))
    site.upload(pattern)
    assert site.sent()[2] in (1, 2)
    site.assert_sent_once_but(2, times=site.sent()[2])
    site.assert_stored(pattern)


def test_no_answer_ever_tells_a_checksum(site: Site):
    pattern = site.pattern()
    site.proxy.set(site.sending(do="rewrite", headers={"ETag": None}, times=None))
    site.upload(pattern)
    site.assert_stored(pattern)


def test_a_bit_flips_on_the_way_up(any_site: Site):
    pattern = any_site.pattern()
    any_site.proxy.set(any_site.sending(3, do="corrupt", after=700_001))
    any_site.upload(pattern)
    assert any_site.proxy.fired() == [1]
    any_site.assert_sent_once_but(3)
    any_site.assert_stored(pattern)


def test_bits_always_flip(any_site: Site):
    any_site.proxy.set(any_site.sending(3, do="corrupt", after=700_001, times=None))
    with pytest.raises(StoreError) as caught:
        any_site.upload(any_site.pattern(), policy=IMPATIENT)
    assert caught.value.exit_code == 5
    assert "segment 3" in caught.value.message or "part 4" in caught.value.message
    any_site.assert_absent()


def test_the_answer_to_a_segment_is_lost(site: Site):
    pattern = site.pattern()
    site.proxy.set(site.sending(3, do="lost-response"))
    site.upload(pattern)
    assert site.proxy.fired() == [1]
    site.assert_sent_once_but()  # a look shows that it is there
    site.assert_stored(pattern)


def test_the_answer_to_the_commit_is_lost(any_site: Site):
    pattern = any_site.pattern()
    any_site.proxy.set(any_site.committing(do="lost-response"))
    receipt = any_site.upload(pattern)
    assert any_site.proxy.fired() == [1]
    assert receipt.size == pattern.size
    any_site.assert_sent_once_but()
    any_site.assert_stored(pattern)


def test_the_answer_to_the_commit_is_lost_and_then_everything(any_site: Site):
    pattern = any_site.pattern()
    gone = {"do": "status", "status": 503, "times": None, "since": 0, "after": -1}
    any_site.proxy.set(any_site.committing(do="lost-response"), gone)
    with pytest.raises(StoreError):
        any_site.upload(pattern, policy=IMPATIENT)

    any_site.proxy.set()
    receipt = any_site.upload(pattern)

    assert any_site.sent() == {}, "the object was there already"
    assert (receipt.reused_bytes, receipt.sent_bytes) == (pattern.size, 0)
    any_site.assert_stored(pattern)


def test_the_answers_to_the_clean_up_are_lost(site: Site):
    site.proxy.set(site.sending(4, do="status", status=403, times=None))
    with pytest.raises(StoreError):
        site.upload(site.pattern())
    site.proxy.set({"method": "DELETE|POST", "do": "lost-response", "times": 2})
    store = site.open()
    store.prepare()
    for left in store.unfinished():
        site.retrying(store).discard(left.upload)
    store.close()
    assert site.place.everything() == {}


def test_the_store_is_full(site: Site):
    site.proxy.set(site.sending(3, do="status", status=507, times=None))
    with pytest.raises(StoreError) as caught:
        site.upload(site.pattern(), policy=IMPATIENT)
    assert caught.value.exit_code == 5
    assert caught.value.hint
    site.assert_absent()


def test_the_store_is_full_for_a_while(site: Site):
    pattern = site.pattern()
    site.proxy.set(site.sending(3, do="status", status=507, times=2))
    site.upload(pattern)
    site.assert_sent_once_but(3, times=3)
    site.assert_stored(pattern)


@pytest.mark.parametrize("status", [403, 413])
def test_a_final_refusal_is_not_repeated(site: Site, status: int):
    site.proxy.set(site.sending(2, do="status", status=status, times=None))
    with pytest.raises(StoreError) as caught:
        site.upload(site.pattern())
    assert caught.value.exit_code == 5
    assert caught.value.hint
    assert site.sent()[2] == 1
    site.assert_absent()


@pytest.mark.parametrize("after", [0, 300_000])
def test_a_segment_stalls(site: Site, after: int):
    pattern = site.pattern()
    site.policy = replace(QUICK, stall_s=2.0)
    site.proxy.set(site.sending(2, do="hold", after=after))
    site.upload(pattern)
    assert site.proxy.fired() == [1]
    site.assert_sent_once_but(2)
    site.proxy.set()
    site.assert_stored(pattern)


def test_a_slow_line_is_no_stall(swift: Site):
    """Four seconds for a segment, where three without a byte are a stall; buffers hide ten MiB."""
    pattern = Pattern(32 * MIB, "slow")
    swift.policy = replace(QUICK, stall_s=3.0)
    swift.proxy.set(swift.sending(0, do="throttle", rate=8 * MIB))
    swift.upload(pattern, segment_size=32 * MIB)
    swift.assert_sent_once_but(count=1)
    assert swift.place.read(NAME) == pattern.all()


def test_the_server_does_not_answer_the_commit(site: Site):
    pattern = site.pattern()
    site.policy = replace(QUICK, stall_s=2.0)
    site.proxy.set(site.committing(do="hold", after=1 << 30))
    site.upload(pattern)
    assert site.proxy.fired() == [1]
    site.assert_sent_once_but()
    site.proxy.set()
    site.assert_stored(pattern)


def test_complete_says_200_and_means_an_error(s3: Site):
    pattern = s3.pattern()
    said = '<?xml version="1.0"?><Error><Code>InternalError</Code><Message>again</Message></Error>'
    s3.proxy.set(s3.committing(do="status", status=200, after=-1, body=said))
    s3.upload(pattern)
    assert s3.proxy.fired() == [1]
    s3.assert_sent_once_but()
    s3.assert_stored(pattern)


def test_the_clock_goes_wrong_in_the_middle(s3: Site):
    said = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference …</Message></Error>"
    headers = {"Content-Type": "application/xml"}
    s3.proxy.set(
        s3.sending(2, do="status", status=403, after=-1, body=said, headers=headers, times=None)
    )
    with pytest.raises(StoreError) as caught:
        s3.upload(s3.pattern())
    assert "clock" in f"{caught.value.message} {caught.value.hint}"
    assert s3.sent()[2] == 1
    s3.assert_absent()


def test_many_faults_at_once(any_site: Site):
    pattern = any_site.pattern()
    any_site.proxy.set(
        any_site.sending(0, do="reset", after=1000),
        any_site.sending(1, do="corrupt", after=2000),
        any_site.sending(2, do="status", status=503, times=3),
        any_site.sending(3, do="lost-response"),
        any_site.sending(4, do="close", after=5),
        any_site.committing(do="status", status=503, after=-1),
        any_site.committing(do="lost-response"),
    )
    any_site.upload(pattern)
    sent = any_site.sent()
    assert (sent[0], sent[1], sent[2], sent[4], sent[5]) == (2, 2, 4, 2, 1)
    assert sum(sent.values()) == COUNT + 1 + 1 + 3 + 1 + (sent[3] - 1)
    any_site.assert_stored(pattern)
