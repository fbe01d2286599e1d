"""A file on a web server.

    GET Range: bytes=a-b ─┬─ 206, Content-Range: bytes a-b/size    read by ranges
                          └─ 200                                   the server gives no ranges

A redirection is followed five times at the most, to http and https alone, and never from https to
http.  If-Match takes a strong ETag only, so every answer's ETag, size and Last-Modified are compared too.
RFC 9110, 13.1.1 (If-Match), 14 (ranges), 15.4 (redirection).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from pipeline.errors import SourceError, StoreError
from pipeline.remote.source import changed
from pipeline.source import RemoteIdentity
from pipeline.stores import endpoints, responses
from pipeline.stores.failures import no_answer, refusal
from pipeline.stores.interim import PatientAdapter
from pipeline.stores.sources.answers import PIECE, missing, short
from pipeline.stores.tracing import trace_session
from pipeline.transfer.retry import RetryPolicy, retry_after

REDIRECTIONS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


class HttpObject:
    """``Once`` by HTTP."""

    def __init__(self, url: str, policy: RetryPolicy) -> None:
        self.by_ranges = True
        self._url = url
        self._stall_s = policy.stall_s
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: list[requests.Session] = []

    def look(self) -> RemoteIdentity:
        """A request for the first byte, which tells of ranges as well."""
        action = f"looking at {self._url}"
        with self._get(action, {"Range": "bytes=0-0"}) as answer:
            if answer.status_code in (206, 416):
                self.by_ranges = True
                return self._identity(answer, _range(action, answer)[2])
            self.by_ranges = False
            length = answer.headers.get("Content-Length", "")
            return self._identity(answer, int(length) if length.isdigit() else None)

    def read(self, known: RemoteIdentity, offset: int, length: int) -> bytes:
        """One range."""
        action = f"reading {length} bytes at {offset} of {self._url}"
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}", **_if_match(known)}
        with self._get(action, wanted) as answer:
            if answer.status_code != 206:
                raise responses.misunderstood(action, f"{answer.status_code} instead of a range")
            first, last, size = _range(action, answer)
            self._require_same(answer, known, size)
            if (first, last) != (offset, offset + length - 1):
                raise responses.misunderstood(action, f"a range of bytes {first} to {last}")
            data = b"".join(_body(answer, length))
        if len(data) != length:
            raise short(self._url, len(data), length, offset)
        return data

    def pieces(self, known: RemoteIdentity) -> Iterator[bytes]:
        """One request; whoever takes the pieces meets the line's failures as ``StoreError``."""
        action = f"reading {self._url}"
        done = 0
        with self._get(action, _if_match(known)) as answer:
            self._require_same(answer, known, known.size)
            for piece in _body(answer, known.size):
                done += len(piece)
                yield piece
        if known.size is not None and done != known.size:
            raise short(self._url, done, known.size, 0)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            while self._open:
                self._open.pop().close()

    @contextmanager
    def _get(self, action: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        """The answer behind all redirections, of which 200, 206 and 416 come through."""
        url = self._url
        try:
            for _ in range(REDIRECTIONS + 1):
                answer = self._session().get(
                    url,
                    headers={**headers, "Accept-Encoding": "identity"},
                    stream=True,
                    timeout=self._stall_s,
                    allow_redirects=False,
                )
                with answer:
                    if answer.status_code not in _MOVED:
                        self._require_success(action, answer)
                        yield answer
                        return
                    url = self._next(action, url, answer.headers.get("Location", ""))
        except (requests.RequestException, HTTPError, OSError) as error:
            raise no_answer(action, endpoints.host(url), error) from None
        raise StoreError(
            "store-refused",
            f"{action}: more than {REDIRECTIONS} redirections",
            hint="give the address where they lead to",
        )

    def _next(self, action: str, url: str, location: str) -> str:
        """Where a redirection leads; the target may hold a signature, so only its host is told."""
        target = urljoin(url, location)
        parts = urlsplit(target)
        allowed = ("https",) if urlsplit(url).scheme == "https" else ("http", "https")
        if location and parts.scheme in allowed and parts.hostname and "@" not in parts.netloc:
            return target
        raise StoreError(
            "store-refused",
            f"{action}: the server redirects to {parts.scheme}://{endpoints.host(target)}, "
            "which is not followed",
            hint="download the image, then give the path of that file",
        )

    def _require_success(self, action: str, answer: requests.Response) -> None:
        status = answer.status_code
        if status in (404, 410):
            raise missing(self._url)
        if status == 412:
            raise SourceError(
                "source-changed",
                f"{self._url} changed on its server while it was being read",
                hint="wait until it is written completely, then run again",
            )
        if status in (401, 403):
            raise SourceError(
                "source-unreadable",
                f"{action}: the server answered {status} {answer.reason}",
                hint="by http only the credentials of ~/.netrc are sent; of a store use s3:// or swift://",
            )
        if status not in (200, 206, 416):
            after = retry_after(answer.headers.get("Retry-After"))
            raise refusal(action, status, answer.reason, retry_after_s=after)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise responses.misunderstood(action, "a Content-Encoding that nobody asked for")

    def _identity(self, answer: requests.Response, size: int | None) -> RemoteIdentity:
        headers = answer.headers
        return RemoteIdentity(
            self._url, size, headers.get("ETag", ""), headers.get("Last-Modified", "")
        )

    def _require_same(
        self, answer: requests.Response, known: RemoteIdentity, size: int | None
    ) -> None:
        now = self._identity(answer, size)
        if now != known:
            raise changed(self._url, known, now)

    def _session(self) -> requests.Session:
        """One for each thread: a session may not be shared."""
        session: requests.Session | None = getattr(self._mine, "session", None)
        if session is None:
            session = self._mine.session = requests.Session()
            for scheme in ("http://", "https://"):
                session.mount(scheme, PatientAdapter())
            trace_session(session, query=False)
            with self._lock:
                self._open.append(session)
        return session


def _if_match(known: RemoteIdentity) -> dict[str, str]:
    return {"If-Match": known.etag} if known.etag.startswith('"') else {}


def _range(action: str, answer: requests.Response) -> tuple[int, int, int]:
    """First and last byte of an answer, and the size of the whole."""
    told = answer.headers.get("Content-Range", "")
    match = _RANGE.fullmatch(told.strip())
    if match is None:
        raise responses.misunderstood(action, "a range without a size", told)
    return int(match[1] or 0), int(match[2] or -1), int(match[3])


def _body(answer: Any, most: int | None) -> Iterator[bytes]:
    """The body in pieces, and never more than was asked for."""
    left = most
    while left is None or left > 0:
        piece = answer.raw.read(PIECE if left is None else min(left, PIECE))
        if not piece:
            return
        yield piece
        left = None if left is None else left - len(piece)
