"""Conversion to the VHD that XenServer takes, against doing it by hand."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from harness import GIB, Contest, Options, Table, forget, measure, mib, shell, worker

TITLE = "Conversion"
MIB = 1 << 20
IMGPREP = Path(sys.executable).with_name("imgprep")


def run(options: Options) -> list[Table]:
    image = build(options.cache, options.data_gib, 20)
    return [
        against_by_hand(image, options),
        *without_a_disk(image, options),
        *file_systems(options),
        by_data(options),
        by_virtual_size(options),
        zero_scan(options),
    ]


def build(cache: Path, data_gib: float, virtual_gib: int, *, kind: str = "qcow2") -> Path:
    """An image with runs of data of 64 KiB to 4 MiB among holes, as a used disk has; cached."""
    path = cache / f"{data_gib:g}-in-{virtual_gib}.{kind}"
    if path.exists():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    raw = cache / f"{path.stem}.building"
    rng = random.Random(7)
    pool = rng.randbytes(32 * MIB)
    left, place = int(data_gib * GIB), MIB
    with raw.open("wb", buffering=0) as file:
        file.truncate(virtual_gib * GIB)
        while left > 0:
            length = min(rng.choice([64 << 10, 256 << 10, MIB, 4 * MIB]), left)
            start = rng.randrange(len(pool) - length)
            file.seek(place)
            file.write(pool[start : start + length])
            left -= length
            place += length
            if rng.random() < 0.3:
                place += rng.randrange(8 * MIB) // 65536 * 65536
    if kind == "raw":
        return raw.rename(path)
    partial = path.with_suffix(".part")
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", kind, raw, partial], check=True, timeout=1800
    )
    raw.unlink()
    return partial.rename(path)


def against_by_hand(image: Path, options: Options) -> Table:
    options.output.mkdir(parents=True, exist_ok=True)
    theirs, copy = options.output / "theirs.vhd", options.output / "copy.qcow2"
    ours, plain = options.output / "ours.vhd", options.output / "plain.vhd"
    vpc = f"qemu-img convert -f qcow2 -O vpc -o subformat=dynamic '{image}' '{theirs}'"
    read = f"nbdcopy -- [ qemu-nbd -r -f qcow2 --shared=8 '{image}' ] null:"
    contestants = {
        "qemu-img convert -O vpc": shell(vpc),
        "qemu-img convert -O vpc, synced": shell(f"{vpc} && sync '{theirs}'"),
        "qemu-img convert -O vpc, sha256sum": shell(f"{vpc} && sha256sum '{theirs}'"),
        "cp, sha256sum": shell(f"cp --sparse=always '{image}' '{copy}' && sha256sum '{copy}'"),
        "nbdcopy to null:": shell(read),
        "the disk alone: the same bytes, O_DIRECT": worker("disk", image, plain),
        "imgprep, no checksum, synced": worker("write", image, plain),
        "imgprep convert --checksum none, synced": command(image, ours, "--checksum=none"),
        "imgprep convert, synced, sha256": command(image, ours),
        "imgprep, all segments hashed": worker("stream", image),
    }

    def prepare() -> None:
        forget(theirs, copy, ours, plain)
        os.sync()  # nobody waits for what the one before him left to the disk

    contest = Contest(options.pairs, prepare)
    warm(image)
    contest.run(contestants)
    measure(contestants["imgprep, no checksum, synced"])
    hashing = Contest(options.pairs)
    hashing.run({"hash": worker("hash", plain)})
    size = plain.stat().st_size
    forget(theirs, copy, ours, plain)
    base = "qemu-img convert -O vpc"
    synced = f"{base}, synced"
    rows = [
        (
            name,
            f"{contest.seconds(name):.1f}",
            contest.spread(name),
            f"{contest.ratio(name, base):.2f}",
            f"{contest.ratio(name, synced):.2f}",
            f"{contest.cpu(name):.1f}",
            f"{contest.cpu_ratio(name, synced):.2f}",
            mib(contest.memory(name)),
            scratch(name, size),
        )
        for name in contestants
    ]
    hashed = hashing.seconds("hash")
    target = 1.3 * (contest.seconds("nbdcopy to null:") + hashed)
    streaming = contest.seconds("imgprep, all segments hashed")
    return Table(
        f"{options.data_gib:g} GiB of data in 20 GiB, qcow2, {options.pairs} turns, "
        f"output on {filesystem(options.output)}",
        (
            "",
            "median s",
            "least to most",
            "to qemu-img",
            "to qemu-img, synced",
            "CPU s",
            "to its CPU",
            "peak memory",
            "scratch bytes",
        ),
        tuple(rows),
        (
            (
                f"The file has {size} bytes; hashing it alone takes imgprep's library {hashed:.1f} s: "
                "no conversion with a sha256 takes less on this machine."
            ),
            (
                f"Streaming takes {streaming:.1f} s; 1.3 times (nbdcopy + the faster hash) is "
                f"{target:.1f} s."
            ),
            "Ratios are medians of the ratios within a turn.",
            "Memory is that of the largest process; of ours, without its qemu-nbd.",
            (
                '"synced": the data is on the disk when the program ends. The others leave up to 20 % of '
                "the memory for the kernel to write later. imgprep always syncs."
            ),
        ),
    )


def command(image: Path, output: Path, *options: str) -> list[str]:
    """The whole command, Python's start, inspection and proof included."""
    return [str(IMGPREP), "convert", "-q", "--force", *options, str(image), str(output)]


