"""When a request is made again, how long is waited, and when it ends."""

from __future__ import annotations

import signal
import time
from email.utils import formatdate
from typing import Any

import pytest

from pipeline.errors import Interrupted, StoreError, TemporaryStoreError, UsageError
from pipeline.stage import Cancellation
from pipeline.stores.failures import no_answer, refusal
from pipeline.transfer.retry import Retrier, RetryPolicy, is_temporary, retry_after
from pipeline.transfer.retrying import Retrying

QUICK = RetryPolicy(deadline_s=0.3, least_attempts=3, first_s=0.01, cap_s=0.02)


class Failing:
    """Fails so many times, then answers."""

    def __init__(self, times: int, **words: float) -> None:
        self.left, self.calls, self.words = times, 0, words

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise TemporaryStoreError("store-failed", "it broke", **self.words)
        return "answer"


def test_temporary_failures_are_repeated():
    action = Failing(4)
    patient = RetryPolicy(deadline_s=60, least_attempts=3, first_s=0.01, cap_s=0.02)
    assert Retrier(patient, Cancellation()).call(action) == "answer"
    assert action.calls == 5


def test_a_final_failure_is_not():
    calls = []

    def refused() -> None:
        calls.append(1)
        raise StoreError("store-forbidden", "no")

    with pytest.raises(StoreError):
        Retrier(QUICK, Cancellation()).call(refused)
    assert calls == [1]


def test_it_ends_after_the_deadline_and_says_how_often_it_tried():
    with pytest.raises(StoreError, match=r"it broke \(given up after \d+ attempts") as caught:
        Retrier(QUICK, Cancellation()).call(Failing(10**9))
    assert not isinstance(caught.value, TemporaryStoreError)


def test_a_slow_attempt_still_has_its_second_chance():
    policy = RetryPolicy(deadline_s=0.05, least_attempts=3, first_s=0.001, cap_s=0.001)
    action = Failing(2)

    def slow() -> str:
        time.sleep(0.06)
        return action()

    assert Retrier(policy, Cancellation()).call(slow) == "answer"


def test_the_server_s_wish_is_obeyed():
    began = time.monotonic()
    Retrier(QUICK, Cancellation()).call(Failing(1, retry_after_s=0.2))
    assert time.monotonic() - began >= 0.2


def test_a_wish_beyond_the_deadline_ends_it_at_once():
    action = Failing(5, retry_after_s=100.0)
    with pytest.raises(StoreError):
        Retrier(QUICK, Cancellation()).call(action)
    assert action.calls == 1


def test_a_stop_ends_the_waiting():
    stop = Cancellation()
    stop.set(signal.SIGTERM)
    with pytest.raises(Interrupted) as caught:
        Retrier(QUICK, stop).call(Failing(1))
    assert caught.value.exit_code == 143


def test_waits_are_told():
    told: list[str] = []
    Retrier(QUICK, Cancellation(), tell=told.append).call(Failing(1))
    assert told
    assert told[0].startswith("it broke; trying again in ")


@pytest.mark.parametrize("status", [408, 429, 498, 499, 500, 502, 503, 504, 507])
def test_temporary_answers(status: int):
    assert is_temporary(status)
    assert isinstance(refusal("doing", status), TemporaryStoreError)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 412, 413, 416, 501])
def test_final_answers(status: int):
    error = refusal("doing", status, "Reason\x1b[31m", b"body\nof \xff it")
    assert type(error) is StoreError
    assert error.hint
    assert error.message.isprintable()


def test_retry_after_is_a_number_or_a_date():
    assert retry_after("7") == 7.0
    assert retry_after(None) is None
    assert retry_after("soon") is None
    assert 50 < (retry_after(formatdate(time.time() + 60, usegmt=True)) or 0) <= 60


def test_what_libraries_hide_is_found():
    try:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as inner:
            raise RuntimeError("HTTPConnectionPool(... X-Auth-Token: secret)") from inner
    except RuntimeError as error:
        told = no_answer("listing", "host:80", error)
    assert told.message == "listing: no answer from host:80: connection refused"


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "1e9"])
def test_a_malformed_setting_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("IMGPREP_STORE_DEADLINE", value)
    with pytest.raises(UsageError):
        RetryPolicy.from_environment()


