"""One login and one client of each kind of store, for any number of objects."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Self

from pipeline.transfer.retry import RetryPolicy

if TYPE_CHECKING:
    from pipeline.stores.s3.client import Client as S3Client
    from pipeline.stores.swift.client import Client as SwiftClient

CONNECTIONS = 8
"""To S3, at a time."""


class Clients:
    """Made when they are asked for; may be used from several threads; close it, or use it as a context."""

    def __init__(self, policy: RetryPolicy | None = None) -> None:
        self.policy = policy or RetryPolicy.from_environment()
        self._lock = threading.Lock()
        self._swift: SwiftClient | None = None
        self._s3: S3Client | None = None

    def swift(self) -> SwiftClient:
        """Raises ``StoreError`` without credentials."""
        from pipeline.stores.swift.auth import Session, from_environment
        from pipeline.stores.swift.client import Client

        with self._lock:
            if self._swift is None:
                stall_s = self.policy.stall_s
                session = Session(from_environment(stall_s, dict(os.environ)))
                self._swift = Client(session, stall_s=stall_s)
            return self._swift

    def s3(self) -> S3Client:
        """Raises ``StoreError`` without credentials."""
        from pipeline.stores.s3.client import Client

        with self._lock:
            if self._s3 is None:
                self._s3 = Client(self.policy, CONNECTIONS)
            return self._s3

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for client in (self._swift, self._s3):
                if client is not None:
                    client.close()
            self._swift = self._s3 = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
