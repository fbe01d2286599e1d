"""The disk of a source, lent as a run lends it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.disk import GuestDisk
from pipeline.source import DiskView, Source


@contextmanager
def lent(
    source: Source, container: dict[str, Any], scratch: Path, *, whole: bool = False
) -> Iterator[DiskView]:
    """The view; ``container`` needs only format, variant and virtual_size."""
    with GuestDisk(source, container, scratch) as disk:  # type: ignore[arg-type]
        yield disk.view(whole=whole)
