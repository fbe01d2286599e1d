"""Small images for tests of batches, and the command that does them."""

from __future__ import annotations

import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import handmade

MIB = 1 << 20


def good(path: Path, *, megabytes: int = 1, seed: int = 0, size: int = 16 * MIB) -> Path:
    """A qcow2 with an MBR and data, which a cloud takes when nobody looks at the guest."""
    raw = path.with_suffix(".tmp")
    with raw.open("wb") as out:
        out.truncate(size)
        # an MBR with one Linux partition from 1 MiB on
        sectors = (size // 512 - 2048).to_bytes(4, "little")
        entry = b"\x80\x20\x21\x00\x83\xfe\xff\xff" + (2048).to_bytes(4, "little") + sectors
        out.seek(440)
        out.write(seed.to_bytes(4, "little") + b"\0\0" + entry + bytes(48) + b"\x55\xaa")
        out.seek(MIB)
        out.write(random.Random(seed).randbytes(megabytes * MIB))
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True, timeout=60
    )
    raw.unlink()
    return path


def iso(path: Path) -> Path:
    """A disc: refused by every cloud."""
    path.write_bytes(handmade.iso())
    return path


def manifest(path: Path, images: list[Any], **defaults: Any) -> Path:
    """A manifest as JSON."""
    path.write_text(json.dumps({"defaults": defaults, "images": [*map(_entry, images)]}))
    return path


def _entry(image: Any) -> Any:
    return str(image) if isinstance(image, Path) else image


def status(imgprep: Any, directory: Path) -> dict[str, Any]:
    """What ``batch status`` tells programs."""
    ended = imgprep("batch", "status", directory, "--json")
    assert ended.code == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def wait_for(condition: Any, what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)