def file_systems(options: Options) -> list[Table]:
    """Where the disk is not what everybody waits for; only root can mount one.

    On XFS and btrfs two files may share blocks.
    """
    memory, found = Path("/dev/shm"), []
    image = build(options.cache, 1, 20)
    if os.geteuid() != 0 or shutil.disk_usage(memory).free < 4 * GIB:
        return []
    for kind in ("ext4", "xfs", "btrfs"):
        if shutil.which(f"mkfs.{kind}"):
            with mounted(memory, kind) as place:
                found.append(on_file_system(image, place, kind, options))
    return found


@contextlib.contextmanager
def mounted(directory: Path, kind: str) -> Iterator[Path]:
    volume, place = directory / f"imgprep-bench.{kind}", directory / f"imgprep-bench-{kind}"
    forget(volume)
    with volume.open("wb") as file:
        file.truncate(8 * GIB)
    place.mkdir(exist_ok=True)
    subprocess.run([f"mkfs.{kind}", "-q", volume], check=True, timeout=120)
    subprocess.run(["mount", "-o", "loop", volume, place], check=True, timeout=60)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True, timeout=120)
        place.rmdir()
        forget(volume)


def on_file_system(image: Path, place: Path, kind: str, options: Options) -> Table:
    copy, output = place / image.name, place / "out.vhd"
    shutil.copyfile(image, copy)
    os.sync()

    def prepare() -> None:
        forget(output)
        os.sync()

    base = "qemu-img convert -O vpc, synced"
    vpc = f"qemu-img convert -f qcow2 -O vpc -o subformat=dynamic '{copy}' '{output}'"
    contestants = {
        base: shell(f"{vpc} && sync '{output}'"),
        "imgprep, no checksum, synced": worker("write", copy, output),
        "imgprep, sha256, synced": worker("write", copy, output, "--sha256"),
    }
    contest = Contest(options.pairs, prepare)
    warm(copy)
    contest.run(contestants)
    rows = tuple(
        (
            name,
            f"{contest.seconds(name):.2f}",
            contest.spread(name),
            f"{contest.ratio(name, base):.2f}",
            f"{contest.cpu(name):.2f}",
            f"{contest.cpu_ratio(name, base):.2f}",
        )
        for name in contestants
    )
    return Table(
        f"1 GiB of data in 20 GiB, source and output on one {kind}, on a disk in memory",
        ("", "median s", "least to most", "to qemu-img", "CPU s", "to its CPU"),
        rows,
    )


def without_a_disk(image: Path, options: Options) -> list[Table]:
    """The same where no disk is waited for: what the programs themselves take."""
    memory = Path("/dev/shm")
    needed = 3 * int(options.data_gib * GIB)
    if not memory.is_dir() or shutil.disk_usage(memory).free < needed:
        return []
    output = memory / f"imgprep-bench-{os.getpid()}.vhd"
    contest = Contest(options.pairs, lambda: forget(output))
    base = "qemu-img convert -O vpc"
    contestants = {
        base: shell(f"qemu-img convert -f qcow2 -O vpc -o subformat=dynamic '{image}' '{output}'"),
        "imgprep, no checksum": worker("write", image, output),
        "imgprep, sha256": worker("write", image, output, "--sha256"),
    }
    try:
        contest.run(contestants)
    finally:
        forget(output)
    rows = tuple(
        (
            name,
            f"{contest.seconds(name):.1f}",
            contest.spread(name),
            f"{contest.ratio(name, base):.2f}",
            f"{contest.cpu(name):.1f}",
        )
        for name in contestants
    )
    return [
        Table(
            "The same, output in memory (tmpfs)",
            ("", "median s", "least to most", "to qemu-img", "CPU s"),
            rows,
        )
    ]


