"""What is packed is read by everybody's tools, is the same every time, and continues after a kill."""

from __future__ import annotations

import gzip
import random
import subprocess
from pathlib import Path

import pytest
from notebooks import MemoryNotebook
from vhd_files import Bytes

from pipeline.errors import Interrupted
from pipeline.stage import Cancellation
from pipeline.targets import packing

MIB = 1 << 20


def disk(size: int) -> Bytes:
    rng = random.Random(size)
    data = bytearray(size)
    for place in range(0, size, 5 * MIB + 77):
        piece = rng.randbytes(min(70_000, size - place))
        data[place : place + len(piece)] = piece
    return Bytes(bytes(data))


def pack(
    stream: packing.Stream,
    path: Path,
    *,
    notebook: MemoryNotebook | None = None,
    threads: int = 3,
    stop: Cancellation | None = None,
) -> list[int]:
    seen: list[int] = []
    packing.pack(
        stream,
        path,
        notebook=notebook or MemoryNotebook(),
        key="content",
        threads=threads,
        cancellation=stop or Cancellation(),
        progress=lambda done, _total: seen.append(done),
    )
    return seen


@pytest.mark.parametrize("size", [1, packing.BLOCK - 1, packing.BLOCK, 3 * packing.BLOCK + 5])
def test_any_gunzip_reads_the_members_as_one_stream(tmp_path: Path, size: int):
    image = disk(size)

    pack(image, tmp_path / "d.gz")

    assert gzip.decompress((tmp_path / "d.gz").read_bytes()) == image.read(0, size)
    assert subprocess.run(["gzip", "-t", tmp_path / "d.gz"], check=False).returncode == 0


def test_the_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path):
    image = disk(9 * packing.BLOCK + 1)

    pack(image, tmp_path / "1.gz", threads=1)
    pack(image, tmp_path / "4.gz", threads=4)

    assert (tmp_path / "1.gz").read_bytes() == (tmp_path / "4.gz").read_bytes()


def test_a_stopped_job_continues_behind_the_last_noted_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(packing, "_WRITTEN_DOWN", 2)
    image, notebook, stop = disk(9 * packing.BLOCK), MemoryNotebook(), Cancellation()
    pack(image, tmp_path / "whole.gz")

    class Stopping:
        size = image.size

        def read(self, offset: int, length: int) -> bytes:
            if offset >= 6 * packing.BLOCK:
                stop.set(15)
            return image.read(offset, length)

    with pytest.raises(Interrupted):
        pack(Stopping(), tmp_path / "d.gz", notebook=notebook, threads=1, stop=stop)
    with (tmp_path / "d.gz").open("ab") as file:
        file.write(b"half a member")
    seen = pack(image, tmp_path / "d.gz", notebook=notebook)

    assert seen[0] > packing.BLOCK, "it did not begin anew"
    assert (tmp_path / "d.gz").read_bytes() == (tmp_path / "whole.gz").read_bytes()


def test_notes_of_another_content_are_not_believed(tmp_path: Path):
    image, notebook = disk(3 * packing.BLOCK), MemoryNotebook()
    notebook.save("pack", {"key": "another", "members": 2, "offset": 10})
    (tmp_path / "d.gz").write_bytes(b"x" * 100)

    pack(image, tmp_path / "d.gz", notebook=notebook)

    assert gzip.decompress((tmp_path / "d.gz").read_bytes()) == image.read(0, image.size)
