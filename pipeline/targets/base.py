"""What every target promises, and what making an artifact needs.

    Target (data: the profile's wish) ──choice──▶ Driver ──make(target, Making)──▶ Artifact

A *planned* artifact costs no space: its plan says which of its bytes come from where in the source's
disk, so any range can be made at any time.  Others are written to a file by a tool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from pipeline.disk import GuestDisk
from pipeline.facts import ContainerFacts
from pipeline.model import Artifact, Target
from pipeline.stage import Cancellation

Progress = Callable[[int, int], None]
"""Called with bytes of the disk that were looked at, and all of them."""


@dataclass(frozen=True)
class Making:
    """The source's side of making an artifact; the same values give the same bytes."""

    disk: GuestDisk
    unique_id: UUID  # for formats that hold one
    timestamp: int  # seconds since 2000-01-01T00:00:00Z, for formats that hold one
    directory: Callable[[], Path]  # a private one, made when it is asked for
    cancellation: Cancellation
    progress: Progress
    zero_scan: bool = True  # leave out blocks that are allocated but hold only zeros


class Driver(Protocol):
    """One way of making an artifact."""

    @property
    def planned(self) -> bool:
        """Whether the artifact is no file, and making it writes nothing."""
        ...

    def conforms(self, container: ContainerFacts, target: Target) -> bool:
        """Whether a source of these facts is the target already, so that nothing need be rewritten.

        Only what lies in the container is asked; the caller knows what the profile says.
        """
        ...

    def make(self, target: Target, making: Making) -> Artifact:
        """The artifact.

        Raises ``ConversionFailed`` for a disk that the format cannot hold or that cannot be read,
        ``EnvironmentFailed`` when the machine cannot do it, ``Interrupted``.
        """
        ...
