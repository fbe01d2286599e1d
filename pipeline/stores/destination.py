"""Destinations: ``swift://container/prefix/``, ``s3://bucket/prefix/``, ``file:///dir/`` or a path.

A destination names a place, never an object: the object's name is the user's ``--name``, or the
source's stem plus the target's suffix.  Credentials have no place in it.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePath
from urllib.parse import unquote

from pipeline.errors import UsageError
from pipeline.stores.location import Destination
from pipeline.stores.schemes import SCHEMES, Scheme, credentials, forms

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNSAYABLE = re.compile(r"[\x00\ud800-\udfff]")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def parse(text: str) -> Destination:
    """Read a destination; ``UsageError`` code ``destination-malformed`` says what is wrong."""
    if not text:
        raise _malformed(text, "it is empty")
    match = _ADDRESS.match(text)
    # A directory may be called anything that a report can say; an address may not.
    if (_UNSAYABLE if match is None else _CONTROL).search(text):
        raise _malformed(text, "it contains control characters or broken unicode")
    if match is None:
        return Destination("file", os.path.abspath(os.path.expanduser(text)))
    name, rest = match[1].lower(), text[match.end() :]
    if name == "file":
        return _file(text, rest)
    if name not in SCHEMES:
        raise _malformed(text, f"there is no store for {name}://")
    return _bucket(SCHEMES[name], text, rest)


def _file(text: str, rest: str) -> Destination:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise _malformed(text, "a file:// address has three slashes: file:///dir/")
    path = "/" + unquote(path, errors="strict") if "%" in path else "/" + path
    if _UNSAYABLE.search(path):
        raise _malformed(text, "it contains control characters")
    _refuse_dots(text, path)
    return Destination("file", os.path.abspath(path))


def _bucket(scheme: Scheme, text: str, rest: str) -> Destination:
    container, _, prefix = rest.partition("/")
    if "@" in container or ":" in container:
        raise UsageError(
            "destination-malformed",
            f"the {scheme.name}:// address holds '@' or ':' before the first slash; "
            "credentials do not belong there",
            hint=f"imgprep takes them from the environment: {credentials()}",
        )
    if not container:
        raise _malformed(text, f"the {scheme.place} is missing")
    if not scheme.container.fullmatch(container):
        raise _malformed(text, f"{container[:80]!r} cannot be a {scheme.place}'s name")
    if len(container.encode()) > scheme.container_bytes:
        why = f"the {scheme.place}'s name is longer than {scheme.container_bytes} bytes"
        raise _malformed(text, why)
    _refuse_dots(text, rest)
    prefix = prefix.strip("/")
    if "//" in prefix:
        raise _malformed(text, "the prefix has an empty part ('//')")
    if len(prefix.encode()) > scheme.name_bytes:
        raise _malformed(text, f"the prefix is longer than {scheme.name_bytes} bytes")
    return Destination(scheme.name, container, prefix + "/" if prefix else "")


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
    scheme = SCHEMES[destination.scheme]
    if not scheme.deep_names and "/" in chosen:
        raise _bad_name(f"the name {shown} contains '/', a file's name cannot")
    used = len(destination.key(chosen).encode())
    if used > scheme.name_bytes:
        raise _bad_name(f"the name {shown} has {used} bytes; {scheme.name_bytes} can be stored")
    return chosen


def _refuse_dots(text: str, path: str) -> None:
    if any(part in (".", "..") for part in path.split("/")):
        raise _malformed(text, "it contains '.' or '..' as a part of a path")


def _shown(text: str) -> str:
    clean = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    return repr(clean if len(clean) <= 80 else clean[:77] + "...")


def _bad_name(message: str) -> UsageError:
    return UsageError("name-malformed", message, hint="choose another with --name")


def _malformed(text: str, why: str) -> UsageError:
    return UsageError(
        "destination-malformed",
        f"the destination {_shown(text)} is malformed: {why}",
        hint=f"use {forms()} or a directory's path",
    )
