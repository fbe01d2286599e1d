"""Past one machine, by simulation: many jobs over many workers, on loopback, durations shortened.

The scheduler, the ledger, the client and the messages are the real ones; a job is a sleep, and a report that
tells of a minute: shorter ones would travel several at a time.
All workers live in one process here, so their own cost is not the cluster's.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import Options, Table, mib

from pipeline.batch.messages import Work
from pipeline.events import Event, StageFinished, StageStarted
from pipeline.model import JsonObject, StageStatus

JOBS = int(os.environ.get("IMGPREP_BENCH_JOBS", "100000"))
WORKERS = int(os.environ.get("IMGPREP_BENCH_WORKERS", "200"))
SLEEP_S = 0.05  # of a job: a minute, shortened
STAGES = ("identify", "inspect_disk", "inspect_guest", "check", "convert", "upload")
STAGE_S = 60 / len(STAGES)
TITLE = "A large cluster, simulated"
WORKERS_PROGRAM = """
import asyncio, sys, time
from distributed import Worker
from pipeline.batch import worker
sys.path.insert(0, sys.argv[3])
import bench_cluster
worker.do = bench_cluster.pretend
async def main(address, count):
    workers = [Worker(address, nthreads=1, resources={"imgprep": 1}, dashboard=False) for _ in range(count)]
    await asyncio.gather(*workers)
    await asyncio.gather(*(worker.finished() for worker in workers))
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def run(options: Options) -> list[Table]:
    del options
    with tempfile.TemporaryDirectory() as name:
        return [simulated(Path(name))]


def simulated(directory: Path) -> Table:
    from distributed import Client

    here = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*here, "--host", "127.0.0.1", "--port", "18786"], stderr=subprocess.DEVNULL
    )
    address = "tcp://127.0.0.1:18786"
    workers = subprocess.Popen(
        [sys.executable, "-c", WORKERS_PROGRAM, address, str(WORKERS), str(Path(__file__).parent)],
        stderr=subprocess.DEVNULL,
        cwd=directory,
    )
    try:
        with Client(address, timeout=120, set_as_default=False) as client:
            client.wait_for_workers(WORKERS, timeout=300)
        before = _cpu(scheduler.pid)
        measured = _batch(directory, address)
        used = _cpu(scheduler.pid) - before
    finally:
        workers.kill()
        scheduler.kill()
        workers.wait()
        scheduler.wait()
    return _table(measured, used)


def _batch(directory: Path, address: str) -> dict[str, float]:
    """One batch, in this process: its time, its ledger, its memory."""
    from distributed import Client

    from pipeline.batch import ledger as ledgers
    from pipeline.batch.cluster import Cluster
    from pipeline.batch.plan import Task
    from pipeline.batch.runner import Runner
    from pipeline.batch.stopping import Stop
    from pipeline.model import Job

    client = Client(address, set_as_default=False)
    executor = Cluster(client, address, rate=None, remember=False)
    stop = Stop()
    with ledgers.open_ledger(directory / "b") as ledger:
        began = time.monotonic()
        ledger.adopt(
            [
                Task(Job(f"/images/{n}.qcow2", "rackspace"), str(n), "s", 1 << 30)
                for n in range(JOBS)
            ]
        )
        adopted = time.monotonic() - began
        to_do, size = ledger.begin()
        began, cpu = time.monotonic(), time.process_time()
        Runner(ledger, executor, {False: tuple}, lambda _: None, stop).run(to_do, to_do, size)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        ended = ledger.counts()[ledgers.State.DONE]
        bytes_ = ledger.size()
    executor.close()
    stop.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return {
        "adopted": adopted, "seconds": seconds, "cpu": cpu, "ended": ended, "ledger": bytes_,
        "memory": memory,
    }  # fmt: skip


def pretend(work: Work, *, tell: Callable[[Event], None], **_: object) -> JsonObject:
    """What a job takes, tells and gives, without doing it."""
    time.sleep(SLEEP_S)
    for name in STAGES:
        tell(StageStarted(name))
        tell(StageFinished(name, StageStatus.DONE, STAGE_S))
    rules: Sequence[str] = [f"requirement-number-{n}" for n in range(60)]
    stages = [{"name": name, "status": "done", "seconds": STAGE_S} for name in STAGES]
    facts = {"container": {"format": "qcow2", "details": {str(n): "x" * 40 for n in range(60)}}}
    return {
        "report_version": 1, "job": {"source": work.job.source}, "verdict": "accepted",
        "exit_code": 0, "findings": [], "passed": rules, "not_applicable": [], "facts": facts,
        "stages": stages, "artifact": None, "receipt": None, "error": None, "tools": {},
    }  # fmt: skip


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _table(found: dict[str, float], scheduler: float) -> Table:
    jobs = found["ended"]
    rows = (
        ("jobs that ended", f"{jobs:.0f} of {JOBS} on {WORKERS} workers"),
        ("until all are in the ledger", f"{found['adopted']:.1f} s"),
        ("jobs a second", f"{jobs / found['seconds']:.0f}"),
        ("scheduler, CPU a job", f"{1000 * scheduler / jobs:.2f} ms"),
        ("batch, CPU a job", f"{1000 * found['cpu'] / jobs:.2f} ms"),
        ("ledger", f"{mib(int(found['ledger']))}, {found['ledger'] / jobs:.0f} bytes a job"),
        ("ledger, written", f"{found['ledger'] / found['seconds'] / 1e6:.2f} MB/s"),
        ("batch, peak memory", mib(int(found["memory"]))),
    )
    return Table("Jobs that sleep", ("", ""), rows, _limits(jobs / scheduler, jobs / found["cpu"]))


def _limits(scheduler: float, batch: float) -> tuple[str, ...]:
    """Where it breaks, by CPU: jobs a second that the one process of each kind can do at most."""
    first = "the scheduler" if scheduler < batch else "the batch itself"
    rate = min(scheduler, batch)
    workers = 60 * rate  # with jobs of a minute
    stores = 10e9 / 8 / (1 << 30)  # jobs a second that send 1 GiB each over 10 Gbit/s
    return (
        f"jobs sleep {1000 * SLEEP_S:.0f} ms; all workers live in one process, which competes for the cores",
        f"{first} breaks first, at {rate:.0f} jobs a second: {workers:,.0f} workers with jobs of a minute",
        f"a store's line is the limit long before: 10 Gbit/s take {stores:.1f} jobs of 1 GiB a second",
    )
