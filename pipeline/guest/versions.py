"""Versions in the order in which people and boot loaders put them."""

from __future__ import annotations

import re

_RANKS = {"~": 0, "": 1, "-": 2, "^": 3, ".": 4}  # "": the end; then letters, and then digits


def version_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts kernel versions as people do: 6.10 after 6.9."""
    return tuple(
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.findall(r"\d{1,18}|[a-z]+", text.lower())
    )


def uapi_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts as systemd-boot does: "a.conf" after "a-1.conf", 1 after 1~rc, digits after letters.

    https://uapi-group.org/specifications/specs/version_format_specification/
    """
    parts = [*re.findall(r"\d+|[A-Za-z]+|[-.~^]", text[:500]), ""]
    return tuple(
        (6, int(part[:18]), "") if part.isdigit()
        else (5, 0, part) if part.isalpha()
        else (_RANKS[part], 0, "")
        for part in parts
    )  # fmt: skip
