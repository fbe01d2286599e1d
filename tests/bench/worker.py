"""One measured piece of work in a process of its own; its last line is the peak memory in bytes.

worker.py shell COMMAND
worker.py write IMAGE FORMAT OUTPUT        convert to a file, no checksum
worker.py stream IMAGE FORMAT              make all segments, hash them, write nothing
worker.py plan IMAGE FORMAT [--no-scan]    allocation map and zero scan only
"""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SEGMENT = 128 << 20
PIECE = 4 << 20


def main(argv: list[str]) -> None:
    job, *rest = argv
    if job == "shell":
        subprocess.run(["/bin/sh", "-c", rest[0]], check=True, stdout=subprocess.DEVNULL)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    else:
        with tempfile.TemporaryDirectory() as scratch:
            {"write": write, "stream": stream, "plan": plan}[job](Path(scratch), *rest)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak * 1024)


def opened(image: str) -> tuple[Any, dict[str, Any]]:
    from pipeline.source import Source
    from stages.identify import container_facts

    source = Source.open(image)
    return source, dict(container_facts(source))


def planned(scratch: Path, image: str, *, zero_scan: bool = True) -> tuple[Any, Any, Any]:
    from pipeline.artifact.plan import plan_vhd
    from pipeline.tools import nbd

    source, facts = opened(image)
    with nbd.open_view(source, facts, scratch=scratch, direct=True) as disk:
        made = plan_vhd(disk, uuid=UUID(int=1), timestamp=0, zero_scan=zero_scan)
    return source, facts, made


def plan(scratch: Path, image: str, *options: str) -> None:
    _, _, made = planned(scratch, image, zero_scan="--no-scan" not in options)
    print(made.size)


def write(scratch: Path, image: str, output: str) -> None:
    from pipeline.artifact.file import write_artifact

    source, facts, made = planned(scratch, image)
    write_artifact(made, source, facts, Path(output), scratch=scratch, checksum=False)


def stream(scratch: Path, image: str) -> None:
    """What an upload does: each segment's sha256, two segments at a time, nothing kept."""
    from pipeline.artifact import open_artifact

    source, facts, made = planned(scratch, image)
    with open_artifact(made, source, facts, scratch=scratch, connections=4) as artifact:

        def segment(start: int) -> str:
            found = hashlib.sha256()
            for offset in range(start, min(start + SEGMENT, artifact.size), PIECE):
                length = min(PIECE, start + SEGMENT - offset)
                found.update(artifact.read(offset, length))
            return found.hexdigest()

        with ThreadPoolExecutor(2) as pool:
            for _digest in pool.map(segment, range(0, artifact.size, SEGMENT)):
                pass


if __name__ == "__main__":
    main(sys.argv[1:])
