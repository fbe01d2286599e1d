"""A target that cannot be: told at once, and nothing is written, made or sent."""

import os

import pytest

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


@pytest.mark.parametrize(
    ("profile", "target"),
    [
        ("azure-gen2", ()),
        ("openstack", ("--format", "vhd-fixed")),
        ("openstack", ("--format", "vhd")),
    ],
)
def test_a_vhd_of_3_tb_is_refused_before_a_byte_of_it_is_written(
    imgprep, large, tmp_path, profile, target
):
    ended = imgprep("convert", large, tmp_path / "out.vhd", "--profile", profile, *target)

    assert ended.code == 4
    assert "bytes (2794.0 GiB), and a VHD holds at most" in ended.stderr
    assert "convert to another format" in ended.stderr
    assert os.listdir(tmp_path) == ["large.raw"]


@pytest.mark.parametrize("profile", ["digitalocean", "azure-gen1", "ibm", "oracle", "linode"])
def test_a_disk_above_the_cloud_s_maximum_goes_no_further_than_its_verdict(
    imgprep, large, tmp_path, profile
):
    options = ("--profile", profile, "--guest", "off", "--create", "--json")

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
