"""Make the artifact: what the cloud takes, out of what the source is.

    the source already conforms      passed through as it is
    a dynamic VHD, creator tap       planned: its bytes are made when they are read, no scratch copy
    anything else                    qemu-img writes a file

The VHD's unique id and time stamp are derived from the source and the profile, so that the same job
gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from pipeline.errors import ConversionFailed, EnvironmentFailed, ToolError, UsageError
from pipeline.facts import ContainerFacts
from pipeline.formats.vhd import Vhd
from pipeline.formats.vhd_bytes import EPOCH_2000
from pipeline.model import Artifact, Job, Outcome, digest
from pipeline.profile import Target
from pipeline.source import Identity, Source
from pipeline.stage import Context
from pipeline.targets import file as artifact_file
from pipeline.targets import file_plan, reclaimed
from pipeline.targets.file import write_artifact
from pipeline.targets.tap_vhd import plan_vhd
from pipeline.text import size as words
from pipeline.tools import qemu_img

__all__ = ["FORMATS", "Convert", "Recipe", "write_artifact"]

PLANNED = "planned"
"""Why this stage takes no time: what was planned is made when it is read."""

_NAMESPACE = UUID("6d8a0b5c-0a3f-5c6e-9a53-0a5f7e6f1d0b")  # ours alone, for uuid5


@dataclass(frozen=True)
class Recipe:
    """How a target format is made."""

    format: str  # the contract's name
    planned: bool = False  # by ourselves, as the VHD that XenServer takes
    options: tuple[str, ...] = ()  # of qemu's driver
    compress: bool = False
    suffix: str = ""


FORMATS: Mapping[str, Recipe] = {
    "vhd": Recipe("vhd", planned=True, suffix=".vhd"),
    "vhd-fixed": Recipe("vhd", options=("subformat=fixed,force_size=on",), suffix=".vhd"),
    "qcow2": Recipe("qcow2", suffix=".qcow2"),
    "qcow2-compressed": Recipe("qcow2", compress=True, suffix=".qcow2"),
    "raw": Recipe("raw", suffix=".raw"),
    "vmdk": Recipe("vmdk", options=("subformat=streamOptimized",), suffix=".vmdk"),
    "vmdk-sparse": Recipe("vmdk", options=("subformat=monolithicSparse",), suffix=".vmdk"),
    "vhdx": Recipe("vhdx", options=("subformat=dynamic",), suffix=".vhdx"),
    "vdi": Recipe("vdi", suffix=".vdi"),
}
"""What ``--format`` may be."""

_OF_VARIANT = {
    ("vhd", "fixed"): "vhd-fixed",
    ("vmdk", "monolithicSparse"): "vmdk-sparse",
    ("qcow2", "compressed"): "qcow2-compressed",
}


class Convert:
    """Facts in, artifact out."""

    name = "convert"
    version = 1
    reusable = True

    def __init__(self, *, zero_scan: bool = True) -> None:
        """``zero_scan``: leave out blocks that are allocated but hold only zeros."""
        self._zero_scan = zero_scan

    def options(self, job: Job) -> Mapping[str, Any]:
        """The format, and whether and where a local file is kept."""
        chosen = job.options
        return {
            "format": chosen.format,
            "keep": chosen.keep and os.path.abspath(chosen.keep),
            "dry_run": chosen.dry_run,
            "zero_scan": self._zero_scan,
            "reclaim": chosen.reclaim,
        }

    def run(self, context: Context) -> Outcome:
        """Plan or make the artifact, and write it to the file that the user wants to keep.

        Raises ``UsageError`` for an unknown format or an output that exists, ``ConversionFailed``
        when the source cannot be converted, ``EnvironmentFailed`` when the machine cannot do it.
        """
        recipe = _recipe(context)
        for said in reclaimed.words(context.disk):
            context.note(said)
        keep = context.job.options.keep
        if keep is not None and not context.job.options.dry_run:
            path = Path(keep).absolute()
            overwrite = context.job.options.if_exists == "replace"
            artifact_file.require_writable(path, context.source, 0, overwrite=overwrite)
        else:
            path, overwrite = None, False
        container, reason = context.disk.container, None
        if _conforms(context, container, recipe):
            reason = "unchanged: the source conforms already"
            artifact = Artifact(
                container["format"],
                virtual_size=context.disk.size,
                size=context.source.size,
                plan={"kind": "source"},
            )
        elif recipe.planned:
            artifact = self._planned(context)
            reason = PLANNED if path is None else None
        else:
            return _by_qemu(context, recipe, path, overwrite=overwrite)
        if path is not None:
            artifact = _kept(context, artifact, path, overwrite=overwrite)
        return Outcome(artifact=artifact, tools=_tools(), reason=reason)

    def _planned(self, context: Context) -> Artifact:
        def progress(done: int, total: int) -> None:
            context.progress(done, total, "planning")

        disk = context.disk.view(whole=True)
        artifact = plan_vhd(
            disk,
            uuid=_unique_id(context),
            timestamp=_timestamp(context.disk.origin),
            zero_scan=self._zero_scan,
            cancellation=context.cancellation,
            progress=progress,
        )
        _tell_growth(context, disk.size, artifact.virtual_size)
        return artifact


def _recipe(context: Context) -> Recipe:
    chosen = context.job.options.format
    if chosen is None:
        return _recipe_of(context.profile.target)
    if chosen not in FORMATS:
        raise UsageError(
            "format-unknown",
            f"there is no format {chosen!r} to convert to",
            hint="choose one of " + ", ".join(FORMATS),
        )
    return FORMATS[chosen]


def _recipe_of(target: Target) -> Recipe:
    name = _OF_VARIANT.get((target.format, target.variant or ""), target.format)
    if name not in FORMATS:
        raise UsageError(
            "format-unknown",
            f"the profile wants {target.format!r}, which imgprep cannot make",
            hint="choose one of " + ", ".join(FORMATS),
        )
    return FORMATS[name]


def _conforms(context: Context, container: ContainerFacts, recipe: Recipe) -> bool:
    """Whether the source already is what the target asks for, so that nothing need be rewritten.

    The profile's judgement decides; a format that is asked for beside the profile's own is made anew.
    """
    target, judgement = context.profile.target, context.judgement
    own = context.job.options.format is None or (recipe.planned and target.format == recipe.format)
    if judgement is None or not own or target.format != container["format"]:
        return False
    if context.disk.reclaim and context.disk.free_space().free:
        return False
    if any(item.fixed_by == "convert" and item.status != "waived" for item in judgement.findings):
        return False
    if recipe.planned and container.get("variant") != "dynamic":
        return False
    return target.variant in (None, container.get("variant")) and target.creator in (
        None,
        container.get("creator"),
    )


def _unique_id(context: Context) -> UUID:
    return uuid5(_NAMESPACE, digest([context.disk.content_id, context.profile.digest]))


def _timestamp(origin: Identity) -> int:
    """Seconds since 2000 of the source's last change; 0 for a time before that or yet to come.

    XenServer refuses a VHD from the future, and the present would differ from run to run.
    """
    changed = origin.mtime_ns // 1_000_000_000
    return changed - EPOCH_2000 if EPOCH_2000 <= changed <= time.time() else 0


def _tell_growth(context: Context, before: int, after: int) -> None:
    if after > before:
        context.note(
            f"the disk grows from {before} to {after} bytes: XenServer counts in 2 MiB; a backup "
            "partition table at the old end is found by its first copy, and growpart moves it"
        )


def _tools() -> dict[str, str]:
    return {"qemu-img": qemu_img.version()}


def _kept(context: Context, artifact: Artifact, path: Path, *, overwrite: bool) -> Artifact:
    """The artifact written to the user's file, and proved to be what was planned."""

    def progress(done: int, total: int) -> None:
        context.progress(done, total, "converting")

    made = write_artifact(
        artifact,
        context.disk,
        path,
        connections=context.job.options.connections or artifact_file.WORKERS,
        overwrite=overwrite,
        cancellation=context.cancellation,
        progress=progress,
    )
    if artifact.plan["kind"] == "tap-vhd":
        _require_conforming(path)
    return made


