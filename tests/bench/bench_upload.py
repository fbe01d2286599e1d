"""Storing in Swift, against doing it by hand; the server is on the same machine.

The fresh container of every run is deleted outside of the measured time, so that nobody profits
from what an earlier run left in the store.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench_convert import IMGPREP, build
from harness import GIB, ROOT, Contest, Options, Table, forget, measure, mib, shell, worker

TITLE = "Upload"
SWIFT = Path(sys.executable).with_name("swift")
SERVER = ROOT / "fixtures/servers/run_swift.py"
SEGMENT = 128 << 20
PREPARED_GIB = 2


def run(options: Options) -> list[Table]:
    image = build(options.cache, options.data_gib, 20)
    prepared = build(options.cache, PREPARED_GIB, PREPARED_GIB + 4, kind="raw")
    dense = _dense(prepared)
    options.output.mkdir(parents=True, exist_ok=True)
    with _swift(options.output, apart=True) as server_cpu:
        whole = whole_way(image, options, server_cpu)
    with _swift(options.output):
        return [
            whole,
            prepared_file(dense, options),
            after_a_kill(dense, options),
        ]


def race(options: Options, container: str, *copies: Path) -> Contest:
    """A contest in which nothing is there of an earlier run: objects, files, or unwritten pages."""

    def clear() -> None:
        for name in (container, f"{container}_segments"):
            _cli("delete", name, check=False)
        _cli("post", container)
        forget(*copies)
        os.sync()

    return Contest(options.pairs, clear)


def row(contest: Contest, name: str, other: str, *more: str) -> tuple[str, ...]:
    return (
        name,
        f"{contest.seconds(name):.2f} s",
        f"{contest.ratio(name, other):.2f}",
        f"{contest.cpu(name):.2f} s",
        f"{contest.cpu_ratio(name, other):.2f}",
        mib(contest.memory(name)),
        *more,
    )


def whole_way(image: Path, options: Options, server_cpu: Callable[[], float]) -> Table:
    """From a qcow2 to an object, nobody disturbed by the server."""
    copy = options.output / "by-hand.vhd"
    by_hand, ours = "qemu-img convert, swift upload", "imgprep run"
    convert = f"qemu-img convert -f qcow2 -O vpc -o subformat=dynamic '{image}' '{copy}'"
    contestants = {
        by_hand: shell(f"{convert} && {_swift_upload('run', copy)}"),
        ours: shell(
            _imgprep(f"run '{image}' swift://run/ --guest off --fail-on never -q", options.output)
        ),
    }
    contest = race(options, "run", copy)
    contest.server = server_cpu
    contest.run(contestants)
    subprocess.run(contestants[by_hand], check=True, stdout=subprocess.DEVNULL)
    needed = copy.stat().st_blocks * 512 if copy.exists() else 0
    forget(copy)
    theirs, own = contest.server_cpu(by_hand), contest.server_cpu(ours)
    served = "the server's own, on a core of its own and for the same bytes"
    per_gib = contest.cpu(ours) / options.data_gib
    return Table(
        f"qcow2 ({options.data_gib:g} GiB of data in 20 GiB) to Swift, checked",
        ("", "wall", "ratio", "CPU", "ratio", "memory of one process", "scratch space"),
        (row(contest, by_hand, by_hand, mib(needed)), row(contest, ours, by_hand, "0 MiB")),
        (
            "the server is pinned to one core, client and qemu to another",
            f"the CPU time is that of the clients and of qemu; imgprep's is {per_gib:.2f} s a GiB of data",
            f"{served}: {theirs:.1f} s by hand, {own:.1f} s with imgprep",
        ),
    )


def prepared_file(path: Path, options: Options) -> Table:
    """A file as it is."""
    cli, ours = "swift upload --use-slo, 4 threads", "imgprep upload"
    contestants = {
        cli: shell(_swift_upload("file", path, threads=4)),
        "swift upload --use-slo, 10 threads": shell(_swift_upload("file", path)),
        ours: shell(_imgprep(f"upload '{path}' swift://file/ -q", options.output)),
        "the MD5 alone": worker("hash", path, "md5"),
    }
    if shutil.which("rclone"):
        contestants["rclone copy"] = shell(
            f"RCLONE_CONFIG_S_TYPE=swift RCLONE_CONFIG_S_ENV_AUTH=true rclone copy '{path}' s:file"
        )
    contest = race(options, "file")
    contest.run(contestants)
    size = path.stat().st_size
    return Table(
        f"A prepared file of {size / GIB:.2g} GiB to Swift, segments of 128 MiB",
        ("", "wall", "ratio", "client CPU", "ratio", "memory of one process"),
        tuple(row(contest, name, cli) for name in contestants),
        (
            "imgprep compares every segment and the object with its own checksums besides",
            "the MD5 alone: of the same file by the same library, Python's start included; Swift wants it",
        ),
    )


def after_a_kill(path: Path, options: Options) -> Table:
    """SIGKILL when half is sent, then the same command again."""
    clear = race(options, "kill").prepare
    shares, seconds = [], []
    for _ in range(options.pairs):
        clear()
        state = Path(tempfile.mkdtemp(dir=options.output))
        command = _imgprep(f"upload '{path}' swift://kill/ -q", options.output, state)
        whole = measure(shell(command)).seconds
        clear()
        shutil.rmtree(state)
        state.mkdir()
        _kill_at_half(path, state)
        second = measure(shell(command)).seconds
        shutil.rmtree(state)
        shares.append(second / whole)
        seconds.append((whole, second))
    rows = tuple((f"{a:.2f} s", f"{b:.2f} s", f"{b / a:.2f}") for a, b in seconds)
    median = statistics.median(shares)
    return Table(
        "After SIGKILL at half of the upload",
        ("a whole run", "the run after the kill", "ratio"),
        (*rows, ("", "median", f"{median:.2f}")),
    )


def _kill_at_half(path: Path, state: Path) -> None:
    events = state / "events.jsonl"
    command = [IMGPREP, "upload", path, "swift://kill/", "-q", "--events", events]
    process = subprocess.Popen([*command, "--job-dir", state / "jobs"], start_new_session=True)
    while process.poll() is None and _share(events) < 0.5:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _share(events: Path) -> float:
    """How much of the upload the last complete line tells."""
    if not events.exists():
        return 0.0
    for line in reversed(events.read_text().splitlines()):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if "done" in found and found.get("total"):
                return float(found["done"]) / float(found["total"])
    return 0.0


def _imgprep(words: str, output: Path, state: Path | None = None) -> str:
    """Without ``state`` every run begins with an empty job directory."""
    if state is not None:
        return f"'{IMGPREP}' {words} --job-dir '{state}/jobs'"
    jobs = f"'{output}/jobs'"
    return f"rm -rf {jobs} && '{IMGPREP}' {words} --job-dir {jobs}"


def _swift_upload(container: str, path: Path, *, threads: int = 10) -> str:
    return (
        f"'{SWIFT}' -q upload --use-slo -S {SEGMENT} --segment-threads {threads} "
        f"--object-name {path.name} {container} '{path}'"
    )


def _cli(*words: str, check: bool = True) -> None:
    subprocess.run([SWIFT, "-q", *words], check=check, capture_output=True, timeout=600)


def _dense(sparse: Path) -> Path:
    """The data of the sparse file without its holes: every byte has to be read by everybody."""
    dense = sparse.with_suffix(".img")
    if not dense.exists():
        partial = dense.with_suffix(".part")
        with sparse.open("rb") as file, partial.open("wb") as out:
            end = 0
            while True:
                try:
                    start = os.lseek(file.fileno(), end, os.SEEK_DATA)
                except OSError:
                    break
                end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                file.seek(start)
                while start < end:
                    data = file.read(min(1 << 20, end - start))
                    out.write(data)
                    start += len(data)
        partial.rename(dense)
    return dense


@contextlib.contextmanager
def _apart(servers: list[int]) -> Iterator[None]:
    """These processes on one core, this one and all that it starts on another."""
    mine = os.sched_getaffinity(0)
    served, client, *_ = (*sorted(mine), *sorted(mine))
    for pid in servers:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {served})
    os.sched_setaffinity(0, {client})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def _cpu_seconds(pid_file: Path) -> float:
    """What a process has used so far, by proc(5)."""
    fields = Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text().rpartition(")")[2]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _swift(output: Path, *, apart: bool = False) -> Iterator[Callable[[], float]]:
    """A Swift of our own and the environment that leads to it; yields how to read its CPU seconds.

    ``apart``: it has a core of its own.
    """
    directory = Path(tempfile.mkdtemp(prefix="swift-", dir=output))
    server = subprocess.Popen(
        [sys.executable, SERVER, directory, "--owned"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        os.environ.update(json.loads(server.stdout.readline()))
        processes = list((directory / "run").glob("*.pid"))
        pinned = [int(path.read_text()) for path in processes] if apart else []
        with _apart(pinned) if apart else contextlib.nullcontext():
            yield lambda: sum(map(_cpu_seconds, processes))
    finally:
        server.stdin.close()
        server.wait(30)
        shutil.rmtree(directory, ignore_errors=True)
