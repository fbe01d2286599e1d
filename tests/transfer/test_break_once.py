"""A store that breaks once, at any of its calls, before or after the work was done: nobody notices."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import places
import pytest
import servers
from notebooks import MemoryNotebook
from patterns import MIB, Pattern
from uploads import NAME, QUICK

from pipeline.errors import TemporaryStoreError
from pipeline.stage import Cancellation
from pipeline.stores import open_store
from pipeline.transfer import request as request_of
from pipeline.transfer import upload as transfer
from pipeline.transfer.protocol import ObjectStore, upload_id

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]

NEVER = -1
REQUESTS = {
    "prepare", "stat", "begin", "put_segment", "list_segments", "stat_segment", "commit", "discard",
    "renew",
}  # fmt: skip


class BreaksOnce:
    """Passes everything on; call number ``which`` fails, ``late``: after it was done."""

    def __init__(self, store: ObjectStore, which: int, *, late: bool) -> None:
        self._store, self._which, self._late = store, which, late
        self._lock = threading.Lock()
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._breaking(name, found) if name in REQUESTS else found

    def _breaking(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                number = len(self.calls)
                self.calls.append(name)
            if number != self._which:
                return call(*args, **kwargs)
            if self._late:
                call(*args, **kwargs)
            raise TemporaryStoreError("store-connection", f"{name} broke once")

        return called


def store_through(
    place: places.Place, which: int, *, late: bool, name: str = NAME, replace: bool = False
) -> tuple[list[str], Pattern]:
    pattern = Pattern(2 * max(place.minimum, MIB) + 77, f"{which}{late}")
    opened = open_store(place.url, policy=QUICK)
    breaking = BreaksOnce(opened, which, late=late)
    request = request_of.UploadRequest(
        name=name,
        upload_id=upload_id("job", pattern.seed),
        segment_size=max(place.minimum, MIB),
        connections=1,
        if_exists="replace" if replace else "fail",
    )
    handles = request_of.Handles(MemoryNotebook(), Cancellation(), policy=QUICK)
    transfer.upload(breaking, pattern, request, handles)  # type: ignore[arg-type]
    opened.close()
    return breaking.calls, pattern


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["directory", "swift", "swift-s3"])
def test_one_failure_at_any_call(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, late: bool
):
    place = places.make(request.config, kind, tmp_path)
    with servers.environment(place.env):
        calls, _ = store_through(place, NEVER, late=late)
        assert {"prepare", "stat", "begin", "put_segment", "commit"} <= set(calls)
        for which, name in enumerate(calls):
            seen, pattern = store_through(place, which, late=late, replace=True)
            assert seen[which] == name
            assert place.objects() == {NAME}, f"call {which}, {name}"
            assert place.read(NAME) == pattern.all(), f"call {which}, {name}"
        store = open_store(place.url)
        store.prepare()
        assert store.unfinished() == ()
        store.delete(NAME)
        store.close()
    assert place.everything() == {}
