"""What a sample of mutants tells of all of them."""

from __future__ import annotations

import math

ENOUGH = 0.95
CHANCE = 0.02  # how seldom a room that has just enough may be called wanting, for its sample's sake


def by_chance(survivors: int, of: int) -> float:
    """How likely a sample has so many survivors, or more, where just enough are noticed."""
    fewer = (
        math.comb(of, count) * (1 - ENOUGH) ** count * ENOUGH ** (of - count)
        for count in range(survivors)
    )
    return 1 - sum(fewer)
