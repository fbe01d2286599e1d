"""python-swiftclient's low-level ``Connection``, one a thread, with its faults turned into ours.

swiftclient retries nothing here (``retries=0``); a refused token is renewed once for all threads,
and the request is made again at once.  Redirects are not followed: they would carry the token away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.client import HTTPException
from json import JSONDecodeError
from typing import Any

from requests import RequestException
from swiftclient import client
from urllib3.exceptions import HTTPError

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.stores import endpoints, responses
from pipeline.stores.failures import no_answer, refusal
from pipeline.stores.interim import PatientAdapter
from pipeline.stores.swift.auth import Access, Session
from pipeline.stores.tracing import trace_session
from pipeline.transfer.protocol import Payload
from pipeline.transfer.retry import retry_after

_NOTHING = object()
_PATIENCE = 5
"""A manifest of 1000 segments makes the store ask for each: its answer may take this much longer."""


class _Connection(client.Connection):  # type: ignore[misc]
    def http_connection(self, url: str | None = None) -> Any:
        parsed, connection = super().http_connection(url)
        connection.requests_args["allow_redirects"] = False
        for scheme in ("http://", "https://"):
            connection.request_session.mount(scheme, PatientAdapter())
        trace_session(connection.request_session)
        return parsed, connection


class Client:
    """Requests to one account, from any thread."""

    def __init__(self, session: Session, *, stall_s: float) -> None:
        client.logger_settings["redact_sensitive_headers"] = True
        client.logger_settings["reveal_sensitive_prefix"] = 0
        self._session = session
        self._stall_s = stall_s
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: list[_Connection] = []

    def login(self) -> Access:
        """The access that requests use; logs in when nobody did."""
        return self._session.access()[0]

    def call(
        self,
        action: str,
        request: Callable[[Any], Any],
        *,
        patient: bool = False,
        missing: Any = _NOTHING,
        taken: Any = _NOTHING,
        reading: bool = False,
    ) -> Any:
        """The answer to one request; ``missing`` stands for a 404, ``taken`` for a 412 where given.

        A 409 to a request that writes passes: two requests for one object met, and the later clock
        won.  ``reading``: there it says that a segment is not what its manifest names.
        Raises ``StoreError``; the one repetition is that with a new token.
        """
        for last in (False, True):
            access, generation = self._session.access()
            connection = self._connection(access, generation, patient)
            try:
                return request(connection)
            except client.ClientException as error:
                self._drop(connection)
                status = int(error.http_status or 0)
                if status == 404 and missing is not _NOTHING:
                    return missing
                if status == 412 and taken is not _NOTHING:
                    return taken
                if status == 409 and not reading:
                    raise _overtaken(action) from None
                if status != 401 or last:
                    raise _refused(action, error, status) from None
                self._session.renew(generation)
            except (RequestException, HTTPError, HTTPException, OSError) as error:
                self._drop(connection)
                raise no_answer(action, endpoints.host(access.storage_url), error) from None
            except (JSONDecodeError, UnicodeDecodeError) as error:
                self._drop(connection)
                raise responses.misunderstood(action, str(error), _text(error)) from None
            except BaseException:
                self._drop(connection)
                raise
        raise AssertionError("the second refusal is raised")

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            while self._open:
                self._open.pop().close()

    def _connection(self, access: Access, generation: int, patient: bool) -> _Connection:
        kept: dict[bool, tuple[int, _Connection]] = self._mine.__dict__.setdefault("kept", {})
        found = kept.get(patient)
        if found is not None and found[0] == generation:
            return found[1]
        if found is not None:
            self._drop(found[1])
        trust = self._session.trust
        connection = _Connection(
            preauthurl=access.storage_url,
            preauthtoken=access.token,
            retries=0,
            timeout=self._stall_s * (_PATIENCE if patient else 1),
            cacert=trust if isinstance(trust, str) else None,
            insecure=trust is False,
        )
        kept[patient] = generation, connection
        with self._lock:
            self._open.append(connection)
        return connection

    def _drop(self, connection: _Connection) -> None:
        """After a failure the rest of an answer, or of a body, may still be on its way."""
        connection.close()
        for key, (_, known) in list(self._mine.__dict__.get("kept", {}).items()):
            if known is connection:
                del self._mine.kept[key]
        with self._lock:
            if connection in self._open:
                self._open.remove(connection)


class Sending:
    """A segment's body as the file that swiftclient reads: a piece at a time, whatever it asks for.

    Whole pieces save the 16 KiB steps of the HTTP library.
    """

    def __init__(self, payload: Payload) -> None:
        self._pieces = payload.pieces()
        self._left = payload.size

    def read(self, size: int = -1) -> Any:
        """The next piece, ``b""`` at the end."""
        del size
        piece = next(self._pieces, b"")
        self._left -= len(piece)
        if self._left == 0:
            next(self._pieces, None)  # the pieces are hashed when they end
        return piece


def _text(error: JSONDecodeError | UnicodeDecodeError) -> str | bytes:
    return error.doc if isinstance(error, JSONDecodeError) else error.object


def _overtaken(action: str) -> TemporaryStoreError:
    return TemporaryStoreError(
        "store-conflict",
        f"{action}: the store answered 409 Conflict: another request changed the same object",
        hint="if another imgprep stores the same object, let it finish; then run again",
    )


def _refused(action: str, error: Any, status: int) -> StoreError:
    headers = error.http_response_headers or {}
    return refusal(
        action,
        status,
        str(error.http_reason or ""),
        error.http_response_content or b"",
        retry_after_s=retry_after(headers.get("Retry-After")),
    )
