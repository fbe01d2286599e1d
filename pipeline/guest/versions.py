"""Versions in the order in which people and boot loaders put them."""

from __future__ import annotations

import re


def version_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts kernel versions as people do: 6.10 after 6.9."""
    return tuple(
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.findall(r"\d{1,18}|[a-z]+", text.lower())
    )
