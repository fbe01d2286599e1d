"""What an upload under way has in its directory, as whoever comes later reads it (``store`` draws it)."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import TemporaryStoreError
from pipeline.stores.local import files
from pipeline.stores.responses import Marker, read_json
from pipeline.transfer.protocol import UPLOAD_ID, Unfinished


def leftover(place: Path) -> Unfinished | None:
    """What a killed or running upload holds; None for anything else."""
    match = UPLOAD_ID.fullmatch(place.name[1:])
    if match is None or not place.is_dir():
        return None
    try:
        name = str(json.loads((place / "about").read_text())["name"])
    except (OSError, ValueError, KeyError, TypeError):
        name = ""  # killed before it was written
    try:
        found = (place / "data").stat()
        on_disk, modified = found.st_blocks * 512, found.st_mtime
    except FileNotFoundError:
        on_disk, modified = 0, place.stat().st_mtime
    segments = logged(place)
    size = sum(length for _, length, _ in segments.values())
    when = datetime.fromtimestamp(modified, UTC).isoformat(timespec="seconds")
    owner, age = lease(place / "lock")
    return Unfinished(
        name,
        match[0],
        match["job"],
        size,
        len(segments),
        when,
        owner=owner,
        lease_age_s=age,
        on_disk=on_disk,
    )


def logged(place: Path) -> dict[int, tuple[int, int, str]]:
    """Number, size and MD5 of every segment that was written whole, by number."""
    try:
        lines = (place / "log").read_text().splitlines()
    except FileNotFoundError:
        return {}
    words = [line.split() for line in lines]  # a torn last line has fewer
    found = [(int(w[0]), int(w[1]), w[2]) for w in words if len(w) == 3 and len(w[2]) == 32]
    return {entry[0]: entry for entry in found}


def lease(lock: Path) -> tuple[str, float]:
    """Owner and age; of one that is locked, which only a living process can hold, the age is 0."""
    try:
        owner = read_json("reading the lock", lock.read_bytes(), Marker).owner
        age = max(time.time() - lock.stat().st_mtime, 0.0)
    except (OSError, TemporaryStoreError):
        owner, age = "", 0.0
    return (owner or "a process", 0.0) if files.is_locked(lock) else (owner, age)
