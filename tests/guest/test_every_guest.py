"""Whole guests, each of their files otherwise: what is said then, word for word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import varied
from guests import (
    VOLUME,
    Disk,
    disk,
    facts,
    trees,
)

HERE = Path(__file__).parent
TABLES = varied.Tables(HERE / "said")
STRUCTURES, compare = TABLES.made, TABLES.compare

GUESTS: Mapping[str, Mapping[str, Any]] = {
    "debian": disk().trees[0],
    "legacy": trees.legacy(),
}


def _whole(tree: Mapping[str, Any]) -> Iterator[str]:
    return varied.of_guests(tree, lambda new: facts(Disk((VOLUME,), (dict(new),))))


@TABLES
def debian() -> Iterator[str]:
    """All facts of a Debian with each of its files otherwise."""
    return _whole(GUESTS["debian"])


@TABLES
def old_centos() -> Iterator[str]:
    """All facts of an old CentOS with each of its files otherwise."""
    return _whole(GUESTS["legacy"])


@pytest.mark.needs("zstd")
@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said(name: str) -> None:
    compare(name)
