"""The disk of a source, lent as a run lends it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.beside import Beside
from pipeline.disk import GuestDisk
from pipeline.model import Artifact
from pipeline.source import DiskView, Source
from pipeline.targets.writing import write_artifact


@contextmanager
def lent(
    source: Source, container: dict[str, Any], scratch: Path, *, whole: bool = False
) -> Iterator[DiskView]:
    """The view; ``container`` needs only format, variant and virtual_size."""
    with GuestDisk(source, container, scratch) as disk:  # type: ignore[arg-type]
        yield disk.view(map_first=whole)


def written(artifact: Artifact, disk: GuestDisk, path: Path, **options: Any) -> Artifact:
    """The artifact with its copy at ``path``."""
    with Beside(path.parent, "test") as beside:
        return write_artifact(artifact, disk, path, beside, **options)
