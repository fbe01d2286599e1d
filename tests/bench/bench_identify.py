"""Identification: how long any file takes, how much of it is read, and what confinement costs.

The whole hostile corpus is identified, and beside it disks of any size; the slowest and the greediest
of each kind are shown.  Times are of single calls in a process that has its imports.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from harness import GIB, ROOT, Options, Table, measure, worker

from pipeline.formats.vhd_layout import VhdLayout

TITLE = "Identification and confinement"
CORPUS = ROOT / "fixtures/hostile/build_corpus.py"
TIB = 1 << 40
LARGE = (
    ("raw", 4 << 10), ("raw", GIB), ("raw", TIB), ("raw", 8 * TIB),
    ("qcow2", GIB), ("qcow2", 2 * TIB), ("qcow2", 64 * TIB),
    ("vpc", GIB), ("vpc", 2040 * GIB), ("vhdx", GIB), ("vhdx", 64 * TIB),
    ("vmdk", GIB), ("vmdk", 2 * TIB), ("vdi", GIB), ("vdi", 8 * TIB),
)  # fmt: skip

FULL_VHDS = (160, 256)  # GiB, every block stored


def run(options: Options) -> list[Table]:
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output) as directory:
        return [by_size(Path(directory), options), corpus(Path(directory), options), confinement()]


def by_size(directory: Path, options: Options) -> Table:
    paths = [_image(directory, kind, size) for kind, size in LARGE]
    paths += [_full_vhd(directory, gib) for gib in FULL_VHDS]
    dense = sorted(path for path in options.cache.glob("*-in-*.qcow2"))
    rows = [_row(path.name, found) for path, found in _identified(directory, [*paths, *dense])]
    return Table(
        "Empty disks of any size, and images with data", ("", "ms", "KiB read"), tuple(rows)
    )


def corpus(directory: Path, options: Options) -> Table:
    out = directory / "corpus"
    subprocess.run([sys.executable, CORPUS, out], check=True, stdout=subprocess.DEVNULL)
    listed = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    paths = [out / "cases" / case["name"] / case["image"] for case in listed]
    found = list(_identified(directory, [path for path in paths if path.is_file()]))
    by_time = sorted(found, key=lambda item: item[1]["ms"], reverse=True)
    by_bytes = sorted(found, key=lambda item: item[1]["bytes"], reverse=True)
    rows = [_row(path.parent.name, figures) for path, figures in [*by_time[:5], *by_bytes[:5]]]
    return Table(
        f"The {len(found)} files of the hostile corpus: the five slowest, the five most read",
        ("case", "ms", "KiB read"),
        tuple(rows),
    )


def confinement() -> Table:
    found = json.loads(measure(worker("confinement")).output.splitlines()[0])
    return Table(
        "Starting a child (/bin/true), median of 50",
        ("unconfined, ms", "confined, ms", "added, ms"),
        ((f"{found['plain']:.1f}", f"{found['confined']:.1f}", f"{found['added']:.1f}"),),
        (f"Confined by: {found['how']}.",),
    )


def _image(directory: Path, kind: str, size: int) -> Path:
    path = directory / f"{size // GIB or size}{' GiB' if size >= GIB else ' bytes'}, {kind}"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", kind, f"file:{path}", str(size)], check=True, timeout=60
    )
    return path


def _full_vhd(directory: Path, gib: int) -> Path:
    """Its tables are real; its data is a hole."""
    layout = VhdLayout(gib * GIB, range(gib * 512), UUID(int=1), 0)
    path = directory / f"{gib} GiB, vhd, all blocks stored"
    with path.open("wb") as file:
        file.truncate(layout.size)
        for piece in layout.pieces(0, layout.size):
            if piece.kind == "literal":
                file.seek(piece.offset)
                file.write(piece.data)
    return path


def _identified(directory: Path, paths: list[Path]) -> Iterator[tuple[Path, dict[str, float]]]:
    listed = directory / "paths.json"
    names = [str(path).encode("utf-8", "surrogateescape").hex() for path in paths]
    listed.write_text(json.dumps(names), encoding="ascii")
    lines = measure(worker("identify", listed)).output.splitlines()
    return zip(paths, map(json.loads, lines[: len(paths)]), strict=True)


def _row(name: str, figures: dict[str, float]) -> tuple[str, str, str]:
    return name, f"{figures['ms']:.1f}", f"{figures['bytes'] / 1024:.0f}"