def scratch(name: str, size: int) -> str:
    """What a way needs beside the object that is stored in the end."""
    if name.startswith(("imgprep, all", "nbdcopy")):
        return "0"
    return "the output" if "imgprep" in name or "cp" in name else f"the output, about {size}"


def by_data(options: Options) -> Table:
    rows = []
    for data in (1, 2, 4):
        image = build(options.cache, data, 20)
        warm(image)
        output = options.output / "ours.vhd"
        contest = Contest(min(3, options.pairs), lambda: forget(output))  # noqa: B023
        contest.run({"ours": worker("write", image, output), "stream": worker("stream", image)})
        forget(output)
        rows.append(
            (
                f"{data} GiB",
                f"{contest.seconds('ours'):.1f}",
                f"{contest.seconds('stream'):.1f}",
                mib(max(contest.memory("ours"), contest.memory("stream"))),
            )
        )
    return Table(
        "Growth with the data, 20 GiB qcow2",
        ("data", "to a file, s", "streamed and hashed, s", "peak memory"),
        tuple(rows),
    )


def by_virtual_size(options: Options) -> Table:
    rows = []
    for virtual in (20, 200, 2000):
        image = build(options.cache, 0.25, virtual)
        warm(image)
        contest = Contest(options.pairs)
        contest.run({"plan": worker("plan", image), "stream": worker("stream", image)})
        rows.append(
            (
                f"{virtual} GiB",
                f"{contest.seconds('plan'):.2f}",
                f"{contest.seconds('stream'):.2f}",
                mib(contest.memory("stream")),
            )
        )
    return Table(
        "Growth with the virtual size, 256 MiB of data",
        ("virtual size", "planning, s", "planned, streamed and hashed, s", "peak memory"),
        tuple(rows),
        ("Whole processes: Python's start and its imports, about 0.3 s, are in each figure.",),
    )


def zero_scan(options: Options) -> Table:
    sparse = build(options.cache, 2, 20)
    full = options.cache / "full.raw"
    if not full.exists():
        partial = full.with_suffix(".part")
        subprocess.run(
            ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-S", "0",
             build(options.cache, 0.25, 4), partial],
            check=True,
            timeout=1800,
        )  # fmt: skip
        partial.rename(full)
    rows = []
    for name, image in (("qcow2, 2 GiB, no zeros stored", sparse), ("raw, 4 GiB, full", full)):
        warm(image)
        contest = Contest(options.pairs)
        contest.run({"with": worker("plan", image), "without": worker("plan", image, "--no-scan")})
        sizes = {key: int(found[0].output.split()[0]) for key, found in contest.samples.items()}
        rows.append(
            (
                name,
                f"{contest.seconds('without'):.2f}",
                f"{contest.seconds('with'):.2f}",
                f"{sizes['without'] / GIB:.2f} GiB",
                f"{sizes['with'] / GIB:.2f} GiB",
            )
        )
    return Table(
        "The zero scan: time to plan against size of the result",
        ("source", "without, s", "with, s", "result without", "result with"),
        tuple(rows),
        ("From the page cache; a disk that must be read first adds its own time, once.",),
    )


def warm(path: Path) -> None:
    """Read a file, so that nobody's first run pays for the disk."""
    with path.open("rb", buffering=0) as file:
        end = os.lseek(file.fileno(), 0, os.SEEK_END)
        place = 0
        while place < end:
            try:
                place = os.lseek(file.fileno(), place, os.SEEK_DATA)
            except OSError:
                return
            hole = os.lseek(file.fileno(), place, os.SEEK_HOLE)
            while place < hole:
                place += len(os.pread(file.fileno(), min(8 * MIB, hole - place), place))


def filesystem(path: Path) -> str:
    if shutil.which("stat") is None:
        return "an unknown file system"
    done = subprocess.run(
        ["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
