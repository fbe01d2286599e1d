"""The sample image, a real Debian that starts: which clouds take it, its files read in both ways."""

import subprocess
from pathlib import Path

import pytest

from pipeline import profile
from pipeline.engine import run_job
from pipeline.events import ignore
from pipeline.model import Job, Options, Status, to_json
from stages import for_inspect

TOP = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.needs("mmdebstrap", "qemu-img", "qemu-nbd", "module:pyfsext"),
]


@pytest.fixture(scope="module")
def image():
    build = [TOP / "fixtures" / "debian" / "build"]
    return subprocess.run(build, capture_output=True, text=True, check=True).stdout.split()[-1]


@pytest.fixture(scope="module")
def facts(image):
    return told_of(image, "direct")


def told_of(image, guest):
    """Its facts, found in one way."""
    job = Job(image, "generic", options=Options(guest=guest))
    report = to_json(run_job(job, for_inspect(), ignore))
    assert report["error"] is None, report["error"]
    return report["facts"]


@pytest.mark.parametrize(
    "name", ["generic", "openstack", "rackspace-2020", "gce", "oracle", "vultr"]
)
def test_a_cloud_finds_nothing_wrong_with_it(name, facts):
    found = profile.judge(profile.load(name), facts).findings

    assert [item for item in found if item.fixed_by is None or item.severity != "info"] == []
    assert all(item.status is Status.FAIL for item in found)


@pytest.mark.appliance
@pytest.mark.nightly
@pytest.mark.needs("qemu-system-x86_64", "supermin")
def test_the_appliance_says_of_it_what_the_direct_reader_says(image, facts):
    def without_readers(guest):
        volumes = [{**volume, "read_by": None} for volume in guest["filesystems"]]
        kept = {name: fact for name, fact in guest.items() if name not in ("found_by", "appliance")}
        return {**kept, "filesystems": volumes}

    theirs = told_of(image, "appliance")

    assert theirs["guest"]["found_by"] == "appliance"
    assert facts["guest"]["found_by"] == "direct"
    assert without_readers(theirs["guest"]) == without_readers(facts["guest"])
