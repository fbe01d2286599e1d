"""What an interrupted job promises depends on whether anything was kept."""

import signal

import pytest

from pipeline import events
from pipeline.engine import run_job
from pipeline.model import Job
from pipeline.stage import Cancellation
from stages.identify import Identify


@pytest.mark.parametrize(("keeps", "promise"), [(True, "continue"), (False, "starts anew")])
def test_only_a_job_that_kept_its_state_promises_to_continue(tmp_path, keeps, promise):
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(1 << 20))
    cancellation = Cancellation()
    cancellation.set(signal.SIGINT)

    report = run_job(
        Job(str(image), "rackspace"),
        (Identify(),),
        events.ignore,
        cancellation=cancellation,
        job_dir=tmp_path / "jobs" if keeps else None,
    )

    assert report.exit_code == 130
    assert promise in report.error.hint
    assert ("state is saved" in report.error.hint) == keeps
    assert "saved" not in report.error.message  # each stage that stopped repeats it
