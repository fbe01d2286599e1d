"""The commands that people wait for: help, a check without the guest."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench_convert import IMGPREP, build, warm
from harness import ROOT, Contest, Options, Table, mib, shell

TITLE = "Commands"
SAMPLE = ROOT / "fixtures/debian/build"


def run(options: Options) -> list[Table]:
    options.output.mkdir(parents=True, exist_ok=True)
    return [short_ones(options), all_clouds(options)]


def short_ones(options: Options) -> Table:
    images = (
        build(options.cache, options.data_gib, 20),
        build(options.cache, 0.25, 2000),
        build(options.cache, 2, 6, kind="raw"),
        sample(),
    )
    check = f"'{IMGPREP}' check --guest=off --fail-on never -q"
    contestants = {
        "imgprep --version": shell(f"'{IMGPREP}' --version"),
        "imgprep --help": shell(f"'{IMGPREP}' --help"),
        "python -c pass": shell(f"'{IMGPREP.with_name('python')}' -c pass"),
    }
    for image in images:
        warm(image)
        contestants[f"imgprep check --guest=off {image.name}"] = shell(f"{check} '{image}'")
    contest = Contest(2 * options.pairs + 1)
    contest.run(contestants)
    bare = "python -c pass"
    rows = [
        (
            name,
            f"{contest.seconds(name):.2f}",
            contest.spread(name),
            f"{contest.ratio(name, bare):.1f}",
            mib(contest.memory(name)),
        )
        for name in contestants
    ]
    head = ("", "median s", "least to most", f"x {bare}", "peak memory")
    return Table("Short commands", head, tuple(rows))


def all_clouds(options: Options) -> Table:
    """Facts are gathered once, so all clouds cost at most twice the time of one."""
    image = sample()
    warm(image)
    check = f"'{IMGPREP}' check --guest=direct --fail-on never -q"
    one = "one cloud (rackspace)"
    contest = Contest(2 * options.pairs + 1)
    contestants = {
        one: shell(f"{check} --profile rackspace '{image}'"),
        "all clouds": shell(f"{check} --profile all '{image}'"),
    }
    contest.run(contestants)
    rows = [
        (
            name,
            f"{contest.seconds(name):.2f}",
            contest.spread(name),
            f"{contest.ratio(name, one):.2f}",
            mib(contest.memory(name)),
        )
        for name in contestants
    ]
    head = ("", "median s", "least to most", "x one", "peak memory")
    return Table("One cloud and all of them, the guest read directly", head, tuple(rows))


def sample() -> Path:
    """The bootable Debian image of ``make run``, built once."""
    done = subprocess.run([SAMPLE], check=True, stdout=subprocess.PIPE, text=True, timeout=1800)
    return Path(done.stdout.strip())
