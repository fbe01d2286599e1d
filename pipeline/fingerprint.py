"""Which bytes these are, wherever they lie: the identity of content.

    file or disk   │ data │░░ zeros ░░│ data │░░│
    chunks of 1 MiB   #0      .    .     #3   .      a chunk of zeros only is left out
    fingerprint    sha256( mark, size, #0, sha256(chunk), #3, sha256(chunk), … )

Zeros are zeros whether they are stored or holes, so a copy that lost or gained holes has the same
fingerprint.  It costs one reading of all data; the result is kept under the file's stat identity, and is
worth as much as that: what keeps its times and is changed all the same is not noticed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from pipeline.model import digest
from pipeline.pool import Pool
from pipeline.remote.view import view_of
from pipeline.source import Extent, Reader, Source

CHUNK = 1 << 20
_MARK = b"imgprep content 1\n"
_ZEROS = bytes(CHUNK)
_FOLDER = "content"


class Content(Reader, Protocol):
    """What has bytes and knows where its zeros are; ``pipeline.source.DiskView`` does."""

    def extents(self) -> Iterator[Extent]:
        """Contiguous, ascending, covering it."""
        ...


def fingerprint(content: Content, *, check: Callable[[], None] | None = None) -> str:
    """The sha256 in hex.  ``check`` may raise, which ends it between two chunks."""
    whole = hashlib.sha256(_MARK + struct.pack(">Q", content.size))
    stop = check or (lambda: None)

    def hashed(number: int) -> tuple[int, bytes | None]:
        stop()
        data = content.read(number * CHUNK, min(CHUNK, content.size - number * CHUNK))
        same = data == (_ZEROS if len(data) == CHUNK else _ZEROS[: len(data)])
        return number, None if same else hashlib.sha256(data).digest()

    pool = Pool(min(max(os.cpu_count() or 1, 2), 8))
    for number, found in pool.ahead(hashed, _with_data(content.extents())):
        if found is not None:
            whole.update(struct.pack(">Q", number) + found)
    return whole.hexdigest()


def content_id(source: Source, cache: Path, *, check: Callable[[], None] | None = None) -> str:
    """``content:sha256:…`` of a source's file, computed once for a stat identity.

    ``cache``: a directory of ours, made when it is missing; one that cannot be written costs only the
    reading.  Raises ``SourceError`` when the file changes while it is read, ``ConversionFailed`` when
    it cannot be read.
    """
    identity = dataclasses.asdict(source.identity())
    kept = cache / _FOLDER / f"{digest(identity)}.json"
    known = _load(kept, identity)
    if known is None:
        known = fingerprint(view_of(source, source.size), check=check)
        source.require_unchanged()
        _save(kept, {"identity": identity, "sha256": known})
    return f"content:sha256:{known}"


def _with_data(extents: Iterable[Extent]) -> Iterator[int]:
    """The numbers of the chunks that hold data, each once, ascending."""
    following = 0
    for extent in extents:
        if extent.kind == "zero" or not extent.length:
            continue
        last = (extent.offset + extent.length - 1) // CHUNK
        yield from range(max(extent.offset // CHUNK, following), last + 1)
        following = max(following, last + 1)


def _load(path: Path, identity: dict[str, object]) -> str | None:
    try:
        record = json.loads(path.read_bytes())
        known = str(record["sha256"]) if record["identity"] == identity else ""
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known if len(known) == 64 else None


def _save(path: Path, record: dict[str, object]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(record, file)
        Path(file.name).replace(path)
    except OSError:
        return  # it is computed again next time
