"""The five stores that the conformance suite runs against, each with a place of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("uploads", "places", "servers", "patterns")

import places  # noqa: E402
import servers  # noqa: E402


@pytest.fixture(params=places.KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[places.Place]:
    made = places.make(request.config, request.param, tmp_path)
    with servers.environment(made.env):
        yield made
