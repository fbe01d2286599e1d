"""Hundreds of images: one batch against a shell's loop, two processes against one after the other.

Some four minutes on two cores: what takes long is measured once, or twice.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_convert import IMGPREP, build, warm
from harness import ROOT, Contest, Options, Table, measure, mib, shell

sys.path.insert(0, str(ROOT / "tests"))
from tests.batch import clusters, images

TITLE = "Batches"
SMALL = int(os.environ.get("IMGPREP_BENCH_SMALL", "500"))
JOBS = 2
LOCAL, DASK = "batch --jobs 2 --identity content", "batch on Dask, two workers"
LINES = 10_000


def run(options: Options) -> list[Table]:
    options.output.mkdir(parents=True, exist_ok=True)
    return [small_images(options), conversions(options), long_manifest(options)]


def small_images(options: Options) -> Table:
    """500 small images, judged without a look at the guest."""
    folder = options.cache / "small"
    if not folder.exists():
        folder.mkdir(parents=True)
        for number in range(SMALL):
            images.good(folder / f"{number}.qcow2", seed=number, size=4 << 20)
    file, place = options.output / "small.json", options.output / "small.batch"
    judged = {"guest": "off", "fail_on": "never"}
    images.manifest(file, [f"{folder}/"], options=judged)
    begin = f"'{IMGPREP}' batch '{file}' --jobs {JOBS} -q --no-cache"
    loop = f"ls '{folder}'/* | xargs -P2 -n1 '{IMGPREP}' check --guest=off --fail-on never -q"
    with _cluster(options) as address:
        contestants = {
            "batch --jobs 2": shell(f"{begin} >/dev/null"),
            LOCAL: shell(f"{_state(options)} {begin} --identity content >/dev/null"),
            DASK: shell(f"{begin} --scheduler {address} >/dev/null"),
            "xargs -P2 imgprep check": shell(f"{loop} >/dev/null"),
        }
        contest = Contest(1, prepare=lambda: _forget(options, place))
        contest.run(contestants)
    contest.prepare()
    overhead = 1000 * _overhead_s(place, measure(contestants["batch --jobs 2"]).seconds)
    notes = (
        f"an image costs {overhead:.0f} ms of a process besides its stages (at most 40 wanted)",
        _dask(contest),
        "CPU on Dask is that of the client alone",
    )
    return _table(f"{SMALL} images, check --guest=off", contest, contestants, SMALL, notes)


def _state(options: Options) -> str:
    """Where local processes keep what content is known by, which the cluster's workers must not find."""
    return f"XDG_STATE_HOME='{options.output}/state'"


def _forget(options: Options, *places: Path) -> None:
    """Nobody knows any image's content from an earlier turn."""
    known = [path for path in (options.output / "dask").rglob("content") if path.is_dir()]
    for place in (*places, options.output / "state", *known):
        shutil.rmtree(place, ignore_errors=True)


def _dask(contest: Contest) -> str:
    ratio = contest.ratio(DASK, LOCAL)
    return f"Dask against local processes, both by content: {ratio:.2f} (at most 1.15 wanted)"


def _overhead_s(place: Path, seconds: float) -> float:
    """What of a batch's wall time, of each image, no stage accounts for."""
    done = subprocess.run(
        [IMGPREP, "batch", "status", place, "--json"], capture_output=True, check=True, timeout=60
    )
    tasks = json.loads(done.stdout)["tasks"]
    return (seconds * JOBS - sum(task["seconds"] for task in tasks)) / len(tasks)


def conversions(options: Options) -> Table:
    """Two real conversions into a directory: together never slower than one after the other."""
    listed = [build(options.cache, 1, files) for files in (20, 21)]
    for image in listed:
        warm(image)
    store = options.output / "store"
    file, place = options.output / "two.json", options.output / "two.batch"
    how = {"guest": "off", "fail_on": "never"}
    images.manifest(file, listed, to=str(store), options=how)

    begin = f"'{IMGPREP}' batch '{file}' -q --no-cache"
    with _cluster(options) as address:
        contestants = {
            "batch --jobs 2": shell(f"{begin} --jobs 2 >/dev/null"),
            LOCAL: shell(f"{_state(options)} {begin} --jobs 2 --identity content >/dev/null"),
            DASK: shell(f"{begin} --scheduler {address} >/dev/null"),
            "batch --jobs 1": shell(f"{begin} --jobs 1 >/dev/null"),
        }
        contest = Contest(min(options.pairs, 2), prepare=lambda: _forget(options, place, store))
        contest.run(contestants)
    notes = (_dask(contest), "at most 1.00 of one after the other is wanted")
    contest.prepare()
    return _table("Two images of 1 GiB into a directory", contest, contestants, 2, notes)


def long_manifest(options: Options) -> Table:
    """What stands before the first job."""
    folder = options.output / "many"
    folder.mkdir(exist_ok=True)
    for number in range(LINES):
        (folder / f"{number}.raw").touch()
    plain, rich = options.output / "plain.json", options.output / "rich.json"
    images.manifest(plain, [f"{folder}/{number}.raw" for number in range(LINES)])
    entries = [{"image": f"{folder}/{number}.raw", "name": f"n{number}"} for number in range(LINES)]
    rich.write_text(json.dumps({"images": entries}, indent=1))
    contestants = {
        f"{LINES} {name}": shell(f"'{IMGPREP}' batch '{file}' --dry-run >/dev/null")
        for name, file in (("paths", plain), ("entries with a name each", rich))
    }
    contest = Contest(min(options.pairs, 3))
    contest.run(contestants)
    shutil.rmtree(folder)
    return _table("A long manifest, --dry-run", contest, contestants, LINES)


def _table(
    title: str,
    contest: Contest,
    contestants: dict[str, list[str]],
    count: int,
    notes: tuple[str, ...] = (),
) -> Table:
    last = list(contestants)[-1]
    rows = [
        (
            name,
            f"{contest.seconds(name):.2f}",
            contest.spread(name),
            f"{contest.cpu(name):.1f}",
            f"{1000 * contest.cpu(name) / count:.0f}",
            f"{contest.ratio(name, last):.2f}",
            mib(contest.memory(name)),
        )
        for name in contestants
    ]
    columns = ("", "median s", "least to most", "CPU s", "CPU ms an image", "ratio", "peak memory")
    return Table(title, columns, tuple(rows), notes)


@contextmanager
def _cluster(options: Options) -> Iterator[str]:
    """Two workers on loopback."""
    directory = options.output / "dask"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    with clusters.running(directory, {"XDG_STATE_HOME": str(directory)}, 2) as found:
        yield found.address
