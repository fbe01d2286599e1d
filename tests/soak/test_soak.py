"""Five minutes of the soak, with a seed of its own each time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import soak

MINUTES = 5.0


@pytest.mark.nightly
@pytest.mark.servers
@pytest.mark.timeout(1200)
def test_nothing_is_lost(tmp_path: Path):
    seed = str(random.SystemRandom().randrange(10**9))
    print(f"seed {seed}")

    told = soak.soak(MINUTES, seed, tmp_path)

    assert "nothing lost" in told
