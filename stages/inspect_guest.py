"""Look into the guest: its volumes on the host, its files by the lowest rung of a ladder that can.

    gate ─▶ survey of the bytes ─▶ nothing to read? done
                               └─▶ direct reader ─▶ appliance, for what that cannot read ─▶ facts

The reader's child is started as early as it is known that there is something for it, because its start
and our own imports take as long as all its answers.

A guest that could not be read is never a guest that passed: its section then holds only a status and
a reason, and every requirement about it is unknown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import formats, profile
from pipeline.errors import ToolError
from pipeline.model import Job, Outcome, StageStatus
from pipeline.source import Reader
from pipeline.stage import Context
from pipeline.text import clean

if TYPE_CHECKING:
    from pipeline.guest.survey import Survey
    from pipeline.tools.appliance.launch import Appliance
    from pipeline.tools.reader.client import DirectReader


class InspectGuest:
    """Disk in, guest facts out."""

    name = "inspect_guest"
    version = 4
    reusable = True

    def options(self, job: Job) -> Mapping[str, Any]:
        """Whether the guest is looked at, and how."""
        return {"guest": job.options.guest}

    def run(self, context: Context) -> Outcome:
        """Inspect the guest.

        Raises ``ToolError`` when no rung can read it and the user requires the guest's facts.
        """
        if context.job.options.guest == "off":
            return _skipped("guest inspection was turned off (--guest=off)")
        obstacle = _obstacle(context)
        if obstacle is not None:
            return _skipped(obstacle)
        return _inspected(context)


def _obstacle(context: Context) -> str | None:
    """Why the disk must not be opened."""
    unsafe = profile.gate(context.facts)
    if unsafe:
        rules = ", ".join(dict.fromkeys(finding.rule for finding in unsafe))
        return f"the image is not safe to open ({rules})"
    disk = context.facts.get("disk") or {}
    if "partition_table" in (disk.get("unknown") or {}):
        return f"the disk was not read: {clean(str(disk['unknown']['partition_table']))}"
    if disk.get("optical") is not None:
        return "the disk is an optical medium"
    if disk.get("nested_format") is not None:
        return f"the disk holds another image ({clean(str(disk['nested_format']))})"
    return None


def _inspected(context: Context) -> Outcome:
    from pipeline.guest import survey  # what a run with --guest=off does not need

    view = context.disk.view()
    nested = formats.nested(view)
    if nested is not None:
        return _skipped(f"the disk begins like another image ({nested})")
    seen = survey.survey(view, context.disk.partition_table())
    try:
        return _read(context, view, seen)
    except ToolError as error:
        return _failed(context, error)


def _read(context: Context, view: Reader, seen: Survey) -> Outcome:
    """The facts by the ladder.  Raises ``ToolError`` when the system could not be read."""
    with contextlib.ExitStack() as stack:
        direct = _direct(context, view, seen, stack)

        from pipeline.guest import facts
        from pipeline.tools.rungs import Ladder

        known = facts.without_appliance(seen)
        if known is not None:
            return Outcome(facts={"guest": known})
        appliance = _Appliance(context, stack, seen)
        mode = context.job.options.guest
        ladder = Ladder(seen, direct, None if mode == "direct" else appliance.launch)
        section = facts.credited(facts.collect(seen, ladder), seen, ladder.rungs)
        if ladder.failure is not None:
            if direct is None or section["os"] is None:
                raise ladder.failure
            context.note(f"not all of the guest was read: {ladder.failure.message}", warning=True)
        tools = {} if direct is None or not direct.version else {"libfsext": direct.version}
        return Outcome(
            facts={"guest": {**section, **appliance.facts}}, tools={**tools, **appliance.tools}
        )


def _direct(
    context: Context, view: Reader, seen: Survey, stack: contextlib.ExitStack
) -> DirectReader | None:
    """The direct reader, started; it ends with the stack."""
    from pipeline.tools.reader import client

    mode = context.job.options.guest
    if mode == "appliance":
        return None
    opened = client.open_reader(view, cancellation=context.cancellation, unlocked=mode == "direct")
    direct = stack.enter_context(opened)
    direct.start(seen.volumes)
    return direct


@dataclass(frozen=True)
class Needs:
    """What an appliance must look for; see ``open_appliance``."""

    whole: bool
    lvm: bool


def needs(seen: Survey) -> Needs:
    """What may be on a disk: what the host does not know may be anything."""
    unknown = seen.truncated or any(volume.opaque for volume in seen.volumes)
    return Needs(
        unknown or seen.dynamic,
        unknown or bool(seen.of_type("LVM2_member")),
    )


class _Appliance:
    """The appliance that the ladder may want, and what is said about it."""

    def __init__(self, context: Context, stack: contextlib.ExitStack, seen: Survey) -> None:
        self._context = context
        self._needs = needs(seen)
        self._stack = stack
        self.facts: dict[str, Any] = {}
        self.tools: dict[str, str] = {}

    def launch(self) -> Appliance:
        """Start it; it ends with the stack."""
        from pipeline.tools.appliance import launch as guest

        context = self._context
        context.progress(0, None, "starting the appliance")
        appliance = self._stack.enter_context(
            guest.open_appliance(
                context.disk.serve(),
                scratch=context.scratch,
                cancellation=context.cancellation,
                whole=self._needs.whole,
                lvm=self._needs.lvm,
            )
        )
        self.tools = {"libguestfs": appliance.version}
        self.facts = {
            "appliance": {
                "accelerator": appliance.accelerator,
                "launch_seconds": round(appliance.launch_seconds, 3),
            }
        }
        return appliance


def _failed(context: Context, error: ToolError) -> Outcome:
    if context.job.options.guest == "require":
        raise error
    reason = f"{error.message}; {error.hint}" if error.hint else error.message
    context.note(f"the guest could not be inspected: {reason}", warning=True)
    return Outcome(
        status=StageStatus.FAILED,
        reason=reason,
        facts={"guest": {"status": "failed", "reason": reason, "code": error.code}},
    )


def _skipped(reason: str) -> Outcome:
    return Outcome(
        status=StageStatus.SKIPPED,
        reason=reason,
        facts={"guest": {"status": "skipped", "reason": reason}},
    )
