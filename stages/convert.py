"""Make the artifact: what the cloud takes, out of what the source is.

    the source already conforms      passed through as it is
    tap VHD, fixed VHD, raw          planned: its bytes are made when they are read, no scratch copy
    anything else                    qemu-img writes a file into a private directory

A VHD's unique id and time stamp are derived from the source and the profile, so that the same job
gives the same bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from pipeline.formats.vhd_bytes import EPOCH_2000
from pipeline.model import Artifact, Job, Outcome, Status, Target, digest
from pipeline.source import Identity, RemoteIdentity
from pipeline.stage import Context
from pipeline.targets import choice, output, reclaimed
from pipeline.targets.base import Driver, Making
from pipeline.tools import qemu_img

PLANNED = "planned"
"""Why this stage takes no time: what was planned is made when it is read."""

_NAMESPACE = UUID("6d8a0b5c-0a3f-5c6e-9a53-0a5f7e6f1d0b")  # ours alone, for uuid5


class Convert:
    """Facts in, artifact out."""

    name = "convert"
    version = 2
    reusable = True

    def __init__(self, *, zero_scan: bool = True) -> None:
        """``zero_scan``: leave out blocks that are allocated but hold only zeros."""
        self._zero_scan = zero_scan

    def options(self, job: Job) -> Mapping[str, Any]:
        """The format, and where a file would be written."""
        chosen = job.options
        return {
            "format": chosen.format,
            "keep": chosen.keep and os.path.abspath(chosen.keep),
            "dry_run": chosen.dry_run,
            "zero_scan": self._zero_scan,
            "reclaim": chosen.reclaim,
        }

    def run(self, context: Context) -> Outcome:
        """Plan or make the artifact.

        Raises ``UsageError`` for an unknown format or an output that exists, ``ConversionFailed``
        when the source cannot be converted, ``EnvironmentFailed`` when the machine cannot do it.
        """
        options = context.job.options
        target = choice.chosen(context.profile.target, options.format)
        driver = choice.driver(target)
        for said in reclaimed.notes(context.disk):
            context.note(said)
        if options.keep is not None and not options.dry_run:
            overwrite = options.if_exists == "replace"
            output.require_writable(
                Path(options.keep).absolute(), context.source, overwrite=overwrite
            )
        if _conforms(context, driver, target):
            unchanged = "unchanged: the source conforms already"
            return Outcome(artifact=_as_it_is(context, target), tools=_tools(), reason=unchanged)
        if options.dry_run and not driver.planned:
            return Outcome(reason=f"not done (--dry-run): qemu-img writes {target.format}")
        made = driver.make(target, self._making(context, driver))
        artifact = replace(made, packing=target.packing)
        _tell_growth(context, artifact)
        reason = PLANNED if driver.planned else None
        return Outcome(artifact=artifact, tools=_tools(), reason=reason)

    def _making(self, context: Context, driver: Driver) -> Making:
        activity = "planning" if driver.planned else "converting"

        def progress(done: int, total: int) -> None:
            context.progress(done, total, activity)

        return Making(
            disk=context.disk,
            unique_id=uuid5(_NAMESPACE, digest([context.disk.content_id, context.profile.digest])),
            timestamp=0 if context.disk.fingerprint else _timestamp(context.disk.origin),
            directory=context.beside.directory,
            cancellation=context.cancellation,
            progress=progress,
            zero_scan=self._zero_scan,
        )


def _conforms(context: Context, driver: Driver, target: Target) -> bool:
    """Whether the source already is what the target asks for, so that nothing need be rewritten.

    The profile's judgement decides; a format that is asked for beside the profile's own is made anew.
    """
    if context.judgement is None or choice.is_foreign(target, context.profile.target):
        return False
    if context.disk.reclaim and context.disk.free_space().free:
        return False
    if any(
        item.fixed_by == "convert" and item.status is not Status.WAIVED
        for item in context.judgement.findings
    ):
        return False
    return driver.conforms(context.disk.container, target)


def _as_it_is(context: Context, target: Target) -> Artifact:
    container = context.disk.container
    return Artifact(
        container["format"],
        variant=container["variant"],
        virtual_size=context.disk.size,
        size=context.source.size,
        suffix=target.suffix,
        packing=target.packing,
        plan={"kind": "source"},
    )


def _timestamp(origin: Identity | RemoteIdentity) -> int:
    """Seconds since 2000 of the source's last change; 0 for a time before that or yet to come.

    XenServer refuses a VHD from the future, and the present would differ from run to run.  A copy of
    a file has other times, so content that is known by its bytes has none.
    """
    changed = origin.mtime_ns // 1_000_000_000
    return changed - EPOCH_2000 if EPOCH_2000 <= changed <= time.time() else 0


def _tell_growth(context: Context, artifact: Artifact) -> None:
    """Of a GPT only the backup is at the wrong place then, which no cloud asks for.

    Firmware and kernels start by the first copy (UEFI specification, 5.3.2) and growpart moves the
    backup when the disk grows again in the cloud; moving it here would change the disk's own bytes.
    """
    before, after = context.disk.size, artifact.virtual_size
    if after <= before:
        return
    grown = f"the disk grows from {before} to {after} bytes, as the target's size rule asks"
    if (context.facts.get("disk") or {}).get("partition_table") == "gpt":
        grown += (
            "; the backup of its GPT stays at the old end: the system starts by the first copy, and "
            "growpart, or sgdisk --move-second-header in the guest, moves it"
        )
    context.note(grown)


def _tools() -> dict[str, str]:
    return {"qemu-img": qemu_img.version()}
