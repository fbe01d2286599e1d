"""Stages that wait for their part of what all jobs share, and look up what is known already.

    inspect_guest   one of the appliances, unless no appliance can be wanted
    identify        scratch space, where a packed image is unpacked, or one on a server copied
    convert         scratch space, where the target is written as a file before it is stored

The stages themselves know nothing of it: a job alone has all of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from pipeline.batch.budget import Budget
from pipeline.batch.cache import CACHED, FactsCache, Remembering
from pipeline.model import Job, Outcome
from pipeline.stage import Context, Stage
from pipeline.targets import choice

UNPACKED = 4
"""How much larger an unpacked image may be than its file; what is larger sees itself that it fits."""

_WITHOUT_APPLIANCE = frozenset({"off", "direct"})


def shared(
    stages: Sequence[Stage], budget: Budget, cache: FactsCache | None, held: ExitStack
) -> list[Stage]:
    """The stages of one job among others; what ``held`` holds is given back when the job ends."""
    asking: list[Stage] = [_Sharing(stage, budget, held) for stage in stages]
    if cache is None:
        return asking
    return [Remembering(stage, cache) if stage.name in CACHED else stage for stage in asking]


class _Sharing:
    """A stage that waits for its part first."""

    def __init__(self, stage: Stage, budget: Budget, held: ExitStack) -> None:
        self._stage = stage
        self._budget = budget
        self._held = held
        self.name, self.version, self.reusable = stage.name, stage.version, stage.reusable

    def options(self, job: Job) -> Mapping[str, Any]:
        """Those of the stage itself."""
        return self._stage.options(job)

    def run(self, context: Context) -> Outcome:
        """The stage's own outcome."""
        size = self._scratch(context)
        if size:  # what it writes is read by later stages
            self._held.enter_context(self._budget.scratch(size, context.cancellation))
        with self._appliance(context):
            return self._stage.run(context)

    def _appliance(self, context: Context) -> AbstractContextManager[None]:
        guest = context.job.options.guest
        if self.name != "inspect_guest" or guest in _WITHOUT_APPLIANCE:
            return nullcontext()
        return self._budget.appliance(context.cancellation)

    def _scratch(self, context: Context) -> int:
        options = context.job.options
        if self.name == "identify" and options.unpack:
            return context.source.size * UNPACKED
        if self.name == "identify" and not context.source.is_file:
            return context.source.size
        if self.name != "convert" or context.job.destination is None:
            return 0
        target = choice.chosen(context.profile.target, options.format)
        return 0 if choice.driver(target).planned else context.disk.size
