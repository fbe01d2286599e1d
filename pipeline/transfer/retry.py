"""The one place that repeats a request to a store.

    failure ──▶ temporary? ──no──▶ raise
                    │yes
                    ▼
        wait  uniform(0, min(cap, first * 2^n))     "full jitter"
              or Retry-After, when the server said so
                    │
                    ▼
        again, until the deadline has passed and a few attempts were made

The deadline counts from the first failure, and a handful of attempts is always allowed: on a slow
line one attempt alone may take longer than the deadline.  Full jitter: see
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import StoreError, TemporaryStoreError, UsageError
from pipeline.stage import Cancellation

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

_TEMPORARY = frozenset({408, 425, 429, 498, 499})
_NEVER = frozenset({501, 505})  # not implemented, HTTP version


@dataclass(frozen=True)
class RetryPolicy:
    """How long to try.  Seconds."""

    deadline_s: float = 300.0  # from the first failure to giving up
    least_attempts: int = 4
    first_s: float = 0.5
    cap_s: float = 30.0
    stall_s: float = 60.0  # no byte in this time: the connection is dead

    @classmethod
    def from_environment(cls) -> RetryPolicy:
        """``IMGPREP_STORE_DEADLINE`` and ``IMGPREP_STORE_TIMEOUT`` change deadline and stall."""
        return cls(
            deadline_s=_seconds("IMGPREP_STORE_DEADLINE", cls.deadline_s),
            stall_s=_seconds("IMGPREP_STORE_TIMEOUT", cls.stall_s),
        )

    def short(self) -> RetryPolicy:
        """For the first contact: somebody waits in front of the screen."""
        return RetryPolicy(
            min(self.deadline_s, 10.0), 3, self.first_s, min(self.cap_s, 5.0), self.stall_s
        )


class Retrier:
    """Calls a function again while it raises ``TemporaryStoreError`` and the policy allows."""

    def __init__(
        self,
        policy: RetryPolicy,
        cancellation: Cancellation,
        *,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.policy = policy
        self._cancellation = cancellation
        self._tell = tell or (lambda _: None)

    def call(self, action: Callable[[], T]) -> T:
        """The function's value; its last error, with the number of attempts, when all failed."""
        from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

        first_failure: list[float] = []
        jitter = wait_random_exponential(multiplier=self.policy.first_s, max=self.policy.cap_s)

        def wait(state: RetryCallState) -> float:
            wish = _wish(state)
            return jitter(state) if wish is None else wish

        def stop(state: RetryCallState) -> bool:
            now = time.monotonic()
            first_failure[:] = first_failure or [now]
            waited = now - first_failure[0]
            wish = _wish(state) or 0.0
            if wish > self.policy.deadline_s:
                return True
            enough = state.attempt_number >= self.policy.least_attempts
            return enough and waited + max(wish, state.upcoming_sleep) > self.policy.deadline_s

        retrying = Retrying(
            retry=retry_if_exception_type(TemporaryStoreError),
            wait=wait,
            stop=stop,
            sleep=self._sleep,
            before_sleep=self._announce,
            retry_error_callback=_give_up,
        )
        return retrying(action)

    def _sleep(self, seconds: float) -> None:
        if self._cancellation.wait(seconds):
            self._cancellation.check()

    def _announce(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TemporaryStoreError):
            self._tell(f"{error.message}; trying again in {state.upcoming_sleep:.1f} s")


def _wish(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after_s if isinstance(error, TemporaryStoreError) else None


def _give_up(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TemporaryStoreError)
    raise StoreError(
        error.code,
        f"{error.message} (given up after {state.attempt_number} attempts in "
        f"{state.seconds_since_start or 0:.0f} s)",
        hint=error.hint or "run the same command again to continue where it stopped",
    ) from None


def is_temporary(status: int) -> bool:
    """Whether the same request may succeed later, by its HTTP status."""
    return status in _TEMPORARY or (500 <= status <= 599 and status not in _NEVER)


def retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header: a number or an HTTP date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value.strip())
    from email.utils import parsedate_to_datetime

    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise UsageError(
            "setting-malformed",
            f"{name} is {text[:40]!r}, which is no number of seconds",
            hint=f"unset it, or give a number: {name}={default:g}",
        )
    return value
