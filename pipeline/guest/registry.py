"""How a registry hive is asked, whoever reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

ReadHive: TypeAlias = Callable[
    [str, Sequence[tuple[Sequence[str], Sequence[str]]]], Sequence[Mapping[str, Any]]
]
"""Values of a registry hive: path within the tree, then (keys from its root, value names).

A string comes as text, a number as int, anything else as the hexadecimal of its first bytes.
``KEY``, which no value can be called, comes as 1 where the key itself is there.
"""

KEY = "\0key"
