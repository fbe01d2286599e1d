"""Interim answers (1xx) are waited past: a store that needs long may send 102 before its answer.

``http.client`` knows 100 only and takes any other for the answer itself.  RFC 9110, 15.2: a client must
be able to parse one or more of them before the final response, even if it does not expect one.
"""

from __future__ import annotations

import http.client
from http import HTTPStatus
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class FinalResponse(http.client.HTTPResponse):
    """The answer behind all interim ones."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            told: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not HTTPStatus.SWITCHING_PROTOCOLS < told[1] < HTTPStatus.OK:
                return told
            http.client.parse_headers(self.fp)


class _Plain(HTTPConnection):
    response_class = FinalResponse


class _Secure(HTTPSConnection):
    response_class = FinalResponse


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class PatientAdapter(HTTPAdapter):
    """For a ``requests`` session: ``mount`` it."""

    def init_poolmanager(self, *args: Any, **words: Any) -> None:
        """With our connections."""
        super().init_poolmanager(*args, **words)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **words: Any) -> Any:
        """With our connections."""
        manager = super().proxy_manager_for(*args, **words)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
        return manager


def make_patient(client: Any) -> None:
    """The same for one boto3 client, whose connections are classes of botocore's own."""
    from botocore.awsrequest import (
        AWSHTTPConnection,
        AWSHTTPConnectionPool,
        AWSHTTPSConnection,
        AWSHTTPSConnectionPool,
    )

    def patient(connection: Any, pool: Any) -> Any:
        name, own = connection.__name__, {"response_class": FinalResponse}
        return type(pool.__name__, (pool,), {"ConnectionCls": type(name, (connection,), own)})

    # Of its HTTP session botocore lets nothing be chosen from outside.
    manager = client._endpoint.http_session._manager  # noqa: SLF001
    manager.pool_classes_by_scheme = {
        "http": patient(AWSHTTPConnection, AWSHTTPConnectionPool),
        "https": patient(AWSHTTPSConnection, AWSHTTPSConnectionPool),
    }