def _require_conforming(path: Path) -> None:
    with Source.open(path) as file:
        problems = Vhd().inspect(file).problems
    if problems:
        path.unlink(missing_ok=True)
        raise ConversionFailed(
            "output-not-conforming",
            f"the VHD that was written is not sound: {problems[0].rule}: {problems[0].detail}",
            hint="this is a bug of imgprep or a fault of the storage; check the disk's health",
        )


def _by_qemu(
    context: Context,
    recipe: Recipe,
    path: Path | None,
    *,
    overwrite: bool,
) -> Outcome:
    """A file written by qemu-img, in the scratch directory or where the user wants it."""
    virtual_size = context.disk.size
    if context.job.options.dry_run:
        return Outcome(reason=f"not done (--dry-run): qemu-img writes {recipe.format}")
    final = path or context.scratch / f"artifact{recipe.suffix}"
    with _private_directory(final) as directory:
        output = directory / f"output{recipe.suffix}"
        with reclaimed.readable(context.disk, context.scratch) as image:
            _require_space(context, image, recipe, final.parent)
            _run_qemu(context, image, recipe, output)
        size = output.stat().st_size
        checksum = _sha256(context, output) if path else None
        _sync(output)
        # qemu-img reads zeros behind the end of a raw file that was cut meanwhile, and says nothing.
        context.source.require_unchanged()
        artifact_file.publish(output, final, overwrite=overwrite or path is None)
    plan = file_plan(final)
    artifact = Artifact(recipe.format, virtual_size=virtual_size, size=size, plan=plan)
    return Outcome(artifact=replace(artifact, sha256=checksum), tools=_tools())


def _run_qemu(context: Context, image: qemu_img.ImageSpec, recipe: Recipe, output: Path) -> None:
    total = context.facts["container"]["virtual_size"]
    try:
        qemu_img.convert(
            image,
            output,
            recipe.format,
            options=recipe.options,
            compress=recipe.compress,
            on_progress=lambda part: context.progress(int(part * total), total, "converting"),
            stop=context.cancellation,
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
    context: Context, image: qemu_img.ImageSpec, recipe: Recipe, directory: Path
) -> None:
    if recipe.compress or recipe.format not in ("raw", "qcow2"):
        return  # qemu-img can measure only these; a full disk ends the others
    needed = qemu_img.measure(image, recipe.format, stop=context.cancellation).required
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise EnvironmentFailed(
            "no-space",
            f"{directory} has {words(free)} free, the output needs {words(needed)}",
            hint="free some space, or choose another place",
        )


@contextmanager
def _private_directory(final: Path) -> Iterator[Path]:
    """A directory of ours beside the final file, so that giving it its name is one rename."""
    directory = Path(tempfile.mkdtemp(prefix=f".{final.name[:100]}.", dir=final.parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _sha256(context: Context, path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(4 << 20):
            context.cancellation.check()
            found.update(block)
    return found.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
