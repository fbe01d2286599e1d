"""Patterns of paths as glob(7) has them, looked up in a guest: /etc/network/*/eth[0-9]."""

from __future__ import annotations

import fnmatch
import re

from pipeline.guest.tree import Files

MAX_PATHS = 64  # that one pattern may stand for
_MAGIC = re.compile(r"[*?\[]")


def expand(files: Files, pattern: str) -> list[str]:
    """The paths that an absolute pattern means, sorted; a path without wildcards stays as it is.

    A wildcard does not stand for a dot at the start of a name.  Raises ``TreeError``.
    """
    if not _MAGIC.search(pattern):
        return [pattern]
    found = [""]
    for part in pattern.strip("/").split("/"):
        names = [f"{path}/{name}" for path in found for name in _names(files, path, part)]
        found = names[:MAX_PATHS]
    return [path for path in found if files.entry(path) is not None]


def _names(files: Files, directory: str, pattern: str) -> list[str]:
    if not _MAGIC.search(pattern):
        return [pattern]
    hidden = pattern.startswith(".")
    return [
        name
        for name in files.names(directory or "/")
        if fnmatch.fnmatchcase(name, pattern) and (hidden or not name.startswith("."))
    ]
