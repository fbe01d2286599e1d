"""Sites: a real server, a proxy that breaks requests before it, a container of one's own."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite("commands", "uploads", "places", "servers", "patterns")

from commands import Command  # noqa: E402
from uploads import Site, make_site  # noqa: E402


@pytest.fixture(params=["swift", "swift-s3"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """Swift by its own API and by S3."""
    return make_site(request.config, request.param, tmp_path)


@pytest.fixture
def swift(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return make_site(request.config, "swift", tmp_path)


@pytest.fixture
def s3(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return make_site(request.config, "swift-s3", tmp_path)


@pytest.fixture(params=["swift", "swift-s3", "radosgw-swift", "radosgw-s3"])
def any_site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """Also the gateway that checks less."""
    return make_site(request.config, request.param, tmp_path)


@pytest.fixture
def command(imgprep, request: pytest.FixtureRequest, tmp_path: Path) -> Command:
    return Command(imgprep, request.config, tmp_path)
