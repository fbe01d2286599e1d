"""A target that cannot be: told at once, and nothing is written, made or sent."""

import json
import os

import pytest

from pipeline import profile
from pipeline.targets import choice

TB = 10**12


@pytest.fixture
def large(tmp_path):
    """A raw disk of 3 TB with an MBR, all holes."""
    path = tmp_path / "large.raw"
    with path.open("wb") as file:
        file.write(bytes(446) + bytes.fromhex("80000200830000000008000000f00000"))
        file.write(bytes(48) + b"\x55\xaa")
        file.truncate(3 * TB // 512 * 512)
    return path


@pytest.mark.parametrize("name", ["vhd-fixed", "vhd"])
def test_a_format_that_cannot_hold_the_disk_is_refused_before_anything_is_read(
    imgprep, large, tmp_path, name
):
    ended = imgprep(
        "convert", large, tmp_path / "out.vhd", "--profile", "openstack", "--format", name
    )

    assert ended.code == 2
    assert "the disk has 2.728 TiB, and a vhd holds at most 1.992 TiB" in ended.stderr
    assert "choose another --format" in ended.stderr
    assert "inspect_disk" not in ended.stderr
    assert os.listdir(tmp_path) == ["large.raw"]


@pytest.mark.parametrize("command", [("check",), ("run", "out/", "--create")])
@pytest.mark.parametrize("cloud", ["azure-gen2", "mine.json"])
def test_what_a_cloud_s_own_form_cannot_hold_is_a_finding(imgprep, large, tmp_path, command, cloud):
    mine = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Somebody's own",
        "description": "It says nothing about sizes.",
        "x-target": {"format": "vhd", "variant": "fixed", "suffix": ".vhd"},
    }
    if cloud == "mine.json":
        cloud = tmp_path / cloud
        cloud.write_text(json.dumps(mine))
    before = sorted(os.listdir(tmp_path))
    verb, *rest = command
    places = [f"{tmp_path}/{item}" if item.startswith("out") else item for item in rest]

    ended = imgprep(verb, large, *places, "--profile", cloud, "--guest", "off", "--json")

    assert ended.code == 1
    assert "vhd-max-size" in ended.rules()
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("name", profile.names())
def test_no_cloud_accepts_a_disk_that_its_own_form_cannot_hold(name):
    loaded = profile.load(name)
    limit = choice.LARGEST.get(loaded.target.format)

    assert (
        limit is None
        or limit > 16 * TB
        or "vhd-max-size" in {item.rule for item in loaded.requirements}
    )


@pytest.mark.parametrize("name", ["digitalocean", "azure-gen1", "ibm", "oracle", "linode"])
def test_a_disk_above_the_cloud_s_maximum_goes_no_further_than_its_verdict(
    imgprep, large, tmp_path, name
):
    options = ("--profile", name, "--guest", "off", "--create", "--json")

    ended = imgprep("run", large, f"{tmp_path}/out/", *options)

    assert ended.code == 1
    assert "virtual-size-limit" in ended.rules()
    status = {stage["name"]: stage["status"] for stage in ended.report["stages"]}
    assert (status["check"], status["convert"], status["upload"]) == (
        "refused",
        "skipped",
        "skipped",
    )
    assert os.listdir(tmp_path) == ["large.raw"]
