"""What ``IMAGE…`` means: files, globs that no shell expanded, and directories of images."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError

SUFFIXES = (
    *(".qcow2", ".qcow", ".img", ".raw", ".vhd", ".vhdx", ".vmdk", ".vdi", ".iso", ".ova"),
    *(".gz", ".xz", ".bz2", ".zst"),
)
"""What a file in a directory is called that is taken for an image; others are named one by one."""


@dataclass(frozen=True)
class Images:
    """The images that are meant, each once."""

    paths: tuple[str, ...]
    several: bool  # more than one, or as many as a pattern or a directory happens to hold


def expand(words: Sequence[str]) -> Images:
    """Read ``IMAGE…``; raises ``UsageError`` when a pattern matches none."""
    paths: list[str] = []
    empty: list[str] = []
    for word in words:
        found = list(_meant(word))
        paths += found
        if not found:
            empty.append(word)
    if empty:
        raise UsageError(
            "images-not-found",
            f"no file matches {', '.join(empty)}",
            hint="check the pattern; a directory is given by its path, without one",
        )
    unique = tuple(dict.fromkeys(paths))
    return Images(unique, several=len(unique) > 1 or list(unique) != list(words))


def _meant(word: str) -> Iterator[str]:
    if "://" in word and not os.path.lexists(word):  # an address holds no pattern
        yield word
    elif os.path.isdir(word):
        inside = [
            str(path)
            for path in sorted(Path(word).iterdir())
            if path.name.lower().endswith(SUFFIXES) and path.is_file()
        ]
        yield from inside or [word]  # without any it is only what it is: no file
    elif not os.path.lexists(word) and glob.has_magic(word):
        yield from sorted(glob.glob(word))
    else:
        yield word
