"""Artifacts that are the disk as it is, then zeros up to the size rule, then perhaps a footer.

    raw         │ the source's disk                  │ zeros │
    fixed VHD   │ the source's disk                  │ zeros │ footer, 512 bytes │
                0                          source_size   virtual_size

Both are planned: every byte is known from the source's size, so any range can be made at any time
without a scratch copy, and holes of the source are holes of the artifact.  The footer's offsets stand
in ``pipeline.formats.vhd_bytes``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from pipeline.facts import ContainerFacts
from pipeline.formats import vhd_layout
from pipeline.formats.vhd_layout import Piece
from pipeline.model import Artifact, JsonObject, Target
from pipeline.targets.base import Making

EVEN_GRID = (0, 2 << 20)
"""Of what has no blocks."""


@dataclass(frozen=True)
class LinearLayout:
    """Where every byte of the artifact comes from.  Sizes in bytes."""

    source_size: int
    virtual_size: int
    tail: bytes = b""  # behind the disk

    @property
    def size(self) -> int:
        """Of the whole file."""
        return self.virtual_size + len(self.tail)

    @property
    def grid(self) -> tuple[int, int]:
        """See ``pipeline.targets.artifact.OpenArtifact``."""
        return EVEN_GRID

    def pieces(self, offset: int, length: int) -> Iterator[Piece]:
        """The runs that make up ``length`` bytes at ``offset``; fewer only at the end."""
        end = min(offset + length, self.size)
        if offset < (stop := min(end, self.source_size)):
            yield Piece(offset, stop - offset, "source", source_offset=offset)
            offset = stop
        if offset < (stop := min(end, self.virtual_size)):
            yield Piece(offset, stop - offset, "zero")
            offset = stop
        if offset < end:
            at = offset - self.virtual_size
            data = self.tail[at : at + end - offset]
            yield Piece(offset, end - offset, "literal", data=data)

    @classmethod
    def from_plan(cls, plan: JsonObject) -> Self:
        """The layout of a plan that a driver below made; raises ``ValueError`` for anything else."""
        try:
            source_size, virtual_size = int(plan["source_size"]), int(plan["virtual_size"])
            tail = b""
            if plan["kind"] == "fixed-vhd":
                tail = vhd_layout.footer(
                    virtual_size, UUID(plan["uuid"]), int(plan["timestamp"]), fixed=True
                )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the plan of a disk as it is: {error}") from error
        if not 0 <= source_size <= virtual_size:
            raise ValueError(f"a disk of {source_size} bytes does not fit {virtual_size}")
        return cls(source_size, virtual_size, tail)


class Raw:
    """The disk as it is."""

    planned = True

    def conforms(self, container: ContainerFacts, target: Target) -> bool:
        """See ``Driver``."""
        return _is(container, "raw", None, target)

    def make(self, target: Target, making: Making) -> Artifact:
        """See ``Driver``."""
        plan = {"kind": "raw", **_sizes(target, making)}
        return _artifact(target, plan)


class FixedVhd:
    """The disk and a footer.

    Every reader agrees on its size: the creator is one for which qemu takes the size in bytes, and
    the geometry is the largest that is not above it.
    """

    planned = True

    def conforms(self, container: ContainerFacts, target: Target) -> bool:
        """See ``Driver``."""
        return _is(container, "vhd", "fixed", target)

    def make(self, target: Target, making: Making) -> Artifact:
        """See ``Driver``."""
        sizes = _sizes(target, making)
        vhd_layout.require_fits(sizes["virtual_size"])
        plan = {
            "kind": "fixed-vhd",
            **sizes,
            "uuid": str(making.unique_id),
            "timestamp": making.timestamp,
        }
        return _artifact(target, plan)


def _sizes(target: Target, making: Making) -> dict[str, Any]:
    size = making.disk.view().size
    return {"source_size": size, "virtual_size": target.rounded_up(size)}


def _artifact(target: Target, plan: JsonObject) -> Artifact:
    layout = LinearLayout.from_plan(plan)
    return Artifact(
        target.format,
        variant=target.variant,
        virtual_size=layout.virtual_size,
        size=layout.size,
        suffix=target.suffix,
        plan=plan,
    )


def _is(container: ContainerFacts, name: str, variant: str | None, target: Target) -> bool:
    size = container["virtual_size"]
    return (
        container["format"] == name
        and variant in (None, container["variant"])
        and not container["problems"]
        and size is not None
        and size == target.rounded_up(size)
    )