def test_a_malformed_setting_is_shown_and_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IMGPREP_STORE_TIMEOUT", "x" * 50)
    with pytest.raises(UsageError) as caught:
        RetryPolicy.from_environment()
    assert caught.value.message == (
        f"IMGPREP_STORE_TIMEOUT is '{'x' * 40}', which is no number of seconds"
    )
    assert caught.value.hint == "unset it, or give a number: IMGPREP_STORE_TIMEOUT=60"


@pytest.mark.parametrize(("value", "allowed"), [("0.5", True), ("999999", True), ("1e6", False)])
def test_a_setting_lies_between_nothing_and_twelve_days(
    monkeypatch: pytest.MonkeyPatch, value: str, allowed: bool
):
    monkeypatch.setenv("IMGPREP_STORE_DEADLINE", value)
    if allowed:
        assert RetryPolicy.from_environment() == RetryPolicy(deadline_s=float(value))
    else:
        with pytest.raises(UsageError):
            RetryPolicy.from_environment()


def test_the_usual_patience_and_that_of_the_first_contact(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("IMGPREP_STORE_DEADLINE", raising=False)
    monkeypatch.setenv("IMGPREP_STORE_TIMEOUT", "")
    usual = RetryPolicy.from_environment()
    assert usual == RetryPolicy(300.0, 4, 0.5, 30.0, 60.0)
    assert usual.short() == RetryPolicy(10.0, 3, 0.5, 5.0, 60.0)
    assert RetryPolicy(2.0, 9, 0.1, 3.0, 7.0).short() == RetryPolicy(2.0, 3, 0.1, 3.0, 7.0)


def test_every_answer_that_may_be_another_one_later():
    temporary = {status for status in range(100, 1000) if is_temporary(status)}
    assert temporary == {408, 425, 429, 498, 499} | set(range(500, 600)) - {501, 505}


def test_a_retry_after_that_has_passed_is_now():
    assert retry_after(formatdate(time.time() - 60, usegmt=True)) == 0.0
    assert retry_after(" 12 ") == 12.0
    assert retry_after("") is None
    assert retry_after("Fri, 99 Nov 2026 99:00:00 GMT") is None


@pytest.mark.parametrize("hint", ["", "do that"])
def test_a_given_up_failure_keeps_its_code_and_tells_what_was_done(
    monkeypatch: pytest.MonkeyPatch, hint: str
):
    Clock(monkeypatch)
    policy = RetryPolicy(deadline_s=1.0)

    def broken() -> None:
        raise TemporaryStoreError("store-failed", "it broke", hint=hint, retry_after_s=9.0)

    with pytest.raises(StoreError) as caught:
        Retrier(policy, Cancellation()).call(broken)
    assert caught.value.code == "store-failed"
    assert caught.value.message == "it broke (given up after 1 attempts in 0 s)"
    assert caught.value.hint == (hint or "run the same command again to continue where it stopped")


def test_a_wish_of_exactly_the_deadline_is_granted_once():
    policy = RetryPolicy(deadline_s=0.01, least_attempts=2, first_s=0.001, cap_s=0.001)
    action = Failing(1, retry_after_s=0.01)
    assert Retrier(policy, Cancellation()).call(action) == "answer"
    assert action.calls == 2


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1.0
        monkeypatch.setattr("pipeline.transfer.retry.time.monotonic", lambda: self.now)


class Once:
    """Writes down each call of a store; the first of a name fails."""

    place, connections, keeps_holes, wants_sha256 = "here", 7, True, False

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    @property
    def limits(self) -> str:
        return self._called("limits")

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._called(name, *args, **kwargs)

    def _called(self, name: str, *args: Any, **kwargs: Any) -> str:
        self.calls.append((name, args, kwargs))
        if len(self.calls) == 1:
            raise TemporaryStoreError("store-failed", "it broke")
        return f"answer of {name}"


REPEATED: list[tuple[str, tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    ("prepare", (), {}, {"create": False, "size": 0}),
    ("prepare", (), {"create": True, "size": 9}, {"create": True, "size": 9}),
    ("stat", ("name",), {}, {}),
    ("begin", ("n", "id", 5, 3, "token"), {}, {
        "metadata": None, "content_type": "application/octet-stream"}),
    ("begin", ("n", "id", 5, 3, "token"), {"metadata": {"a": "b"}, "content_type": "text/plain"},
     {"metadata": {"a": "b"}, "content_type": "text/plain"}),
    ("put_segment", ("upload", "payload"), {}, {"replace": False}),
    ("put_segment", ("upload", "payload"), {"replace": True}, {"replace": True}),
    ("renew", ("upload", "owner"), {}, {}),
    ("release", ("upload",), {}, {}),
    ("list_segments", ("upload",), {}, {}),
    ("stat_segment", ("upload", 4), {}, {}),
    ("commit", ("upload", ()), {"replace": True}, {"replace": True}),
    ("stored_segments", ("name",), {}, {}),
    ("read_range", ("name", 10, 20), {}, {}),
    ("discard", ("upload",), {}, {}),
    ("unfinished", (), {}, {}),
    ("delete", ("name",), {}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "given", "sent"), REPEATED)
def test_a_request_is_repeated_as_it_was_made(
    name: str, args: tuple[Any, ...], given: dict[str, Any], sent: dict[str, Any]
):
    store = Once()
    answer = getattr(Retrying(store, QUICK, Cancellation()), name)(*args, **given)  # type: ignore[arg-type]
    assert store.calls == [(name, args, sent)] * 2
    silent = {"prepare", "renew", "release", "discard", "delete"}
    assert answer == (None if name in silent else f"answer of {name}")


def test_what_asks_nobody_is_asked_once():
    for name, args in (("url", ("name",)), ("expected_etag", ((),)), ("close", ())):
        with pytest.raises(TemporaryStoreError):
            getattr(Retrying(Once(), QUICK, Cancellation()), name)(*args)  # type: ignore[arg-type]


def test_several_requests_are_repeated_as_one():
    store = Once()
    again = Retrying(store, QUICK, Cancellation())  # type: ignore[arg-type]
    assert again.together(lambda bare: [bare.stat("a"), bare.delete("b")]) == [
        "answer of stat", "answer of delete",
    ]  # fmt: skip
    assert [call[0] for call in store.calls] == ["stat", "stat", "delete"]
    with pytest.raises(TemporaryStoreError):
        Retrying(Once(), QUICK, Cancellation()).once(lambda bare: bare.stat("a"))  # type: ignore[arg-type]


def test_it_says_of_itself_what_its_store_says():
    store = Once()
    told: list[str] = []
    again = Retrying(store, QUICK, Cancellation(), tell=told.append)  # type: ignore[arg-type]
    assert again.limits == "answer of limits"
    assert len(told) == 1
    assert [again.place, again.connections] == ["here", 7]
    assert (again.keeps_holes, again.wants_sha256) == (True, False)


@pytest.mark.parametrize(("each_s", "attempts"), [(1.0, 8), (2.0, 5), (3.0, 4), (100.0, 3)])
def test_attempts_end_with_the_first_that_the_deadline_does_not_allow(
    monkeypatch: pytest.MonkeyPatch, each_s: float, attempts: int
):
    # given failures that are so far apart, seven seconds after the first one, and waits of nothing
    clock = Clock(monkeypatch)
    policy = RetryPolicy(deadline_s=6.5, least_attempts=3, first_s=0.0, cap_s=0.0)
    made: list[int] = []

    def fails() -> None:
        made.append(1)
        clock.now += each_s
        raise TemporaryStoreError("store-failed", "it broke")

    with pytest.raises(StoreError):
        Retrier(policy, Cancellation()).call(fails)
    assert len(made) == attempts


def test_a_wish_counts_against_the_deadline(monkeypatch: pytest.MonkeyPatch):
    # given a second between the failures: 1 + 0.005 is within 1.005, 2 + 0.005 is not
    clock = Clock(monkeypatch)
    made: list[int] = []

    def fails() -> None:
        made.append(1)
        clock.now += 1.0
        raise TemporaryStoreError("store-failed", "it broke", retry_after_s=0.005)

    for deadline_s, attempts in ((1.01, 3), (1.005, 3), (1.004, 2)):
        made.clear()
        policy = RetryPolicy(deadline_s=deadline_s, least_attempts=1, first_s=0.0, cap_s=0.0)
        with pytest.raises(StoreError):
            Retrier(policy, Cancellation()).call(fails)
        assert len(made) == attempts
