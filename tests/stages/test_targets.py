"""What each cloud takes is made, and proved three ways: its profile, another tool, the source's data."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline import profile
from pipeline.engine import run_job
from pipeline.events import ignore
from pipeline.model import Job, Options, Status
from stages import for_run

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd", "tar")

MIB, GIB = 1 << 20, 1 << 30
SIZE = 37 * MIB + 512

# profile -> suffix, qemu's name of what is inside, the virtual size it has then
MADE: dict[str, tuple[str, str, int]] = {
    "rackspace-2020": (".vhd", "vpc", 38 * MIB),
    "rackspace-2014": (".vhd", "vpc", 38 * MIB),
    "azure-gen1": (".vhd", "vpc", 38 * MIB),
    "azure-gen2": (".vhd", "vpc", 38 * MIB),
    "gce": (".tar.gz", "raw", GIB),
    "linode": (".img.gz", "raw", SIZE),
    "aws": (".vmdk", "vmdk", SIZE),
    "aws-snapshot": (".raw", "raw", SIZE),
    "openstack": (".qcow2", "qcow2", SIZE),
    "digitalocean": (".qcow2", "qcow2", SIZE),
    "oracle": (".qcow2", "qcow2", SIZE),
    "ibm": (".qcow2", "qcow2", SIZE),
    "alibaba": (".qcow2", "qcow2", SIZE),
    "huawei": (".qcow2", "qcow2", SIZE),
    "tencent": (".qcow2", "qcow2", SIZE),
    "vultr": (".raw", "raw", SIZE),
    "hetzner": (".raw", "raw", SIZE),
    "generic": (".qcow2", "qcow2", SIZE),
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of an odd size with an MBR and some data, as a VDI, which no cloud takes."""
    directory = tmp_path_factory.mktemp("image")
    raw, path = directory / "disk.raw", directory / "disk.vdi"
    rng = random.Random(4)
    with raw.open("wb") as file:
        file.truncate(SIZE)
        file.write(bytes(446) + bytes.fromhex("80000200830000000008000000f00000"))
        file.write(bytes(48) + b"\x55\xaa")
        for place in (MIB, 20 * MIB, SIZE - 70_000):
            file.seek(place)
            file.write(rng.randbytes(66_000))
    subprocess.run(["qemu-img", "convert", "-O", "vdi", raw, path], check=True)
    return raw


def unpacked(stored: Path, directory: Path) -> Path:
    """The image inside of what was stored, by everybody's tools."""
    inside = directory / "inside"
    if stored.name.endswith(".tar.gz"):
        with tarfile.open(stored) as archive:
            (member,) = archive.getmembers()
            assert member.name == "disk.raw"
            file = archive.extractfile(member)
            assert file is not None
            inside.write_bytes(file.read())
        return inside
    if stored.suffix == ".gz":
        inside.write_bytes(gzip.decompress(stored.read_bytes()))
        return inside
    return stored


def test_every_profile_has_its_row():
    assert {profile.load(name).name for name in profile.names()} == set(MADE)


@pytest.mark.parametrize("name", MADE)
def test_what_the_cloud_takes_is_made(name: str, image: Path, tmp_path: Path):
    suffix, format_name, size = MADE[name]
    options = Options(guest="off", fail_on="never", create=True, verify="readback")
    source = image.with_suffix(".vdi")
    job = Job(str(source), name, f"file://{tmp_path}/out/", options)

    report: Any = run_job(job, for_run(), ignore, job_dir=tmp_path / "jobs")

    assert report.error is None, report.error
    assert report.result is not None
    own = [item for item in report.result.findings if item.status is Status.FAIL and item.fixed_by]
    assert own == []
    stored = tmp_path / "out" / f"disk{suffix}"
    inside = unpacked(stored, tmp_path)
    argv = ["qemu-img", "info", "--output=json", "-f", format_name, str(inside)]
    said = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    assert -(-said["virtual-size"] // 512) * 512 == size
    compared = ["qemu-img", "compare", "-f", "raw", "-F", format_name, str(image), str(inside)]
    assert subprocess.run(compared, capture_output=True).returncode == 0
