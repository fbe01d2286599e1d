"""prepare: what can be known before the first stage is told before it, not after an hour.

    the file to write    a directory? there already? may it be made?           2 or 3
    the destination      is it a place, may it be written, is its name free?   5
    its credentials      are there any, and are they taken?                    5
    --format             can it hold a disk of that size?                      2

Nothing is made and nothing is stored.  The stages that write ask all of it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from pipeline import formats, unpack
from pipeline.errors import EnvironmentFailed, StoreError, UsageError
from pipeline.model import Job, Options, Outcome, Target
from pipeline.stage import Context
from pipeline.stores import open_store, parse
from pipeline.stores.destination import object_name
from pipeline.stores.location import Destination
from pipeline.targets import choice
from pipeline.transfer.protocol import NO_ROOM, UPLOAD_ID, UPLOAD_KEY, ObjectStore, StoredObject
from pipeline.transfer.retry import RetryPolicy
from pipeline.transfer.retrying import Retrying
from stages.identify import to_facts


class Prepare:
    """Looks before the leap; see the module."""

    name = "prepare"
    version = 1
    reusable = False  # it is about now

    def __init__(self, *, as_it_is: bool = False) -> None:
        """``as_it_is``: the file is stored without a conversion, under its own suffix."""
        self._as_it_is = as_it_is

    def options(self, _job: Job) -> Mapping[str, Any]:
        """Its outcome is nothing that another stage builds on."""
        return {}

    def run(self, context: Context) -> Outcome:
        """Raises ``UsageError``, ``EnvironmentFailed`` or ``StoreError`` for what cannot work."""
        chosen = context.job.options
        if chosen.keep is not None and not chosen.dry_run:
            _require_output(context, Path(chosen.keep).absolute())
        if context.job.destination is not None:
            _require_destination(context, parse(context.job.destination), self._suffix(context))
        if chosen.format is not None:
            _require_possible(context, choice.chosen(context.profile.target, chosen.format))
        return Outcome()

    def _suffix(self, context: Context) -> str:
        """Of the object's name."""
        if self._as_it_is:
            return PurePath(context.source.name).suffix
        return choice.chosen(context.profile.target, context.job.options.format).suffix


def _require_possible(context: Context, target: Target) -> None:
    """What the profile's own target cannot hold, the profile itself refuses (``vhd-max-size``)."""
    source = context.source
    seen = to_facts(formats.identify(source, name=source.name), file_size=source.size)
    if seen["virtual_size"] is not None and seen["format"] not in unpack.PACKINGS:
        choice.require_holds(target, seen["virtual_size"])


SUFFIXES: Mapping[str, str] = {
    ".vhd": "vhd",
    ".vhdx": "vhdx",
    ".qcow2": "qcow2",
    ".vmdk": "vmdk",
    ".vdi": "vdi",
    ".raw": "raw",
    ".img": "raw",
}
"""Suffixes that promise a format."""


def _require_suffix(context: Context, path: Path) -> None:
    """``convert disk.qcow2 y.qcow2`` would write a VHD: whoever did not name a format is asked."""
    promised = SUFFIXES.get(path.suffix.lower())
    made = context.profile.target.format
    if context.job.options.format is None and promised not in (None, made):
        raise UsageError(
            "output-suffix",
            f"{path.name!r} looks like {promised}, but the profile {context.profile.name} "
            f"makes {made}",
            hint=f"add --format {promised}, or give a name that ends in "
            f"{context.profile.target.suffix}",
        )


def _require_output(context: Context, path: Path) -> None:
    option = "--keep" if context.job.destination else "OUTPUT"
    directory = path.parent
    _require_suffix(context, path)
    if not directory.is_dir():
        raise UsageError(
            "output-directory-missing",
            f"there is no directory {str(directory)!r}",
            hint=f"make it first, or give another {option}",
        )
    if path.is_dir():
        raise UsageError(
            "output-exists", f"{str(path)!r} is a directory", hint="give the path of a file in it"
        )
    if os.path.lexists(path):
        context.source.require_other(path)
        if context.job.options.if_exists != "replace" or not path.is_file():
            way = "" if context.job.destination else ", or --force to replace it"
            raise UsageError(
                "output-exists",
                f"{str(path)!r} exists",
                hint=f"remove it, or give another {option}{way}",
            )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise EnvironmentFailed(
            "output-unwritable",
            f"no write permission on {directory}",
            hint=f"give another {option}, or change the directory's permissions",
        )


def _require_destination(context: Context, place: Destination, suffix: str) -> None:
    if place.scheme == "file":
        _require_directory(Path(place.container))
        if not Path(place.container).exists():
            return
    policy = RetryPolicy.from_environment().short()
    opened = open_store(place, policy=policy)
    store = Retrying(opened, policy, context.cancellation, tell=context.note)
    try:
        try:
            store.prepare()
        except StoreError as error:
            if not _may_pass(error, context.job.options):
                raise
            return
        _require_free_name(context, place, store, suffix)
    finally:
        store.close()


def _may_pass(error: StoreError, chosen: Options) -> bool:
    """What is made on the way, or is no obstacle where nothing has to be sent."""
    if error.code == "container-missing":
        return chosen.create
    return error.code in NO_ROOM and chosen.if_exists == "skip"


def _require_directory(path: Path) -> None:
    """The directory may be missing: it is made where its nearest parent lets us."""
    while not os.path.lexists(path):
        path = path.parent
    if not path.is_dir():
        raise StoreError(
            "container-missing",
            f"{str(path)!r} is not a directory",
            hint="give a directory; --name says what the object in it is called",
        )
    if not os.access(path, os.W_OK | os.X_OK):
        raise StoreError(
            "store-forbidden",
            f"no write permission on {path}",
            hint="give another directory, or change its permissions",
        )


def _require_free_name(
    context: Context, place: Destination, store: ObjectStore, suffix: str
) -> None:
    chosen = context.job.options
    if chosen.if_exists != "fail" or chosen.dry_run or context.notebook.load("upload"):
        return  # … or the object may be what this very job stored before it was killed
    name = object_name(place, context.job.source, suffix, name=chosen.name)
    stored = store.stat(name)
    if stored is not None and not _may_be_ours(context, stored):
        raise StoreError(
            "object-exists",
            f"{store.url(name)} exists already",
            hint="choose another --name, or --if-exists skip or replace",
        )


def _may_be_ours(context: Context, stored: StoredObject) -> bool:
    """Whether this very job may have stored it, and ended: then the upload proves it and says so.

    What the guest has deleted is a part of an upload's id, and not known yet.
    """
    mark = UPLOAD_ID.fullmatch(stored.metadata.get(UPLOAD_KEY, ""))
    if mark is None:
        return False
    reclaims = context.job.options.reclaim or context.profile.target.reclaim
    return reclaims or mark["job"] == context.job_id[:16]
