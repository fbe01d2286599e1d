"""Why a volume is kept: what a reader of free space raises, as words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.content.free_space.base import KeptError


def reason(call: Callable[..., Any], *given: Any) -> str | None:
    """Why nothing is called free; None: something is."""
    try:
        call(*given)
    except KeptError as error:
        return str(error)
    return None
