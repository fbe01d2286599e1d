"""What interrupted uploads left in a destination, found and removed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from pipeline.stage import Cancellation
from pipeline.stores import open_store
from pipeline.transfer import lease
from pipeline.transfer.protocol import Unfinished
from pipeline.transfer.retry import RetryPolicy
from pipeline.transfer.retrying import Retrying


@dataclass(frozen=True)
class Left:
    """One upload that left something, and what became of it."""

    upload: Unfinished
    running: bool  # somebody may still work on it
    removed: bool


def cleanup(
    destination: str,
    *,
    job: str | None = None,
    dry_run: bool = False,
    force: bool = False,
    active: Collection[str] = (),
    tell: Callable[[str], None] | None = None,
) -> tuple[Left, ...]:
    """What interrupted uploads left there, removed unless ``dry_run``; in the order of names.

    ``job``: only this job's (its id or the id's beginning).  ``active``: ids of jobs that are
    running on this machine now.  Theirs, and those whose lease in the store holds, are left alone
    unless ``force``.  Finished objects and what is not imgprep's are not touched.
    """
    policy = RetryPolicy.from_environment()
    store = Retrying(open_store(destination, policy=policy), policy, Cancellation(), tell=tell)
    try:
        store.prepare()
        found = []
        for left in store.unfinished():
            if job is not None and not _is_job(left.job, job):
                continue
            running = lease.holds(left) or any(_is_job(left.job, one) for one in active)
            removes = not dry_run and (force or not running)
            if removes:
                store.discard(left.upload)
            found.append(Left(left, running, removes))
        return tuple(found)
    finally:
        store.close()


def _is_job(left: str, job: str) -> bool:
    return bool(job) and (left.startswith(job[:16]) or job.startswith(left))
