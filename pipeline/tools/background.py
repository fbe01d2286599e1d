"""Step back behind everybody else on this machine: ``--background``."""

from __future__ import annotations

import os

from pipeline.tools import command
from pipeline.tools.command import Limits

NICENESS = 10
_IDLE = "3"  # ionice's class: disk time that nobody else wants


def step_back() -> None:
    """Lower this process's claim to cores and disks, and that of all that it will start.

    Raises ``ToolError`` when ionice is missing or not allowed.
    """
    os.nice(NICENESS)
    command.run(["ionice", "-c", _IDLE, "-p", str(os.getpid())], limits=Limits(wall_s=10))
