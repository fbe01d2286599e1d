"""When a request is made again, how long is waited, and when it ends."""

from __future__ import annotations

import signal
import time
from email.utils import formatdate

import pytest

from pipeline.errors import Interrupted, StoreError, TemporaryStoreError, UsageError
from pipeline.stage import Cancellation
from pipeline.stores.failures import no_answer, refusal
from pipeline.transfer.retry import Retrier, RetryPolicy, is_temporary, retry_after

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
    assert Retrier(QUICK, Cancellation()).call(action) == "answer"
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
