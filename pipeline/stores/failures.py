"""What a store's refusal or a broken connection means, in one place for all network stores.

    401  once: the token is renewed         403 404 413  final, with what to do
    408 425 429 498 499 5xx  temporary      no answer    temporary, unless TLS does not trust the host

Libraries' exceptions are never chained: their tracebacks and attributes may hold headers.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.text import clean
from pipeline.transfer.retry import is_temporary

_HINTS = {
    401: (
        "store-authentication",
        "check user and key (ST_* or OS_*; AWS_*), and that the key was not revoked",
    ),
    403: (
        "store-forbidden",
        "this user may not do that: check the key, and the rights on the container or bucket",
    ),
    404: ("store-not-found", "check the container's name, the region and the account"),
    405: ("store-refused", "the address is not that of an object store; check it"),
    411: ("store-refused", "a proxy in between changes requests; check HTTP(S)_PROXY"),
    413: ("store-too-large", "a quota or the store's object limit is reached; free space or ask"),
    507: ("store-full", "the store is full; the same command continues when there is space"),
}


def refusal(
    action: str,
    status: int,
    reason: str = "",
    detail: str | bytes = "",
    *,
    retry_after_s: float | None = None,
) -> StoreError:
    """The error for an HTTP status that is no success.  ``detail`` is the answer's body."""
    words = f"{action}: the store answered {status} {clean(reason or '', 60)}".rstrip()
    shown = " ".join(clean(detail[:300], 160).replace("\\n", " ").split())
    if shown and not shown.startswith("<"):
        words += f" ({shown})"
    code, hint = _HINTS.get(status, ("store-failed", ""))
    if is_temporary(status):
        hint = hint or "the store is busy or broken; the same command continues later"
        return TemporaryStoreError(code, words, hint=hint, retry_after_s=retry_after_s)
    return StoreError(code, words, hint=hint or "see the store's own documentation of this answer")


def no_answer(action: str, host: str, error: BaseException) -> StoreError:
    """The error for a request that was not answered."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        found = next(c for c in causes if isinstance(c, ssl.SSLCertVerificationError))
        return StoreError(
            "store-tls",
            f"{action}: {host} cannot prove who it is: {clean(found.verify_message, 120)}",
            hint="install the right CA certificate (OS_CACERT, AWS_CA_BUNDLE); nothing was sent",
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return TemporaryStoreError(
            "store-tls",
            f"{action}: no TLS connection with {host}",
            hint="the address may be plain http, or a proxy interferes",
        )
    return TemporaryStoreError(
        "store-connection",
        f"{action}: no answer from {host}: {_words(causes)}",
        hint="check the address and the network; the same command continues",
    )


def _words(causes: list[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__:
            return "nothing came for too long"
        if isinstance(cause, OSError) and cause.errno in errno.errorcode and cause.strerror:
            return cause.strerror.lower()
    return "the connection broke"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what is behind it, as libraries hide it: the innermost first."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(seen) < 20:
        one = waiting.pop()
        if isinstance(one, BaseException) and all(one is not other for other in seen):
            seen.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return reversed(seen)
