"""Worker processes: what a job finds there, and what becomes of it when one dies."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline.batch import ledger as ledgers
from pipeline.batch import remote
from pipeline.batch.budget import CONNECTIONS, Capacity
from pipeline.batch.events import TaskEnded, TaskStarted
from pipeline.batch.ledger import State
from pipeline.batch.local import local_workers
from pipeline.batch.messages import Work
from pipeline.batch.plan import Task
from pipeline.batch.runner import Policy, Runner
from pipeline.batch.stopping import Stop
from pipeline.batch.worker import Settings, do
from pipeline.errors import TemporaryStoreError
from pipeline.model import Job, Options, Outcome
from pipeline.stage import Cancellation
from stages import for_check
from tests.batch import images

pytestmark = pytest.mark.needs("qemu-img")


class Deadly:
    """A stage that kills its process so often as the file beside the image says."""

    name, version, reusable = "identify", 1, False

    def options(self, job):
        return {}

    def run(self, context):
        with open(f"{context.source.path}.tries", "ab") as tries:
            tries.write(f"{os.getpid()}\n".encode())
        deaths = Path(f"{context.source.path}.deaths").read_text()
        if len(_tries(context.source.path)) <= int(deaths):
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome()


class Shaky(Deadly):
    """The same, with an error that may pass instead of a death."""

    def run(self, context):
        with open(f"{context.source.path}.tries", "ab") as tries:
            tries.write(f"{os.getpid()}\n".encode())
        if len(_tries(context.source.path)) == 1:
            raise TemporaryStoreError("store-connection", "gone for a moment")
        return Outcome()


class Buggy(Deadly):
    def run(self, context):
        raise ZeroDivisionError("nobody thought of that")


def _tries(path):
    return Path(f"{path}.tries").read_text().split()


def deadly():
    return (Deadly(),)


def shaky():
    return (Shaky(),)


def buggy():
    return (Buggy(),)


def settings(tmp_path):
    capacity = Capacity(appliances=1, scratch=1 << 30, connections=2)
    return Settings(tmp_path / "jobs", tmp_path / "shared", capacity)


def run(tmp_path, stages, paths, jobs=2):
    seen = []
    tasks = [Task(Job(str(path), "rackspace"), str(path), "s", 0) for path in paths]
    stop = Stop()
    with (
        ledgers.open_ledger(tmp_path / "b") as ledger,
        local_workers(jobs, settings(tmp_path)) as workers,
    ):
        ledger.adopt(tasks)
        to_do, size = ledger.begin()
        policy = Policy(first_s=0.1, cap_s=0.2)
        Runner(ledger, workers, {False: stages}, seen.append, stop, policy).run(to_do, to_do, size)
        rows = ledger.rows()
        reports = list(ledger.reports())
    stop.close()
    return rows, reports, seen


@pytest.mark.parametrize(("deaths", "state"), [(1, State.DONE), (9, State.FAILED)])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_worker_that_dies_has_its_job_done_by_another(tmp_path, deaths, state, jobs):
    image = images.iso(tmp_path / "a.img")
    other = images.iso(tmp_path / "b.img")
    (tmp_path / "a.img.deaths").write_text(str(deaths))
    (tmp_path / "b.img.deaths").write_text("0")

    rows, reports, seen = run(tmp_path, deadly, [image, other], jobs)

    assert [row.state for row in rows] == [state, State.DONE]
    pids = _tries(image)
    assert len(pids) == len(set(pids)) == min(deaths + 1, 3)
    if state is State.FAILED:
        assert reports[0]["error"]["code"] == "worker-died"
        assert reports[0]["exit_code"] == 3
    assert sum(isinstance(event, TaskStarted) for event in seen) >= 2


def test_what_may_pass_is_tried_again_by_another_worker(tmp_path):
    image = images.iso(tmp_path / "a.img")

    rows, _, seen = run(tmp_path, shaky, [image], jobs=1)

    assert [row.state for row in rows] == [State.DONE]
    assert len(set(_tries(image))) == 2
    states = [event.state for event in seen if isinstance(event, TaskEnded)]
    assert states == [State.PENDING, State.DONE]


def test_a_bug_is_one_image_s_report(tmp_path):
    paths = [images.iso(tmp_path / f"{name}.img") for name in "ab"]

    rows, reports, _ = run(tmp_path, buggy, paths)

    assert [row.state for row in rows] == [State.FAILED] * 2
    assert {report["exit_code"] for report in reports} == {70}
    assert "nobody thought of that" in reports[0]["error"]["message"]


def test_jobs_share_the_connections_to_stores(tmp_path):
    """Of what a machine opens each job has its part, unless its author said how many."""
    alone, two, many = (Capacity.of_machine(tmp_path, jobs).connections for jobs in (1, 2, 64))
    assert alone is None
    assert two * 2 <= CONNECTIONS
    assert many == 1
    image = images.iso(tmp_path / "a.img")

    def used(**options):
        job = Job(str(image), "rackspace", options=Options(guest="off", **options))
        report = do(
            Work(1, job, for_check),
            tell=lambda _: None,
            cancellation=Cancellation(),
            settings=settings(tmp_path),
        )
        return report["job"]["options"]["connections"]

    assert used() == settings(tmp_path).capacity.connections == 2
    assert used(connections=5) == 5


@pytest.mark.needs("module:distributed")
def test_a_worker_of_another_version_that_joins_later_does_nothing():
    other = remote.Remote("b", "t", "0.0.1", None, 1, remember=False)

    with pytest.raises(RuntimeError, match=r"the batch 0\.0\.1"):
        remote.perform(Work(1, Job("/never/opened", "rackspace"), for_check), other)


def test_no_job_leaves_anything_behind_in_its_process(tmp_path):
    """A second job finds the process as the first did: fds, threads, cwd, environment, umask."""
    image = images.good(tmp_path / "a.qcow2")
    work = Work(1, Job(str(image), "rackspace", options=Options(guest="off")), for_check)

    def state():
        mask = os.umask(0o077)
        os.umask(mask)
        deadline = time.monotonic() + 10
        while threading.active_count() > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        return (
            sorted(os.listdir("/proc/self/fd")), threading.active_count(), os.getcwd(), dict(os.environ),
            mask, signal.getsignal(signal.SIGINT), sorted(p.name for p in tmp_path.iterdir()),
        )  # fmt: skip

    def once():
        return do(
            work, tell=lambda _: None, cancellation=Cancellation(), settings=settings(tmp_path)
        )

    first = once()
    before = state()
    second = once()

    assert state() == before
    for report in (first, second):
        del report["started"], report["finished"]
        for stage in report["stages"]:
            del stage["seconds"]
    assert first == second
