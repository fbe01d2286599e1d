"""The dynamic VHD of XenServer: planning which blocks of the disk it must hold.

    zero_scan ──numbers of the blocks with data──▶ VhdLayout ──▶ plan

What holds only zeros is never read again, neither by the conversion nor by the upload.  Without the
scan, a fully allocated raw image of a half empty disk would be stored with all its zeros.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from pipeline.facts import ContainerFacts
from pipeline.formats.vhd_bytes import BLOCK_SIZE
from pipeline.formats.vhd_layout import VhdLayout, target_size
from pipeline.model import Artifact, Target
from pipeline.source import DiskView
from pipeline.stage import Cancellation
from pipeline.targets.base import Making, Progress
from pipeline.targets.zero_scan import blocks_with_data, nonzero_blocks


class TapVhd:
    """The way of making it."""

    planned = True

    def conforms(self, container: ContainerFacts, _target: Target) -> bool:
        """See ``Driver``."""
        size, wanted = container["virtual_size"], ("vhd", "dynamic", "tap", BLOCK_SIZE)
        block_size = container["details"].get("block_size")
        seen = (container["format"], container["variant"], container["creator"], block_size)
        return seen == wanted and not container["problems"] and size == target_size(size or 0)

    def make(self, target: Target, making: Making) -> Artifact:
        """See ``Driver``."""
        artifact = plan_vhd(
            making.disk.view(map_first=True),
            uuid=making.unique_id,
            timestamp=making.timestamp,
            zero_scan=making.zero_scan,
            cancellation=making.cancellation,
            progress=making.progress,
        )
        return replace(artifact, suffix=target.suffix)


def plan_vhd(
    disk: DiskView,
    *,
    uuid: UUID,
    timestamp: int,
    zero_scan: bool = True,
    threads: int = 4,
    cancellation: Cancellation | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Lay out the VHD of a disk.

    ``timestamp``: seconds since 2000.  Raises ``ConversionFailed`` when the disk is larger than a
    VHD can be or cannot be read, ``Interrupted`` when ``cancellation`` is set.
    """
    size = target_size(disk.size)
    stop = cancellation or Cancellation()
    blocks = blocks_with_data(disk.extents())
    if zero_scan:
        numbers = nonzero_blocks(
            disk, blocks, threads, stop, progress or (lambda _done, _total: None)
        )
    else:
        numbers = (block.number for block in blocks)
    layout = VhdLayout(size, numbers, uuid, timestamp)
    return Artifact(
        "vhd", variant="dynamic", virtual_size=size, size=layout.size, plan=layout.plan()
    )
