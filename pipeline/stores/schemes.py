"""The schemes of stores, one row each: all that differs before a store is opened.

``open_store``, the parsing of destinations, the command line's help and its sentences ask this table;
a store more is a row more.  Libraries are loaded only when a store is opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.stores.location import SEGMENTS, Destination

if TYPE_CHECKING:
    from pipeline.transfer.protocol import ObjectStore
    from pipeline.transfer.retry import RetryPolicy

_KEY_BYTES = 1024  # Swift's max_object_name_length and S3's key limit
_KEY_SUFFIX_BYTES = 64  # what segments' and markers' names add


def _open_file(place: Destination, _policy: RetryPolicy) -> ObjectStore:
    from pipeline.stores.local.store import LocalStore

    return LocalStore(place)


def _open_swift(place: Destination, policy: RetryPolicy) -> ObjectStore:
    from pipeline.stores.swift.store import SwiftStore

    return SwiftStore(place, policy)


def _open_s3(place: Destination, policy: RetryPolicy) -> ObjectStore:
    from pipeline.stores.s3.store import S3Store

    return S3Store(place, policy)


@dataclass(frozen=True)
class Scheme:
    """One kind of store."""

    name: str
    place: str  # what its containers are called
    form: str  # of an address, for people
    credentials: str  # where they come from, "" when it needs none
    open: Callable[[Destination, RetryPolicy], ObjectStore]
    container: re.Pattern[str]  # what a container may be called
    container_bytes: int
    name_bytes: int  # of an object's name with its prefix
    deep_names: bool = True  # an object's name may hold "/"
    profile_segments: bool = False  # a profile's segment size is meant for it


_ANY = re.compile(r".+", re.DOTALL)

SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "file",
            place="directory",
            form="file:///dir/",
            credentials="",
            open=_open_file,
            container=_ANY,
            container_bytes=4096,
            name_bytes=255,
            deep_names=False,
        ),
        Scheme(
            "swift",
            place="container",
            form="swift://container[/prefix/]",
            credentials="ST_*, OS_* or clouds.yaml",
            open=_open_swift,
            container=_ANY,
            container_bytes=256 - len(SEGMENTS),  # Swift's max_container_name_length
            name_bytes=_KEY_BYTES - _KEY_SUFFIX_BYTES,
            profile_segments=True,
        ),
        Scheme(
            "s3",
            place="bucket",
            form="s3://bucket[/prefix/]",
            credentials="AWS_*",
            open=_open_s3,
            container=re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]"),
            container_bytes=255,
            name_bytes=_KEY_BYTES - _KEY_SUFFIX_BYTES,
        ),
    )
}


def forms() -> str:
    """Every way to name a destination, for people."""
    return ", ".join(scheme.form for scheme in SCHEMES.values())


def credentials() -> str:
    """Where credentials come from, for people."""
    return "; ".join(scheme.credentials for scheme in SCHEMES.values() if scheme.credentials)
