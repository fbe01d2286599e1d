"""Requests to stores as lines of a log: method, path, answer, time; never a header, a body or a host.

``imgprep -v`` shows them.  The path holds names of containers and objects; tokens and keys travel in
headers, and nothing here signs a query; an address that a web server redirects to may be signed, so of
those the query is left out.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from pipeline.text import clean

LOGGER = "imgprep.requests"
_log = logging.getLogger(LOGGER)


def trace_session(session: Any, *, query: bool = True) -> None:
    """Log what a ``requests`` session does; ``query``: also what stands behind a question mark."""

    def answered(response: Any, *_: object, **__: object) -> None:
        seconds = response.elapsed.total_seconds()
        url = response.url if query else response.url.partition("?")[0]
        _tell(response.request.method, url, response.status_code, seconds)

    session.hooks["response"].append(answered)


def trace_client(client: Any) -> None:
    """Log what a boto3 client does."""
    mine = threading.local()

    def sends(request: Any, **_: object) -> None:
        mine.request = request.method, request.url, time.monotonic()

    def received(response_dict: Any = None, **_: object) -> None:
        method, url, began = getattr(mine, "request", ("?", "", 0.0))
        status = response_dict["status_code"] if response_dict else "no answer"
        _tell(method, url, status, time.monotonic() - began)

    client.meta.events.register("before-send.s3", sends)
    client.meta.events.register("response-received.s3", received)


def _tell(method: str, url: str, status: object, seconds: float) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        _log.debug("%s %s: %s, %.0f ms", method, clean(target, 2000), status, seconds * 1000)
