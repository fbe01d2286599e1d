"""Storing in Swift, against doing it by hand; the server is on the same machine.

The fresh container of every run is deleted outside of the measured time, so that nobody profits
from what an earlier run left in the store.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench_convert import IMGPREP, build
from harness import GIB, ROOT, Options, Sample, Table, forget, measure, mib, shell

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
    with _swift(options.output):
        return [
            whole_way(image, options),
            prepared_file(dense, options),
            after_a_kill(dense, options),
        ]


@dataclass
class Race:
    """Contestants in turns, with the CPU time of all their processes."""

    pairs: int
    container: str
    scratch: tuple[Path, ...] = ()
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def run(self, contestants: Mapping[str, Sequence[str]]) -> None:
        for turn in range(self.pairs):
            for name, argv in contestants.items():
                self.clear()
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                found = measure(argv)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                self.samples.setdefault(name, []).append(found)
                self.cpu.setdefault(name, []).append(used)
                print(
                    f"  {turn + 1}/{self.pairs} {name}: {found.seconds:.2f} s, cpu {used:.2f} s",
                    file=sys.stderr,
                )

    def clear(self) -> None:
        """Nothing is there of an earlier run: neither objects nor state nor files."""
        for name in (self.container, f"{self.container}_segments"):
            _cli("delete", name, check=False)
        _cli("post", self.container)
        forget(*self.scratch)

    def seconds(self, name: str) -> float:
        return statistics.median(item.seconds for item in self.samples[name])

    def ratio(self, name: str, other: str) -> float:
        pairs = zip(self.samples[name], self.samples[other], strict=True)
        return statistics.median(one.seconds / two.seconds for one, two in pairs)

    def cpu_ratio(self, name: str, other: str) -> float:
        pairs = zip(self.cpu[name], self.cpu[other], strict=True)
        return statistics.median(one / two for one, two in pairs)

    def row(self, name: str, other: str, *more: str) -> tuple[str, ...]:
        peak = max(item.memory for item in self.samples[name])
        return (
            name,
            f"{self.seconds(name):.2f} s",
            f"{self.ratio(name, other):.2f}",
            f"{statistics.median(self.cpu[name]):.2f} s",
            f"{self.cpu_ratio(name, other):.2f}",
            mib(peak),
            *more,
        )


def whole_way(image: Path, options: Options) -> Table:
    """From a qcow2 to an object."""
    copy = options.output / "by-hand.vhd"
    by_hand, ours = "qemu-img convert, swift upload", "imgprep run"
    convert = f"qemu-img convert -f qcow2 -O vpc -o subformat=dynamic '{image}' '{copy}'"
    contestants = {
        by_hand: shell(f"{convert} && {_swift_upload('run', copy)}"),
        ours: shell(
            _imgprep(f"run '{image}' swift://run/ --guest off --fail-on never -q", options.output)
        ),
    }
    race = Race(options.pairs, "run", (copy,))
    race.run(contestants)
    subprocess.run(contestants[by_hand], check=True, stdout=subprocess.DEVNULL)
    needed = copy.stat().st_blocks * 512 if copy.exists() else 0
    forget(copy)
    return Table(
        f"qcow2 ({options.data_gib:g} GiB of data in 20 GiB) to Swift, checked",
        ("", "wall", "ratio", "CPU", "ratio", "memory of one process", "scratch space"),
        (race.row(by_hand, by_hand, mib(needed)), race.row(ours, by_hand, "0 MiB")),
        ("the CPU time is that of the clients and of qemu, not of the server",),
    )


def prepared_file(path: Path, options: Options) -> Table:
    """A file as it is."""
    cli, ours = "swift upload --use-slo, 4 threads", "imgprep upload"
    contestants = {
        cli: shell(_swift_upload("file", path, threads=4)),
        "swift upload --use-slo, 10 threads": shell(_swift_upload("file", path)),
        ours: shell(_imgprep(f"upload '{path}' swift://file/ -q", options.output)),
    }
    if shutil.which("rclone"):
        contestants["rclone copy"] = shell(
            f"RCLONE_CONFIG_S_TYPE=swift RCLONE_CONFIG_S_ENV_AUTH=true rclone copy '{path}' s:file"
        )
    race = Race(options.pairs, "file")
    race.run(contestants)
    size = path.stat().st_size
    return Table(
        f"A prepared file of {size / GIB:.2g} GiB to Swift, segments of 128 MiB",
        ("", "wall", "ratio", "client CPU", "ratio", "memory of one process"),
        tuple(race.row(name, cli) for name in contestants),
        ("imgprep compares every segment and the object with its own checksums besides",),
    )


def after_a_kill(path: Path, options: Options) -> Table:
    """SIGKILL when half is sent, then the same command again."""
    race = Race(1, "kill")
    shares, seconds = [], []
    for _ in range(options.pairs):
        race.clear()
        state = Path(tempfile.mkdtemp(dir=options.output))
        command = _imgprep(f"upload '{path}' swift://kill/ -q", options.output, state)
        whole = measure(shell(command)).seconds
        race.clear()
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
def _swift(output: Path) -> Iterator[None]:
    """A Swift of our own, and the environment that leads to it."""
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
        yield
    finally:
        server.stdin.close()
        server.wait(30)
        shutil.rmtree(directory, ignore_errors=True)
