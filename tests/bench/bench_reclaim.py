"""Leaving out what the guest has deleted, against the tools that make free space sparse."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from harness import ROOT, Contest, Options, Table, forget, mib, shell

TITLE = "Deleted data"
MIB = 1 << 20
IMGPREP = Path(sys.executable).with_name("imgprep")
SIZE = 513 * MIB
START = MIB  # of the only partition
LIBGUESTFS = "LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg"


def run(options: Options) -> list[Table]:
    options.output.mkdir(parents=True, exist_ok=True)
    return [ext4_against_others(options), ntfs_against_others(options), by_file_system(options)]


def old_data(path: Path) -> random.Random:
    """Fill a file with what nobody needs any more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(5)
    with path.open("wb") as file:
        file.seek(START)
        for _ in range(512):  # a little at a time: what we hold would count as our programs' memory
            file.write(rng.randbytes(MIB))
        file.truncate(SIZE)
    return rng


def kept_files(tree: Path, rng: random.Random) -> list[Path]:
    tree.mkdir(exist_ok=True)
    found = [tree / f"kept{number}" for number in range(40)]
    for path in found:
        path.write_bytes(rng.randbytes(rng.randrange(MIB)))
    return found


def build_ext4(cache: Path) -> Path:
    """A disk of 513 MiB full of old data, and in it an ext4 that keeps forty files."""
    path = cache / "deleted.raw"
    if path.exists():
        return path
    tree, raw = cache / "deleted.tree", cache / "deleted.building"
    kept_files(tree, old_data(raw))
    script = f"label: dos\nstart={START // 512}, size={512 * MIB // 512}, type=83\n"
    subprocess.run(["sfdisk", "-q", raw], input=script, text=True, check=True)
    argv = ["mke2fs", "-F", "-q", "-t", "ext4", "-E", f"offset={START},nodiscard", "-d", tree, raw]
    subprocess.run([*argv, "512M"], check=True)
    shutil.rmtree(tree)
    return raw.rename(path)


def build_ntfs(cache: Path) -> Path:
    """The same with an NTFS, without a partition table."""
    path = cache / "deleted.ntfs"
    if path.exists():
        return path
    tree, raw = cache / "deleted.tree", cache / "deleted.building"
    kept = kept_files(tree, old_data(raw))
    subprocess.run(["mkntfs", "-F", "-f", "-q", raw], check=True, capture_output=True)
    for file in kept:
        subprocess.run(["ntfscp", "-q", raw, file, file.name], check=True, capture_output=True)
    shutil.rmtree(tree)
    return raw.rename(path)


def ext4_against_others(options: Options) -> Table:
    image = build_ext4(options.cache)
    copy, vhd = options.output / "copy.raw", options.output / "lean.vhd"
    part, lean = options.output / "part.raw", options.output / "part.lean"
    take = f"dd if='{image}' of='{part}' bs=1M skip=1 conv=sparse status=none"
    trim = f"{LIBGUESTFS} guestfish add '{copy}' format:raw discard:enable : run : "
    trim += "mount-options discard /dev/sda1 / : fstrim /"
    quick = {
        "e2image -ra, of the partition": ("e2image", f"e2image -ra -o {START} '{image}' '{lean}'"),
        "zerofree, on a copy of the partition": ("zerofree", f"{take} && zerofree '{part}'"),
        "partclone.extfs, of the partition": (
            "partclone.extfs",
            f"{take} && partclone.extfs -c -q -F -L /dev/null -s '{part}' -O '{lean}'",
        ),
    }
    appliance = {
        "virt-sparsify --in-place, on a copy": (
            "virt-sparsify",
            f"cp '{image}' '{copy}' && {LIBGUESTFS} virt-sparsify -q --in-place '{copy}'",
        ),
        "fstrim in the appliance, on a copy": (
            "guestfish",
            f"cp '{image}' '{copy}' && {trim}",
        ),
    }
    forgotten = (copy, vhd, part, lean)
    title = f"A disk of {mib(SIZE)}, full of deleted data, with an ext4"
    return _against(options, title, image, vhd, forgotten, quick, appliance)


def ntfs_against_others(options: Options) -> Table:
    image = build_ntfs(options.cache)
    vhd, lean = options.output / "lean.vhd", options.output / "lean.ntfs"
    quick = {
        "ntfsclone -s": ("ntfsclone", f"ntfsclone -q -f -s -O '{lean}' '{image}'"),
        "partclone.ntfs": (
            "partclone.ntfs",
            f"partclone.ntfs -c -q -F -L /dev/null -s '{image}' -O '{lean}'",
        ),
    }
    title = f"A disk of {mib(SIZE)}, full of deleted data, that is an NTFS"
    return _against(options, title, image, vhd, (vhd, lean), quick, {})


Lines = Mapping[str, tuple[str, str]]
"""By name: the program that is needed, and the shell's line."""


def _against(
    options: Options,
    title: str,
    image: Path,
    vhd: Path,
    forgotten: tuple[Path, ...],
    quick: Lines,
    appliance: Lines,
) -> Table:
    """The others, quick ones as often as we; a virtual machine takes minutes, so it gets one turn."""
    others = {**quick, **appliance}
    absent = [name for name, (tool, _) in others.items() if shutil.which(tool) is None]
    sizes: list[str] = []

    def prepare() -> None:
        if vhd.exists():
            sizes[:] = [*sizes[-1:], mib(vhd.stat().st_size)]
        forget(*forgotten)

    contest = Contest(options.pairs, prepare)
    check = _imgprep(f"check -q --guest=off '{image}'")
    contest.run(
        {
            _CHECK: check,
            "imgprep convert": _imgprep(f"convert -q '{image}' '{vhd}'"),
            "imgprep convert --reclaim": _imgprep(f"convert -q --reclaim '{image}' '{vhd}'"),
            **{name: shell(line) for name, (_, line) in quick.items() if name not in absent},
        }
    )
    rows = _rows(contest, _CHECK)
    slow = {name: shell(line) for name, (_, line) in appliance.items() if name not in absent}
    if slow:
        once = Contest(1, prepare)
        once.run({_CHECK: check, **slow})
        rows += _rows(once, _CHECK)[1:]
    prepare()
    return Table(title, _COLUMNS, rows, tuple(_notes(sizes, absent, appliance)))


def _notes(sizes: list[str], absent: list[str], appliance: Lines) -> Iterator[str]:
    yield f"The VHD of all has {sizes[0]}, the VHD without what was deleted {sizes[-1]}."
    if appliance:
        yield "What starts a virtual machine was measured once, under the machine's own emulation."
    yield from (f"not measured, because this machine has it not: {name}" for name in absent)


def by_file_system(options: Options) -> Table:
    """160 GB of each kind: reading the free space is a part of every check."""
    made: dict[str, Callable[[Path], list[str]]] = {
        "ext4": lambda path: ["mke2fs", "-F", "-q", "-t", "ext4", str(path)],
        "ext3": lambda path: ["mke2fs", "-F", "-q", "-t", "ext3", str(path)],
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


_CHECK = "imgprep check --guest=off"
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
