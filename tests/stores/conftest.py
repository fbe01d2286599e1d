"""The five stores that the conformance suite runs against, each with a place of its own."""

from collections.abc import Iterator
from pathlib import Path

import places
import pytest
import servers


@pytest.fixture(params=places.KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[places.Place]:
    made = places.make(request.config, request.param, tmp_path)
    with servers.environment(made.env):
        yield made
