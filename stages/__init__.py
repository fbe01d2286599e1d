"""The stages, in the order in which an image meets them.

    identify  inspect_disk  inspect_guest │ check │ convert  prove  pack │ keep │ upload  verify
    └──────────── for_inspect() ────────┘       │                │      │
    └─────────────────── for_check() ───────────┘                │      │
    └─────────────────────────── for_convert() ─────────────────────────┘
    └──────────────────────────── for_run(), keep if it is asked for ──────────────────┘

    identify  inspect_disk  inspect_guest   check   adopt                  upload  verify
    └──────────────────────────────── for_upload() ─────────────────────────────────────┘

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
    """… and how it becomes what that cloud takes, as a local file."""
    from stages.keep import Keep

    return (*_made(), Keep())


def for_run(*, keep: bool = False) -> tuple[Stage, ...]:
    """… and the whole way into the store; ``keep``: and a local file as well."""
    from stages.upload import Upload
    from stages.verify import Verify

    return (*(for_convert() if keep else _made()), Upload(), Verify())


def _made() -> tuple[Stage, ...]:
    """The artifact, made and proved."""
    from stages.convert import Convert
    from stages.pack import Pack
    from stages.prepare import Prepare
    from stages.prove import Prove

    return (Prepare(), *for_check(), Convert(), Prove(), Pack())


def for_upload() -> tuple[Stage, ...]:
    """A file that is prepared already: judged as it is, and stored."""
    from stages.adopt import Adopt
    from stages.check import Check
    from stages.prepare import Prepare
    from stages.upload import Upload
    from stages.verify import Verify

    judged = (Prepare(as_it_is=True), *for_inspect(), Check(as_it_is=True))
    return (*judged, Adopt(), Upload(), Verify())
