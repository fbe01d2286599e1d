"""Look into the guest: its volumes on the host, its files through one appliance launch.

    gate ─▶ survey of the raw view (10 ms) ─▶ nothing to read? done without an appliance
                                          └─▶ qemu-nbd (read-only, format told) ─▶ appliance ─▶ facts

A guest that could not be read is never a guest that passed: its section then holds only a status and
a reason, and every requirement about it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline import formats, profile
from pipeline.errors import ToolError
from pipeline.model import Job, Outcome, StageStatus
from pipeline.stage import Context
from pipeline.text import clean

if TYPE_CHECKING:
    from pipeline.guest.survey import Survey


class InspectGuest:
    """Disk in, guest facts out."""

    name = "inspect_guest"
    version = 2
    reusable = True

    def options(self, job: Job) -> Mapping[str, Any]:
        """Whether the guest is looked at."""
        return {"guest": job.options.guest}

    def run(self, context: Context) -> Outcome:
        """Inspect the guest.

        Raises ``ToolError`` when the appliance fails and the user requires the guest's facts.
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
    from pipeline.guest import facts, survey  # 20 ms that a run with --guest=off does not need

    view = context.disk.view()
    nested = formats.nested(view)
    if nested is not None:
        return _skipped(f"the disk begins like another image ({nested})")
    seen = survey.survey(view)
    known = facts.without_appliance(seen)
    return Outcome(facts={"guest": known}) if known is not None else _launched(context, seen)


def _launched(context: Context, seen: Survey) -> Outcome:
    from pipeline.guest import facts
    from pipeline.tools.appliance import launch as guest

    context.progress(0, None, "starting the appliance")
    try:
        opened = guest.open_appliance(
            context.disk.serve(), scratch=context.scratch, cancellation=context.cancellation
        )
        with opened as appliance:
            section = facts.collect(seen, appliance)
            section["appliance"] = {
                "accelerator": appliance.accelerator,
                "launch_seconds": round(appliance.launch_seconds, 3),
            }
            return Outcome(facts={"guest": section}, tools={"libguestfs": appliance.version})
    except ToolError as error:
        if context.job.options.guest == "require":
            raise
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
