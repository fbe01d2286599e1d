"""Destinations: ``swift://container/prefix/``, ``s3://bucket/prefix/``, ``file:///dir/`` or a path.

A destination names a place, never an object: the object's name is the user's ``--name``, or the
source's stem plus the target's suffix.  Credentials have no place in it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import unquote

from pipeline.errors import UsageError
from pipeline.transfer.protocol import Scheme

_NAME_BYTES = 1024  # Swift's max_object_name_length and S3's key limit
_SEGMENT_SUFFIX_BYTES = 64  # what segments' and markers' names add
_FILE_NAME_BYTES = 255
SEGMENTS = "_segments"  # what the container of a Swift container's segments is called behind it
_CONTAINER_BYTES = 256 - len(SEGMENTS)  # Swift's max_container_name_length
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FORMS = "use swift://container/prefix/, s3://bucket/prefix/, file:///dir/ or a directory's path"


@dataclass(frozen=True)
class Destination:
    """A place for objects: for ``file`` the container is the directory's absolute path."""

    scheme: Scheme
    container: str
    prefix: str = ""  # "" or ends with "/"

    def key(self, name: str) -> str:
        """The full name, in the container, of the object called ``name``."""
        return self.prefix + name

    @property
    def url(self) -> str:
        """The destination's address, in one spelling."""
        return f"{self.scheme}://{self.container.rstrip('/')}/{self.prefix}"


def parse(text: str) -> Destination:
    """Read a destination; ``UsageError`` code ``destination-malformed`` says what is wrong."""
    if not text:
        raise _malformed(text, "it is empty")
    if _CONTROL.search(text):
        raise _malformed(text, "it contains control characters or broken unicode")
    match = _SCHEME.match(text)
    if match is None:
        return Destination("file", os.path.abspath(os.path.expanduser(text)))
    scheme, rest = match[1].lower(), text[match.end() :]
    if scheme == "file":
        return _file(text, rest)
    if scheme not in ("swift", "s3"):
        raise _malformed(text, f"there is no store for {scheme}://")
    return _bucket("swift" if scheme == "swift" else "s3", text, rest)


def _file(text: str, rest: str) -> Destination:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise _malformed(text, "a file:// address has three slashes: file:///dir/")
    path = "/" + unquote(path, errors="strict") if "%" in path else "/" + path
    if _CONTROL.search(path):
        raise _malformed(text, "it contains control characters")
    _refuse_dots(text, path)
    return Destination("file", os.path.abspath(path))


def _bucket(scheme: Scheme, text: str, rest: str) -> Destination:
    container, _, prefix = rest.partition("/")
    if "@" in container or ":" in container:
        raise UsageError(
            "destination-malformed",
            f"the {scheme}:// address holds '@' or ':' before the first slash; "
            "credentials do not belong there",
            hint="imgprep takes them from the environment: ST_*, OS_* or clouds.yaml; AWS_*",
        )
    if not container:
        raise _malformed(text, "the container or bucket is missing")
    if scheme == "s3" and not _BUCKET.fullmatch(container):
        raise _malformed(text, f"{container[:80]!r} cannot be a bucket's name")
    if len(container.encode()) > _CONTAINER_BYTES:
        raise _malformed(text, f"the container's name is longer than {_CONTAINER_BYTES} bytes")
    _refuse_dots(text, rest)
    prefix = prefix.strip("/")
    if "//" in prefix:
        raise _malformed(text, "the prefix has an empty part ('//')")
    _refuse_long(prefix, text)
    return Destination(scheme, container, prefix + "/" if prefix else "")


def object_name(
    destination: Destination, source: str, suffix: str, *, name: str | None = None
) -> str:
    """What the object is called, without the prefix: ``name``, or the source's stem and ``suffix``.

    Raises ``UsageError`` code ``name-malformed`` for a name that a store or a file system would
    refuse or misread.
    """
    chosen = PurePath(source).stem + suffix if name is None else name
    shown = _shown(chosen)
    if not chosen or chosen.strip("/") != chosen or "//" in chosen:
        raise _bad_name(f"{shown} cannot be an object's name")
    if _CONTROL.search(chosen):
        raise _bad_name(f"the name {shown} contains control characters or broken unicode")
    if any(part in (".", "..") for part in chosen.split("/")):
        raise _bad_name(f"the name {shown} contains '.' or '..' as a part of a path")
    if destination.scheme == "file" and "/" in chosen:
        raise _bad_name(f"the name {shown} contains '/', a file's name cannot")
    limit = _FILE_NAME_BYTES if destination.scheme == "file" else _NAME_BYTES
    room = limit - (0 if destination.scheme == "file" else _SEGMENT_SUFFIX_BYTES)
    used = len(destination.key(chosen).encode())
    if used > room:
        raise _bad_name(f"the name {shown} has {used} bytes; {room} can be stored")
    return chosen


def _refuse_dots(text: str, path: str) -> None:
    if any(part in (".", "..") for part in path.split("/")):
        raise _malformed(text, "it contains '.' or '..' as a part of a path")


def _refuse_long(prefix: str, text: str) -> None:
    room = _NAME_BYTES - _SEGMENT_SUFFIX_BYTES
    if len(prefix.encode()) > room:
        raise _malformed(text, f"the prefix is longer than {room} bytes")


def _shown(text: str) -> str:
    clean = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    return repr(clean if len(clean) <= 80 else clean[:77] + "...")


def _bad_name(message: str) -> UsageError:
    return UsageError("name-malformed", message, hint="choose another with --name")


def _malformed(text: str, why: str) -> UsageError:
    return UsageError(
        "destination-malformed", f"the destination {_shown(text)} is malformed: {why}", hint=_FORMS
    )
