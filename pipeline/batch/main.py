"""A batch from the outside: open the ledger, choose what is to be done, have it done."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.batch import ledger as ledgers
from pipeline.batch.budget import Capacity
from pipeline.batch.cache import FactsCache
from pipeline.batch.events import BatchNote, Watch
from pipeline.batch.ledger import TO_DO, Ledger, State
from pipeline.batch.local import local_workers
from pipeline.batch.machine import default_jobs
from pipeline.batch.messages import Executor, StagesOf
from pipeline.batch.plan import Task
from pipeline.batch.runner import Policy, Runner
from pipeline.batch.stopping import Stop
from pipeline.batch.worker import Settings
from pipeline.model import combined_exit_code


@dataclass(frozen=True)
class BatchOptions:
    """How a batch shall be done."""

    directory: Path
    stages_of: Mapping[bool, StagesOf]  # by whether a job has a destination
    states: tuple[State, ...] = TO_DO
    jobs: int | None = None  # None: by cores and memory
    policy: Policy = field(default_factory=Policy)
    rate: int | None = None  # bytes a second in each direction, of all jobs together
    cache: Path | None = None  # of facts; None: nothing is remembered
    scheduler: str | None = None  # of a Dask cluster; None: processes here


def run(plan: BatchOptions, tasks: Sequence[Task] | None, watch: Watch, stop: Stop) -> int:
    """Do what is missing or changed; the exit code of all that is in the ledger then.

    Without ``tasks`` the ledger's own are done.  Raises ``EnvironmentFailed`` when the ledger cannot
    be used, or another batch works on it.
    """
    with ledgers.open_ledger(plan.directory) as ledger:
        if tasks is not None:
            ledger.adopt(tasks)
        elif plan.scheduler is not None:
            ledger.know_by_content()
        to_do, size = ledger.begin(plan.states)
        if to_do:
            with _executor(plan, ledger, to_do, watch) as executor:
                runner = Runner(ledger, executor, plan.stages_of, watch, stop, plan.policy)
                runner.run(sum(ledger.counts().values()), to_do, size)
        if stop.level and ledger.counts()[State.PENDING]:
            return 128 + (stop.signal or signal.SIGINT)
        return combined_exit_code(ledger.exit_codes())


@contextmanager
def _executor(plan: BatchOptions, ledger: Ledger, to_do: int, watch: Watch) -> Iterator[Executor]:
    if plan.scheduler is not None:
        from pipeline.batch.cluster import cluster

        opened = cluster(
            plan.scheduler,
            ledger.stores(),
            rate=plan.rate,
            remember=plan.cache is not None,
            eager=plan.policy.max_failures is None,  # else each report may be the last one
        )
        with opened as (workers, notes):
            for note in notes:
                watch(BatchNote(note))
            yield workers
        return
    with _processes(plan, to_do) as processes:
        yield processes


@contextmanager
def _processes(plan: BatchOptions, to_do: int) -> Iterator[Executor]:
    jobs = min(plan.jobs or default_jobs(), to_do)
    here = plan.directory.absolute()
    capacity = Capacity.of_machine(here, jobs, plan.rate)
    settings = Settings(here / "jobs", here / "shared", capacity, plan.cache)
    with local_workers(jobs, settings) as workers:
        yield workers
    cache = FactsCache.opened(plan.cache)
    if cache is not None:
        cache.trim()
