"""Addresses of images.  They stand in reports and ledgers, so there is no place in them for a secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.errors import UsageError
from pipeline.stores import destination as destinations
from pipeline.stores.location import Destination
from pipeline.text import clean

FORMS = "s3://bucket/key, swift://container/object, http://host/path, https://host/path"
_SCHEME = re.compile(r"(s3|swift|https?)://", re.IGNORECASE)
_UNWANTED = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Address:
    """Where an image is."""

    url: str
    scheme: str
    destination: Destination | None = None  # of a store: container and prefix
    name: str = ""  # of the object, in that destination

    @property
    def container(self) -> str:
        """Container or bucket."""
        assert self.destination is not None
        return self.destination.container

    @property
    def key(self) -> str:
        """The object's full name in it."""
        assert self.destination is not None
        return self.destination.key(self.name)


def is_address(text: str) -> bool:
    """Whether an image's name is an address of a kind that can be read, and no path."""
    return _SCHEME.match(text) is not None


def parse(text: str) -> Address:
    """Read an address; ``UsageError`` code ``address-malformed`` says what is wrong."""
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if scheme in ("http", "https"):
        return _http(text, scheme)
    head, _, name = rest.rpartition("/")
    if not head or not name:
        raise _malformed(text, "it names no object")
    try:
        place = destinations.parse(f"{scheme}://{head}/")
        destinations.object_name(place, source="", suffix="", name=name)
    except UsageError as error:
        raise UsageError("address-malformed", error.message, hint=f"use {FORMS}") from None
    return Address(text, scheme, place, name)


def _http(text: str, scheme: str) -> Address:
    try:
        parts = urlsplit(text)
        known = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise _malformed(text, "it is no address") from None
    if "@" in parts.netloc:
        raise UsageError(
            "address-malformed",
            f"the {scheme}:// address holds '@' before the first slash; credentials do not belong there",
            hint="by http those of ~/.netrc are used",
        )
    if "?" in text:
        raise UsageError(
            "address-malformed",
            f"the address of {parts.hostname} has a query: one that is signed would stand in every report",
            hint="give s3:// or swift:// and the store's credentials in the environment; or download it",
        )
    if not known or parts.path in ("", "/") or "#" in text or _UNWANTED.search(text):
        raise _malformed(text, "it is not http://host[:port]/path, percent-encoded")
    return Address(text, scheme)


def _malformed(text: str, why: str) -> UsageError:
    return UsageError(
        "address-malformed", f"{clean(text, 120)} is no image's address: {why}", hint=f"use {FORMS}"
    )
