"""A real Dask scheduler and real workers on loopback, started and stopped by their process ids."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.batch.images import wait_for

ROOT = Path(__file__).resolve().parents[2]
QUIET = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s",  # so that a paused worker is missed soon
    "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "0",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "20s",
}


class Cluster:
    """One scheduler, any number of workers."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.directory = directory
        self.env = {**env, **QUIET, "PYTHONPATH": str(ROOT)}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.start_scheduler()

    def start_scheduler(self) -> None:
        argv = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        nothing = self.directory / "nothing"  # no imgprep where the scheduler is
        (nothing / "pipeline").mkdir(parents=True, exist_ok=True)
        (nothing / "pipeline" / "__init__.py").write_text("raise ImportError('not here')\n")
        env = {**self.env, "PYTHONPATH": str(nothing)}
        self.scheduler = self._start("dask_scheduler", argv, env)
        wait_for(self._listens, "a scheduler")

    def add_worker(self, resources: str = "imgprep=1", *, env: Mapping[str, str] | None = None):
        place = self.directory / f"w{len(self.workers)}"
        place.mkdir()
        argv = [
            self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1",
            "--local-directory", str(place), "--death-timeout", "60",
            *(["--resources", resources] if resources else []),
        ]  # fmt: skip
        process = self._start("dask_worker", argv, {**self.env, **(env or {})})
        self.workers.append(process)
        return process

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    def _start(self, module: str, argv: list[str], env: Mapping[str, str]):
        log = (self.directory / f"{module}-{len(self.workers)}.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *argv],
                cwd=self.directory,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextlib.contextmanager
def running(directory: Path, env: Mapping[str, str], workers: int) -> Iterator[Cluster]:
    """A cluster with so many workers, all of which have arrived."""
    found = Cluster(directory, env)
    try:
        for _ in range(workers):
            found.add_worker()
        if workers:
            arrived(found, workers)
        yield found
    finally:
        found.stop()


def arrived(found: Cluster, count: int) -> None:
    from distributed import Client

    with Client(found.address, set_as_default=False, timeout=60) as client:
        client.wait_for_workers(count, timeout=90)
