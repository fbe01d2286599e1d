"""The main job into object storage: a qcow2 goes in, a proved VHD is there, no copy in between."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import places
import pytest
import servers

pytestmark = [
    pytest.mark.servers,
    pytest.mark.xdist_group("servers"),
    pytest.mark.needs("qemu-img", "qemu-io"),
]

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A qcow2 with data at its start, in its middle and at its end."""
    path = tmp_path / "disk.qcow2"
    written = ("0x55 0 512", f"0xa1 {40 * MIB} {9 * MIB}", f"0xb2 {63 * MIB} {MIB}")
    commands = [part for text in written for part in ("-c", f"write -P {text}")]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True, timeout=60)
    subprocess.run(["qemu-io", "-f", "qcow2", *commands, path], check=True, timeout=60)
    return path


@pytest.mark.parametrize(("kind", "verify"), [("swift", "readback"), ("swift-s3", "manifest")])
def test_a_disk_becomes_an_object(
    imgprep, request: pytest.FixtureRequest, tmp_path: Path, disk: Path, kind: str, verify: str
):
    place = places.make(request.config, kind, tmp_path, "images/")
    ended = imgprep(
        "run", disk, place.url, "--guest", "off", "--verify", verify, "--json", **place.env
    )

    assert ended.code == 0, ended.stderr
    receipt = json.loads(ended.stdout)["receipt"]
    assert receipt["verified"] == verify
    assert place.objects() == {"images/disk.vhd"}
    copy = tmp_path / "copy.vhd"
    copy.write_bytes(place.read("disk.vhd"))
    assert receipt["size"] == copy.stat().st_size
    compared = ["qemu-img", "compare", "-f", "qcow2", "-F", "vpc", disk, copy]
    subprocess.run(compared, check=True, timeout=60)
    again = imgprep("run", disk, place.url, "--guest", "off", "--if-exists", "skip", **place.env)
    assert again.code == 0, again.stderr


def test_a_failed_store_is_no_verdict_about_the_image(
    imgprep, request: pytest.FixtureRequest, tmp_path: Path, disk: Path
):
    place = places.make(request.config, "swift", tmp_path)
    proxy = servers.faults(request.config, servers.swift(request.config), "swift")
    proxy.set({"method": "PUT", "path": "_segments/", "do": "status", "status": 413, "times": None})
    ended = imgprep("run", disk, place.url, "--guest", "off", "--json", **proxy.through(place.env))
    assert ended.code == 5, ended.stderr
    report = json.loads(ended.stdout)
    assert report["verdict"] == "failed"
    assert report["error"]["hint"]
    assert place.objects() == set()
