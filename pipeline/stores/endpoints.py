"""Addresses of servers as the environment gives them: checked before they are used, shown in part.

An address may hold a user's name and password before the host; what is shown never does.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from pipeline.errors import StoreError


def host(url: str) -> str:
    """Host and port of an address, for people."""
    return urlsplit(url).netloc.rpartition("@")[2]


def require(what: str, url: str) -> str:
    """The address, if it is one of a server; else ``StoreError`` code ``store-misconfigured``.

    HTTP libraries report a malformed one in many ways, some of them as a broken connection.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if good:
        return url
    raise StoreError(
        "store-misconfigured",
        f"{what} is not the address of a server",
        hint="give it as http://host[:port]/path or https://host[:port]/path",
    )
