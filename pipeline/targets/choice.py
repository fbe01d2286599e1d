"""Which target a job has, and who makes it.

    profile's x-target ─┐
    --format NAME ──────┴─▶ Target ──▶ Driver

``--format`` overrides the profile.  Where it names another format or variant than the profile takes,
the target is *foreign*: the profile's requirements on the artifact say nothing about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import text
from pipeline.errors import UsageError
from pipeline.formats import vhd_layout
from pipeline.model import Target
from pipeline.targets.base import Driver
from pipeline.targets.linear import FixedVhd, Raw
from pipeline.targets.qemu import QemuFile
from pipeline.targets.tap_vhd import TapVhd


@dataclass(frozen=True)
class Recipe:
    """One name of ``--format``."""

    target: Target
    driver: Driver


def _recipe(format_: str, variant: str | None, suffix: str, driver: Driver) -> Recipe:
    return Recipe(Target(format=format_, variant=variant, suffix=suffix), driver)


FORMATS: Mapping[str, Recipe] = {
    "vhd": Recipe(Target(format="vhd", variant="dynamic", creator="tap", suffix=".vhd"), TapVhd()),
    "vhd-fixed": _recipe("vhd", "fixed", ".vhd", FixedVhd()),
    "qcow2": _recipe("qcow2", None, ".qcow2", QemuFile()),
    "qcow2-compressed": _recipe("qcow2", "compressed", ".qcow2", QemuFile(compress=True)),
    "raw": _recipe("raw", None, ".raw", Raw()),
    "vmdk": _recipe("vmdk", "streamOptimized", ".vmdk", QemuFile(("subformat=streamOptimized",))),
    "vmdk-sparse": _recipe(
        "vmdk", "monolithicSparse", ".vmdk", QemuFile(("subformat=monolithicSparse",))
    ),
    "vhdx": _recipe("vhdx", "dynamic", ".vhdx", QemuFile(("subformat=dynamic",))),
    "vdi": _recipe("vdi", None, ".vdi", QemuFile()),
}
"""What ``--format`` may be."""


LARGEST: Mapping[str, int] = {
    "vhd": vhd_layout.MAX_SIZE,
    "vhdx": 64 << 40,  # MS-VHDX 2.6.2.2
    "vdi": 0x1FFFFF8 << 24,  # qemu's block/vdi.c: VDI_DISK_SIZE_MAX
    "qcow2": 2 << 50,  # an L1 table of 32 MiB over clusters of 64 KiB, qemu's block/qcow2.h
}
"""Bytes of the largest disk that a format, as it is written here, can hold; the others have no end."""


def require_holds(target: Target, size: int) -> None:
    """Raise ``UsageError`` where a disk of ``size`` bytes cannot become the target."""
    limit, needed = LARGEST.get(target.format), target.rounded_up(size)
    if limit is not None and needed > limit:
        raise UsageError(
            "target-impossible",
            f"the disk has {text.size(needed)}, and a {target.format} holds at most {text.size(limit)}",
            hint="choose another --format, or make the disk smaller inside the machine",
        )


def chosen(wish: Target, format_name: str | None) -> Target:
    """The job's target; raises ``UsageError`` for a name of ``--format`` that does not exist."""
    if format_name is None:
        return wish
    if format_name not in FORMATS:
        raise UsageError(
            "format-unknown",
            f"there is no format {format_name!r} to convert to",
            hint="choose one of " + ", ".join(FORMATS),
        )
    target = FORMATS[format_name].target
    return wish if not is_foreign(target, wish) else target


def is_foreign(target: Target, wish: Target) -> bool:
    """Whether the target is of another format, variant or packing than the profile takes."""
    same = target.format == wish.format and target.packing == wish.packing
    return not (same and (wish.variant or target.variant) == target.variant)


def driver(target: Target) -> Driver:
    """Who makes it; raises ``UsageError`` for what imgprep cannot make."""
    for recipe in FORMATS.values():
        known = recipe.target
        if known.format == target.format and target.variant in (None, known.variant):
            return recipe.driver
    variant = f" ({target.variant})" if target.variant else ""
    raise UsageError(
        "format-unknown",
        f"the profile wants {target.format}{variant}, which imgprep cannot make",
        hint="choose one of " + ", ".join(FORMATS) + " with --format",
    )


def describe(target: Target) -> str:
    """The target in a few words: ``vhd (fixed)``."""
    return f"{target.format} ({target.variant})" if target.variant else target.format
