"""Judge everything that is known by the profile, and stop what is refused.

What a gate requirement refuses (a hostile or broken file, an ISO) goes no further whatever the user
allows.  Anything else is refused from the severity that ``--fail-on`` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline import profile
from pipeline.model import Job, Judgement, Outcome, StageStatus, Status
from pipeline.stage import Context


def _tell_expired(judgement: Judgement, expired: Mapping[str, str]) -> Judgement:
    """What a waiver allows no longer says since when."""
    return replace(
        judgement,
        findings=tuple(
            replace(item, message=f"{item.message} {expired[item.rule]}")
            if item.rule in expired and item.status is Status.FAIL
            else item
            for item in judgement.findings
        ),
    )


class Check:
    """Facts in, judgement out."""

    name = "check"
    version = 1
    reusable = False  # cheap, and its words may have been mended since

    def __init__(self, *, as_it_is: bool = False) -> None:
        """``as_it_is``: nothing will be converted, so what only a conversion would mend counts."""
        self._as_it_is = as_it_is

    def options(self, job: Job) -> Mapping[str, Any]:
        """The verdict depends on what the user allows and where the line is drawn."""
        chosen = job.options
        return {
            "allow": dict(chosen.allow),
            "fail_on": chosen.fail_on,
            "strict": chosen.strict,
            "as_it_is": self._as_it_is,
        }

    def run(self, context: Context) -> Outcome:
        """Judge, and say whether the image goes on.  Raises ``UsageError`` for a wrong waiver."""
        chosen = context.job.options
        judgement = profile.judge(
            context.profile,
            context.facts,
            subject="result" if self._as_it_is else "source",
            waivers=chosen.allow,
        )
        judgement = _tell_expired(judgement, chosen.expired)
        word, code = profile.verdict(judgement, fail_on=chosen.fail_on, strict=chosen.strict)
        refused = code != 0 or profile.stopped_at_gate(context.profile, judgement)
        return Outcome(
            status=StageStatus.REFUSED if refused else StageStatus.DONE,
            reason=f"the verdict is {word}" if refused else None,
            judgement=judgement,
        )
