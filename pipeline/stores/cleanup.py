"""What interrupted uploads left in a destination, found and removed."""

from __future__ import annotations

from collections.abc import Callable, Collection

from pipeline.stage import Cancellation
from pipeline.stores import open_store
from pipeline.transfer.protocol import Unfinished
from pipeline.transfer.retry import RetryPolicy
from pipeline.transfer.retrying import Retrying


def cleanup(
    destination: str,
    *,
    job: str | None = None,
    dry_run: bool = False,
    active: Collection[str] = (),
    tell: Callable[[str], None] | None = None,
) -> tuple[Unfinished, ...]:
    """What interrupted uploads left there, removed unless ``dry_run``; in the order of names.

    ``job``: only this job's (its id or the id's beginning).  ``active``: ids of jobs that are
    running now; theirs is left alone.  Finished objects and what is not imgprep's are not touched.
    """
    policy = RetryPolicy.from_environment()
    store = Retrying(open_store(destination, policy=policy), policy, Cancellation(), tell=tell)
    try:
        store.prepare()
        found = tuple(
            left
            for left in store.unfinished()
            if (job is None or _is_job(left.job, job))
            and not any(_is_job(left.job, running) for running in active)
        )
        for left in found if not dry_run else ():
            store.discard(left.upload)
        return found
    finally:
        store.close()


def _is_job(left: str, job: str) -> bool:
    return bool(job) and (left.startswith(job[:16]) or job.startswith(left))
