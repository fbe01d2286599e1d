"""What qemu-img writes: qcow2, VMDK, VHDX, VDI, as a file in a private directory.

source ──confined qemu-img convert──▶ directory/artifact.suffix ──▶ Artifact {"kind": "file"}
                                      its random ids become the job's (``identifiers``)
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline import text
from pipeline.errors import ConversionFailed, EnvironmentFailed, ToolError
from pipeline.facts import ContainerFacts
from pipeline.model import Artifact, Target
from pipeline.targets import identifiers, reclaimed
from pipeline.targets.artifact import file_plan
from pipeline.targets.base import Making
from pipeline.tools import qemu_img


@dataclass(frozen=True)
class QemuFile:
    """One format that qemu-img writes."""

    options: tuple[str, ...] = ()  # of qemu's driver
    compress: bool = False
    planned: bool = False

    def conforms(self, container: ContainerFacts, target: Target) -> bool:
        """See ``Driver``."""
        size = container["virtual_size"]
        return (
            container["format"] == target.format
            and target.variant in (None, container["variant"])
            and not container["problems"]
            and size is not None
            and size == target.rounded_up(size)
        )

    def make(self, target: Target, making: Making) -> Artifact:
        """See ``Driver``."""
        directory = making.directory()
        output = directory / f"artifact{target.suffix}"
        output.unlink(missing_ok=True)
        with reclaimed.readable(making.disk, directory) as image:
            self._require_space(image, target, making, directory)
            self._write(image, target, making, output)
        identifiers.replace(output, target.format, making.unique_id)
        _sync(output)
        # qemu-img reads zeros behind the end of a raw file that was cut meanwhile, and says nothing.
        making.disk.source.require_unchanged()
        return Artifact(
            target.format,
            variant=target.variant,
            virtual_size=making.disk.size,
            size=output.stat().st_size,
            suffix=target.suffix,
            plan=file_plan(output),
        )

    def _write(
        self, image: qemu_img.ImageSpec, target: Target, making: Making, output: Path
    ) -> None:
        total = making.disk.size
        try:
            qemu_img.convert(
                image,
                output,
                target.format,
                options=self.options,
                compress=self.compress,
                on_progress=lambda part: making.progress(int(part * total), total),
                stop=making.cancellation,
            )
        except ToolError as error:
            if error.code not in ("tool-failed", "tool-killed"):
                raise
            if shutil.disk_usage(output.parent).free < 1 << 20:
                raise EnvironmentFailed(
                    "no-space", f"{output.parent.parent} is full", hint="free some space"
                ) from error
            raise ConversionFailed("conversion-failed", error.message, hint=error.hint) from error

    def _require_space(
        self, image: qemu_img.ImageSpec, target: Target, making: Making, directory: Path
    ) -> None:
        if self.compress or target.format != "qcow2":
            return  # qemu-img can measure only this; a full disk ends the others
        needed = qemu_img.measure(image, target.format, stop=making.cancellation).required
        free = shutil.disk_usage(directory).free
        if free < needed:
            raise EnvironmentFailed(
                "no-space",
                f"{directory.parent} has {text.size(free)} free, the output needs {text.size(needed)}",
                hint="free some space, or choose another place",
            )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
