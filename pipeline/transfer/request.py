"""What an upload is asked to do, and what it will do: the data that goes into the engine (``upload``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import UsageError
from pipeline.stage import Cancellation, Notebook
from pipeline.text import clean
from pipeline.text import size as in_words
from pipeline.transfer.protocol import StoreLimits
from pipeline.transfer.retry import RetryPolicy

_MIB = 1 << 20


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class UploadRequest:
    """What shall be stored, and how."""

    name: str  # relative to the destination
    upload_id: str
    metadata: Mapping[str, str] = field(default_factory=dict)  # ASCII, no secrets
    content_type: str = "application/octet-stream"
    if_exists: Literal["fail", "skip", "replace"] = "fail"
    create: bool = False  # the container or bucket
    connections: int | None = None
    segment_size: int | None = None  # None: the store's preference
    sha256: str | None = None  # of the artifact, where somebody knows it already


@dataclass(frozen=True)
class UploadPlan:
    """What an upload will do: ``--dry-run`` shows it."""

    url: str
    upload_id: str
    size: int
    zero_bytes: int  # known zeros: sent (or left as holes), but never read
    segment_size: int
    segments: int
    connections: int
    exists: bool
    would_create: bool  # the container, bucket or directory: it is missing
    place: str = "place"  # which of them it is

    def describe(self) -> str:
        """The plan as a sentence for people."""
        cut = "in one segment"
        if self.segments > 1:
            cut = (
                f"{self.segments} segments of {in_words(self.segment_size)}, "
                f"{self.connections} at a time"
            )
        text = f"{in_words(self.size)} would go to {clean(self.url, 3000)}: {cut}"
        if self.zero_bytes:
            text += f", {in_words(self.zero_bytes)} of it known zeros"
        if self.would_create:
            text += f"; the {self.place} would be made"
        if self.exists:
            text += "; an object of that name exists (see --if-exists)"
        return text


@dataclass(frozen=True)
class Handles:
    """Who is told, who may stop it, and where it is written down."""

    notebook: Notebook
    cancellation: Cancellation
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    progress: Callable[[int, int], None] = _ignore
    note: Callable[[str], None] = _ignore
    pace: Callable[[int], None] = _ignore  # called with bytes before they go out; may wait
    unchanged: Callable[[], None] = _ignore  # raises ``SourceError`` when the source changed


def segment_size(size: int, limits: StoreLimits, wish: int | None = None) -> int:
    """The size of all segments but the last, so that ``size`` fits the store's limits.

    Raises ``UsageError`` code ``upload-too-large`` when it cannot.
    """
    fewest = -(-size // limits.max_segments)
    fitting = -(-fewest // _MIB) * _MIB if fewest > _MIB else fewest
    chosen = max(wish or limits.preferred_segment, fitting, limits.min_segment)
    chosen = min(chosen, limits.max_segment)
    if chosen * limits.max_segments < size:
        raise UsageError(
            "upload-too-large",
            f"{size} bytes do not fit {limits.max_segments} segments of {limits.max_segment} bytes",
            hint="the store's limits are too small for this image; choose another store",
        )
    return chosen
