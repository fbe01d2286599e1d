"""One measured piece of work in a process of its own.

worker.py write IMAGE OUTPUT [--sha256]
                                    convert to a file and sync it
worker.py disk IMAGE OUTPUT         as many bytes to a file as IMAGE stores, past the page cache
worker.py hash FILE [ALGORITHM]     sha256, or another, with the library that imgprep uses
worker.py stream IMAGE              make all segments, hash them, write nothing
worker.py plan IMAGE [--no-scan]    allocation map and zero scan only
worker.py identify LIST             time and bytes read for each path in a JSON list of hex names
worker.py confinement               what it costs to start a child, with and without
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SEGMENT = 128 << 20
PIECE = 4 << 20


def main(argv: list[str]) -> None:
    job, *rest = argv
    with tempfile.TemporaryDirectory() as scratch:
        JOBS[job](Path(scratch), *rest)


def planned(scratch: Path, image: str, *, zero_scan: bool = True) -> tuple[Any, Any]:
    from pipeline.disk import GuestDisk
    from pipeline.source import Source
    from pipeline.targets.tap_vhd import plan_vhd
    from stages.identify import container_facts

    source = Source.open(image)
    disk = GuestDisk(source, container_facts(source, name=source.name), scratch)
    made = plan_vhd(disk.view(map_first=True), uuid=UUID(int=1), timestamp=0, zero_scan=zero_scan)
    return disk, made


def plan(scratch: Path, image: str, *options: str) -> None:
    disk, made = planned(scratch, image, zero_scan="--no-scan" not in options)
    print(made.size)
    disk.close()


def write(scratch: Path, image: str, output: str, *options: str) -> None:
    from pipeline.beside import Beside
    from pipeline.targets.writing import write_artifact

    disk, made = planned(scratch, image)
    path, checksum = Path(output), "--sha256" in options
    with disk, Beside(path.parent, "bench") as beside:
        write_artifact(made, disk, path, beside, checksum=checksum)


def disk(_scratch: Path, image: str, output: str) -> None:
    """What no converter can undercut here: the data's bytes, made once, written by the disk alone."""
    size = os.stat(image).st_blocks * 512 // PIECE * PIECE
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DIRECT)
    piece = mmap.mmap(-1, PIECE)
    piece.write(os.urandom(PIECE))
    os.posix_fallocate(handle, 0, size)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda at: os.pwrite(handle, piece, at), range(0, size, PIECE)):
            pass
    os.fsync(handle)
    os.close(handle)


def hash_file(_scratch: Path, path: str, algorithm: str = "sha256") -> None:
    with open(path, "rb") as file:
        print(hashlib.file_digest(file, algorithm).hexdigest())


def stream(scratch: Path, image: str) -> None:
    """What an upload does: each segment's sha256, two segments at a time, nothing kept."""
    from pipeline.targets.artifact import open_artifact

    disk, made = planned(scratch, image)
    with disk, open_artifact(made, disk) as artifact:

        def segment(start: int) -> str:
            found = hashlib.sha256()
            for offset in range(start, min(start + SEGMENT, artifact.size), PIECE):
                length = min(PIECE, start + SEGMENT - offset)
                found.update(artifact.read(offset, length))
            return found.hexdigest()

        with ThreadPoolExecutor(2) as pool:
            for _digest in pool.map(segment, range(0, artifact.size, SEGMENT)):
                pass


def identify(_scratch: Path, listed: str) -> None:
    """The slower of two calls each, so that nothing profits from what the first left behind."""
    from pipeline import formats
    from pipeline.errors import SourceError
    from pipeline.source import Source

    for name in json.loads(Path(listed).read_text(encoding="ascii")):
        taken, read = 0.0, 0
        for _ in range(2):
            began = time.perf_counter()
            try:
                with Source.open(os.fsdecode(bytes.fromhex(name))) as source:
                    read = formats.identify(source, name=source.name).bytes_read
            except SourceError:
                pass  # a refusal takes time as well
            taken = max(taken, time.perf_counter() - began)
        print(json.dumps({"ms": 1000 * taken, "bytes": read}))


def confinement(_scratch: Path) -> None:
    from pipeline.tools import command, confine
    from pipeline.tools.command import MIB, Limits, Sandbox

    def started(sandbox: Sandbox | None) -> float:
        began = time.perf_counter()
        command.run(["true"], limits=Limits(memory=512 * MIB), sandbox=sandbox)
        return 1000 * (time.perf_counter() - began)

    how = confine.detect().reason  # asked once a process, before the first child
    pairs = [(started(None), started(Sandbox())) for _ in range(50)]
    found = {
        "plain": statistics.median(one for one, _ in pairs),
        "confined": statistics.median(two for _, two in pairs),
        "added": statistics.median(two - one for one, two in pairs),
        "how": how,
    }
    print(json.dumps(found))


JOBS = {
    "write": write,
    "disk": disk,
    "hash": hash_file,
    "stream": stream,
    "plan": plan,
    "identify": identify,
    "confinement": confinement,
}

if __name__ == "__main__":
    main(sys.argv[1:])
