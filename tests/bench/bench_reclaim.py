"""Leaving out what the guest has deleted, against the tools that make free space sparse."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness import ROOT, Contest, Options, Table, forget, mib, shell

TITLE = "Deleted data"
MIB = 1 << 20
IMGPREP = Path(sys.executable).with_name("imgprep")
SIZE = 513 * MIB
START = MIB  # of the only partition


def run(options: Options) -> list[Table]:
    return [against_others(options), by_file_system(options)]


def build(cache: Path) -> Path:
    """A disk of 513 MiB with an ext4 of which half was written and deleted, then a little kept."""
    path = cache / "deleted.raw"
    if path.exists():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    tree, raw = cache / "deleted.tree", cache / "deleted.building"
    tree.mkdir(exist_ok=True)
    rng = random.Random(5)
    for number in range(40):
        (tree / f"kept{number}").write_bytes(rng.randbytes(rng.randrange(MIB)))
    old = rng.randbytes(32 * MIB)
    with raw.open("wb") as file:
        file.seek(START)
        for _ in range(16):
            file.write(old)
        file.truncate(SIZE)
    script = f"label: dos\nstart={START // 512}, size={512 * MIB // 512}, type=83\n"
    subprocess.run(["sfdisk", "-q", raw], input=script, text=True, check=True)
    argv = ["mke2fs", "-F", "-q", "-t", "ext4", "-E", f"offset={START},nodiscard", "-d", tree, raw]
    subprocess.run([*argv, "512M"], check=True)
    shutil.rmtree(tree)
    return raw.rename(path)


def against_others(options: Options) -> Table:
    image = build(options.cache)
    options.output.mkdir(parents=True, exist_ok=True)
    copy, vhd = options.output / "copy.raw", options.output / "lean.vhd"
    part, lean = options.output / "part.raw", options.output / "part.lean"
    take = f"dd if='{image}' of='{part}' bs=1M skip=1 conv=sparse status=none"
    contestants = {
        "imgprep check --guest=off": _imgprep(f"check -q --guest=off '{image}'"),
        "imgprep convert": _imgprep(f"convert -q '{image}' '{vhd}'"),
        "imgprep convert --reclaim": _imgprep(f"convert -q --reclaim '{image}' '{vhd}'"),
    }
    others = {
        "virt-sparsify --in-place, on a copy": (
            "virt-sparsify",
            f"cp '{image}' '{copy}' && virt-sparsify -q --in-place '{copy}'",
        ),
        "e2image -ra, of the partition": ("e2image", f"e2image -ra -o {START} '{image}' '{lean}'"),
        "zerofree, on a copy of the partition": ("zerofree", f"{take} && zerofree '{part}'"),
        "partclone.extfs, of the partition": (
            "partclone.extfs",
            f"{take} && partclone.extfs -c -q -F -L /dev/null -s '{part}' -O '{lean}'",
        ),
    }
    absent = [name for name, (tool, _) in others.items() if shutil.which(tool) is None]
    contestants |= {name: shell(line) for name, (_, line) in others.items() if name not in absent}
    contest = Contest(options.pairs, lambda: forget(copy, vhd, part, lean))
    contest.run(contestants)
    rows = _rows(contest, "imgprep check --guest=off")
    forget(copy, vhd, part, lean)
    notes = [f"not measured, because this machine has it not: {name}" for name in absent]
    title = f"A disk of {mib(SIZE)} that is full of deleted data"
    return Table(title, _COLUMNS, rows, tuple(notes))


def by_file_system(options: Options) -> Table:
    """160 GB of each kind: reading the free space is a part of every check."""
    made: dict[str, Callable[[Path], list[str]]] = {
        "ext4": lambda path: ["mke2fs", "-F", "-q", "-t", "ext4", str(path)],
        "XFS": lambda path: ["mkfs.xfs", "-q", "-f", str(path)],
        "NTFS": lambda path: ["mkntfs", "-F", "-q", "-f", str(path)],
        "nothing known": lambda path: ["true", str(path)],
    }
    contestants = {}
    for name, argv in made.items():
        path = options.cache / f"160 GB of {name}.raw"
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(160 * 1000**3)
            subprocess.run(argv(path), check=True, capture_output=True)
        contestants[f"imgprep check, {name}"] = _imgprep(f"check -q --guest=off '{path}'")
    contest = Contest(options.pairs)
    contest.run(contestants)
    rows = _rows(contest, "imgprep check, nothing known")
    return Table("Free space of 160 GB", _COLUMNS, rows)


_COLUMNS = ("", "median s", "spread", "CPU s", "memory", "against the plain check")


def _rows(contest: Contest, other: str) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            name,
            f"{contest.seconds(name):.2f}",
            contest.spread(name),
            f"{contest.cpu(name):.2f}",
            mib(contest.memory(name)),
            f"{contest.ratio(name, other):.2f}",
        )
        for name in contest.samples
    )


def _imgprep(arguments: str) -> list[str]:
    """Its exit code 1, for an image that the cloud refuses, is no failure here."""
    return shell(f"cd '{ROOT}' && '{IMGPREP}' {arguments} >/dev/null || [ $? = 1 ]")
