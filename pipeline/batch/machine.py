"""How much this machine has for jobs."""

from __future__ import annotations

import os

MEMORY_OF_A_JOB = 512 << 20
"""Bytes that one job needs at most without its appliance: Python, qemu-img, segments on their way."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def free_memory() -> int:
    """Bytes that could be used without swapping, as the kernel estimates them."""
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 1 << 30


def default_jobs() -> int:
    """As many as cores, as far as memory goes."""
    return max(1, min(cores(), free_memory() // MEMORY_OF_A_JOB))
