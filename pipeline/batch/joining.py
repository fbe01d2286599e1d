"""Who is behind a Dask scheduler, and whether all of them can do what they will be asked.

A worker says with ``--resources "imgprep=2"`` how many jobs it takes.  Before anything starts all
workers are asked for their versions, tools and credentials; nothing is guessed.
https://distributed.dask.org/en/stable/resources.html
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline import __version__
from pipeline.batch import remote
from pipeline.errors import EnvironmentFailed

RESOURCE = "imgprep"
CONNECT_S = 10.0


def places(info: Mapping[str, Any]) -> int:
    """How many jobs a worker takes at a time."""
    return int(info["resources"].get(RESOURCE, 0))


def connected(address: str) -> Any:
    """A ``distributed.Client``.  Raises ``EnvironmentFailed`` where Dask or its scheduler is not there."""
    try:
        from distributed import Client
    except ImportError as error:
        raise EnvironmentFailed(
            "cluster-missing",
            "a Dask cluster was asked for, and distributed is not installed",
            hint="install imgprep[cluster]",
        ) from error
    for name in ("distributed", "distributed.client", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # we tell it in our words
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise EnvironmentFailed(
            "scheduler-unreachable",
            f"there is no Dask scheduler at {address}: {error}",
            hint="check the address; start one with 'dask scheduler'",
        ) from error


def require_equal(client: Any, stores: Sequence[str]) -> tuple[str, ...]:
    """What is worth a note.  Raises ``EnvironmentFailed`` with everything that is wrong with anybody."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    ours = [name for name, info in workers.items() if places(info)]
    if not ours:
        raise EnvironmentFailed(
            "cluster-without-resource",
            f"none of the {len(workers)} workers takes jobs of imgprep",
            hint="start workers with --resources 'imgprep=N', N jobs at a time",
        )
    found = client.run(remote.looking(stores), workers=ours, on_error="return")
    wrong = [line for name, told in sorted(found.items()) for line in _wrong(name, told)]
    if wrong:
        raise EnvironmentFailed(
            "cluster-unfit",
            f"{len(wrong)} problems with {len(ours)} workers: {'; '.join(wrong)}",
            hint=f"every worker needs imgprep {__version__}, its tools and the store's credentials",
        )
    versions = sorted({f"qemu {told['qemu']}" for told in found.values()})
    pythons = sorted({f"Python {told['python']}" for told in found.values()})
    return tuple(
        f"the workers have {' and '.join(kinds)}" for kinds in (versions, pythons) if len(kinds) > 1
    )


def _wrong(name: str, told: Any) -> Iterator[str]:
    if isinstance(told, BaseException):
        yield f"{name} does not answer: {told}"
    elif told["version"] is None:
        yield f"{name} has no imgprep ({told['why']})"
    else:
        if told["version"] != __version__:
            yield f"{name} has imgprep {told['version']}, here is {__version__}"
        yield from (f"{name} has no {tool}" for tool in told["missing"])
        yield from (f"{name}: {problem}" for problem in told["problems"])
