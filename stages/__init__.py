"""The stages, in the order in which an image meets them.

    identify  inspect_disk  inspect_guest │ check │ convert │ upload  verify
    └──────────── for_inspect() ────────┘
    └─────────────────── for_check() ───────────┘ …

What makes something begins with prepare: it asks at once what can be known at once.
Each list loads only its own stages: ``imgprep check`` needs neither the artifact nor the stores.
"""

from __future__ import annotations

from pipeline.stage import Stage


def for_inspect() -> tuple[Stage, ...]:
    """What the image is."""
    from stages.identify import Identify
    from stages.inspect_disk import InspectDisk
    from stages.inspect_guest import InspectGuest

    return (Identify(), InspectDisk(), InspectGuest())


def for_check() -> tuple[Stage, ...]:
    """… and what a cloud says about it."""
    from stages.check import Check

    return (*for_inspect(), Check())


def for_convert() -> tuple[Stage, ...]:
    """… and how it becomes what that cloud takes."""
    from stages.convert import Convert
    from stages.prepare import Prepare

    return (Prepare(), *for_check(), Convert())


def for_run() -> tuple[Stage, ...]:
    """… and the whole way into the store."""
    from stages.upload import Upload
    from stages.verify import Verify

    return (*for_convert(), Upload(), Verify())
