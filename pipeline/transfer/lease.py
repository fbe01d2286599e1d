"""The sign in the store that an upload is running, so that nobody tidies its segments away.

    uploader ──renew, once a minute──▶ store ◀──age, owner── cleanup
                                         │
             younger than five minutes, and its owner is not known to be dead: hands off

The store's own clock tells the age.  An owner on this machine whose process is gone is dead at once;
of another machine's only the age is known.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import ImgprepError
from pipeline.transfer.protocol import ObjectStore, Unfinished, Upload
from pipeline.transfer.retrying import Retrying

RENEW_S = 60.0
LIFE_S = 300.0


@contextmanager
def kept(store: Retrying, upload: Upload, *, renew_s: float = RENEW_S) -> Iterator[None]:
    """Hold the lease of an upload while the block lasts.

    A renewal that fails is tried again a minute later: an upload does not end because of its lease.
    """
    me, over = owner(), threading.Event()
    store.renew(upload, me)

    def once(bare: ObjectStore) -> None:
        bare.renew(upload, me)

    def work() -> None:
        while not over.wait(renew_s):
            with suppress(ImgprepError):
                store.once(once)

    keeper = threading.Thread(target=work, name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        with suppress(ImgprepError):
            store.once(lambda bare: bare.release(upload))


def holds(left: Unfinished) -> bool:
    """Whether somebody may still be working on an upload."""
    return bool(left.owner) and left.lease_age_s < LIFE_S and not _is_gone(left.owner)


def owner() -> str:
    """This process, so that another one on the same machine can tell whether it still lives."""
    return json.dumps({**_machine(), "pid": os.getpid(), "started": _started(os.getpid())})


def _machine() -> dict[str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return {
        "host": os.uname().nodename,
        "boot": boot.read_text().strip() if boot.exists() else "",
        "processes": os.readlink("/proc/self/ns/pid"),  # a container's numbers are its own
    }


def _is_gone(name: str) -> bool:
    try:
        known = json.loads(name)
        here = {key: known[key] for key in _machine()} == _machine()
        return here and _started(int(known["pid"])) != known["started"]
    except (ValueError, KeyError, TypeError):
        return False


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot (proc(5), field 22); "" without one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
