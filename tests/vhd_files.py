"""VHDs made for tests: ours in memory, with single fields changed, and disks with known bytes."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

from pipeline import profile
from pipeline.formats import Identification, vhd_bytes
from pipeline.formats.vhd import Vhd
from pipeline.formats.vhd_layout import VhdLayout, target_size
from pipeline.model import Status
from pipeline.source import Extent, Reader
from pipeline.targets.artifact import LaidOut
from stages.identify import to_facts

UUID_1 = UUID(int=1)
BLOCK = vhd_bytes.BLOCK_SIZE
MIB = 1 << 20


class Bytes:
    """A file in memory, as our parsers read it."""

    def __init__(self, data: bytes) -> None:
        self.data = bytes(data)
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length] if offset >= 0 else b""


class MemoryDisk:
    """A disk of ``size`` bytes with data at some offsets; it remembers what it was asked for."""

    def __init__(self, size: int, data: dict[int, bytes], *, allocated: bool = False) -> None:
        self.size = size
        self.data = dict(sorted(data.items()))
        self.allocated = allocated
        self.asked: list[tuple[int, int]] = []

    def fetch(self, parts: Sequence[tuple[int, memoryview]]) -> None:
        for offset, buffer in parts:
            self.asked.append((offset, len(buffer)))
            buffer[:] = self.read(offset, len(buffer))

    def read(self, offset: int, length: int) -> bytes:
        found = bytearray(max(0, min(length, self.size - offset)))
        for at, data in self.data.items():
            low, high = max(at, offset), min(at + len(data), offset + len(found))
            if low < high:
                found[low - offset : high - offset] = data[low - at : high - at]
        return bytes(found)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        end = self.size if length is None else min(self.size, offset + length)
        if self.allocated:
            yield Extent(offset, end - offset, "data")
            return
        for at, data in self.data.items():
            low, high = max(at, offset), min(at + len(data), end)
            if low < high:
                if low > offset:
                    yield Extent(offset, low - offset, "zero")
                yield Extent(low, high - low, "data")
                offset = high
        if offset < end:
            yield Extent(offset, end - offset, "zero")


def filled(number: int, value: int = 0) -> bytes:
    """A block whose bytes say which one it is."""
    return struct.pack(">II", number, value) * (BLOCK // 8)


def ours(size: int, blocks: Sequence[int], *, timestamp: int = 0) -> bytearray:
    """The whole file of a VHD of ours, each block filled with its number."""
    size = target_size(size)
    disk = MemoryDisk(size, {block * BLOCK: filled(block, 7) for block in blocks})
    opened = LaidOut(VhdLayout(size, blocks, UUID_1, timestamp), disk)
    return bytearray(opened.read(0, opened.size))


def set_footer(data: bytearray, *, both: bool = True, **changes: object) -> bytearray:
    """Change fields of the footer, and of its copy, with right checksums."""
    places = (0, len(data) - 512) if both else (len(data) - 512,)
    for at in places:
        footer = vhd_bytes.Footer.unpack(bytes(data[at : at + 512]))
        data[at : at + 512] = _changed(footer, changes)
    return data


def set_header(data: bytearray, **changes: object) -> bytearray:
    header = vhd_bytes.Header.unpack(bytes(data[512:1536]))
    data[512:1536] = _changed(header, changes)
    return data


def _changed(record: object, changes: dict[str, object]) -> bytes:
    values = {**record.__dict__, **changes}
    return type(record)(**values).pack()


def set_entry(data: bytearray, number: int, sector: int) -> bytearray:
    """Change one entry of the block table."""
    struct.pack_into(">I", data, 1536 + 4 * number, sector)
    return data


def entry(data: bytearray, number: int) -> int:
    return struct.unpack_from(">I", data, 1536 + 4 * number)[0]


def qemu_img(*argv: object) -> str:
    done = subprocess.run(
        ["qemu-img", *map(str, argv)], check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout


def raw_disk(path: Path, size: int, *, seed: int = 1, runs: int = 12) -> Path:
    """A sparse raw image with data at its start, its very end, and some places between."""
    rng = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size)
        places = [(0, 4096), (max(0, size - 700), 700)]
        places += [(rng.randrange(size), rng.randrange(1, 3 * MIB)) for _ in range(runs)]
        for offset, length in places:
            file.seek(offset)
            file.write(rng.randbytes(min(length, size - offset)))
    return path


def against_xenserver(vhd: Reader | bytes) -> set[str]:
    """The rules about VHDs that the Rackspace profile finds broken in a result of ours."""
    reader = Bytes(vhd) if isinstance(vhd, bytes | bytearray) else vhd
    found = Identification(Vhd().inspect(reader), ("vhd",), "vhd", 0)
    facts = {"container": to_facts(found, file_size=reader.size)}
    judgement = profile.judge(profile.load("rackspace"), facts, subject="result")
    failed = {item.rule for item in judgement.findings if item.status is Status.FAIL}
    return {rule for rule in failed if rule.startswith("vhd-") or rule == "empty-image"}
