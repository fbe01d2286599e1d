"""Guest facts: what they add to a check, and what other ways to the same facts take.

Under a few minutes: the ways with a virtual machine take 10 to 30 s each, and run at most twice.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench_commands import sample
from bench_convert import IMGPREP, warm
from harness import ROOT, Contest, Options, Table, measure, mib, shell

TITLE = "Guest facts"
BUILDER = ROOT / "fixtures/guests/build_guests.py"
LIBGUESTFS = "LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg"
MOST_LAUNCHES = 2  # of each way with a virtual machine
STAGE_LIMIT_S = 0.25
BARE = "guestfish run: the launch alone"
APPLIANCE = "imgprep inspect --guest=appliance"


def run(options: Options) -> list[Table]:
    debian = sample()
    guests = {
        "Debian (ext4), the sample": debian,
        "Fedora (XFS), phony": _phony("fedora-uefi", options.cache),
        "Windows Server (NTFS), phony": _phony("windows-dc", options.cache),
    }
    for image in guests.values():
        warm(image)
    return [beside_no_guest(guests, options), ways(debian, options)]


def _phony(name: str, cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, BUILDER, name, cache], check=True, stdout=subprocess.PIPE, text=True
    )
    return Path(done.stdout.strip().splitlines()[-1])


def beside_no_guest(guests: dict[str, Path], options: Options) -> Table:
    """A check and an inspection with the guest, each against a check without it in the same turn."""
    contest = Contest(2 * options.pairs + 1)
    commands = {"off": "check --guest=off", "check": "check", "inspect": "inspect"}
    contestants = {
        f"{way} {title}": shell(f"'{IMGPREP}' {command} {_quiet(command)} '{image}'")
        for title, image in guests.items()
        for way, command in commands.items()
    }
    contest.run(contestants)
    rows = []
    for title in guests:
        off, check, inspect = (f"{way} {title}" for way in commands)
        stage = [_stage(each.output) for each in contest.samples[check]]
        rows.append(
            (
                title,
                *(f"{contest.seconds(name):.2f}" for name in (off, check, inspect)),
                *(f"{contest.ratio(name, off):.2f}" for name in (check, inspect)),
                f"{contest.cpu_ratio(check, off):.2f}",
                f"{statistics.median(stage):.2f} ({min(stage):.2f} to {max(stage):.2f})",
                mib(max(contest.memory(check), contest.memory(inspect))),
            )
        )
    head = (
        "guest",
        "check --guest=off, s",
        "check, s",
        "inspect, s",
        "check x off",
        "inspect x off",
    )
    return Table(
        "With the guest and without it",
        (*head, "check x off, CPU", "inspect_guest, s (least to most)", "peak memory"),
        tuple(rows),
        (f"Wanted: at most 2 x off, inspect_guest at most {STAGE_LIMIT_S} s, 150 MiB.",),
    )


def _quiet(command: str) -> str:
    return "-q --json" + (" --fail-on never" if command.startswith("check") else "")


def _stage(report: str) -> float:
    found = {item["name"]: item for item in json.loads(report)["stages"]}["inspect_guest"]
    if found["status"] != "done":
        raise SystemExit(f"inspect_guest: {found}")
    return float(found["seconds"])


def ways(image: Path, options: Options) -> Table:
    """The sample by every way to its facts, and what is left beside a bare launch."""
    disk = f"--ro --format=qcow2 -a '{image}'"
    inspect = f"'{IMGPREP}' inspect -q"
    contestants = {
        BARE: shell(f"{LIBGUESTFS} guestfish {disk} run"),
        "imgprep inspect --guest=direct": shell(f"{inspect} --guest=direct '{image}'"),
        APPLIANCE: shell(f"{inspect} --guest=appliance '{image}'"),
        "guestfish --ro -i": shell(f"{LIBGUESTFS} guestfish {disk} -i exit"),
        "virt-inspector": shell(f"{LIBGUESTFS} virt-inspector --format=qcow2 -a '{image}'"),
    }
    for name in (
        BARE,
        APPLIANCE,
    ):  # each makes its appliance when there is none, or packages changed
        measure(contestants[name])
    contest = Contest(min(options.pairs, MOST_LAUNCHES))
    contest.run(contestants)
    rows = tuple(
        (
            name,
            f"{contest.seconds(name):.1f}",
            contest.spread(name),
            f"{contest.ratio(name, BARE):.2f}",
            f"{contest.cpu(name):.1f}",
            mib(contest.memory(name)),
        )
        for name in contestants
    )
    head = ("", "median s", "least to most", "x the bare launch", "CPU s")
    return Table(
        "Ways to the facts of the Debian sample; appliances under TCG",
        (*head, "memory of the largest process"),
        rows,
        ("Wanted: the appliance way in all at most 0.8 x the bare launch of the stock appliance.",),
    )
