"""After a proved run ``next:`` is the cloud's own import command, with the object in it."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from pipeline import profile
from pipeline.reports import about_result
from pipeline.stores.schemes import SCHEMES

NONE = {"generic"}
"""No cloud of its own."""
KNOWN = {"container", "object", "path", "name", "size", "format", "FORMAT"}
NAMES = profile.newest()
NAUGHTY = 'it\'s "{size}" $(x)'
URLS = {
    "file": "file:///srv/im%20ages/{}",
    "swift": "swift://images/{}",
    "s3": "s3://images/{}",
}


def made(name: str, scheme: str, object_name: str) -> list[str]:
    """The words of the command for an object of that name."""
    found = profile.load(name)
    target = found.target
    report = {
        "artifact": {"format": target.format},
        "profile": {
            "import_command": found.imports[scheme].command,
            "target": {"suffix": target.suffix},
        },
        "job": {"profile": name, "options": {}},
    }
    quoted = object_name.replace("{", "%7B").replace("}", "%7D").replace(" ", "%20")
    receipt = {"url": URLS[scheme].format(quoted), "size": 4096}
    return shlex.split(about_result._next_of_receipt(report, receipt))


def commands():
    return [(name, scheme) for name in NAMES for scheme in profile.load(name).imports]


@pytest.mark.parametrize("name", NAMES)
def test_every_cloud_has_its_command_with_a_source(name):
    found = profile.load(name).imports

    assert bool(found) == (name not in NONE)
    assert set(found) <= set(SCHEMES)
    for item in found.values():
        assert item.source.address.startswith("https://")
        assert set(re.findall(r"\{(\w+)\}", item.command)) <= KNOWN
        if "size" not in item.command:  # Azure's first step makes an empty disk
            assert re.search(r"\{(object|path)\}", item.command)


@pytest.mark.parametrize(("name", "scheme"), commands())
def test_it_can_be_pasted_whatever_the_object_is_called(name, scheme):
    suffix = profile.load(name).target.suffix

    plain = made(name, scheme, f"disk{suffix}")
    naughty = made(name, scheme, f"{NAUGHTY}{suffix}")

    assert not re.search(r"\{\w+\}", " ".join(plain))
    assert len(naughty) == len(plain), "no value makes a word of its own"
    for word in plain:
        assert not word.startswith(("{", "[")) or json.loads(word)


def test_the_command_of_rackspace():
    words = made("rackspace-2020", "swift", f"{NAUGHTY}.vhd")

    assert words[:5] == ["glance", "task-create", "--type", "import", "--input"]
    assert json.loads(words[5]) == {
        "import_from": f"images/{NAUGHTY}.vhd",
        "image_properties": {"name": NAUGHTY},
    }


def test_what_is_an_address_is_encoded_and_packing_is_no_part_of_the_name():
    assert "https://images.REGION.digitaloceanspaces.com/a%20b.qcow2" in made(
        "digitalocean", "s3", "a b.qcow2"
    )
    assert made("gce", "s3", "disk.tar.gz")[4:] == [
        "disk",
        "--source-uri",
        "gs://images/disk.tar.gz",
    ]


def test_a_cloud_s_command_is_for_its_own_kind_of_store(imgprep, tmp_path):
    image = tmp_path / "disk.raw"
    with image.open("wb") as out:
        out.truncate(1 << 20)
    words = ("run", image, tmp_path / "out", "--guest", "off")

    hetzner = imgprep(*words, "--profile", "hetzner")
    rackspace = imgprep(*words, "--profile", "rackspace")

    path = tmp_path / "out" / "disk.raw"
    assert f"next: hcloud-upload-image upload --image-path {path} " in hetzner.stdout
    assert f"next: imgprep check {tmp_path / 'out' / 'disk.vhd'}\n" in rackspace.stdout
