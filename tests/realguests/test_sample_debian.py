"""The sample image, a real Debian that starts: which clouds take it, its files read directly."""

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
def facts():
    build = [TOP / "fixtures" / "debian" / "build"]
    image = subprocess.run(build, capture_output=True, text=True, check=True).stdout.split()[-1]
    job = Job(image, "generic", options=Options(guest="direct"))
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
