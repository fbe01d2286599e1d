"""What lies on the servers."""

import subprocess

import pytest

from tests.batch import images
from tests.remote.web import Ranged, Web


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A disk as qcow2 and as raw."""
    place = tmp_path_factory.mktemp("served")
    qcow2 = images.good(place / "disk.qcow2", megabytes=2)
    convert = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", qcow2, place / "disk.raw"]
    subprocess.run(convert, check=True, timeout=60)
    images.iso(place / "disc.iso")
    (place / "empty.raw").touch()
    (place / "text.raw").write_text("dear cloud,\n" * 100)
    return place


@pytest.fixture
def web(folder):
    with Web(folder, Ranged).running() as site:
        yield site
