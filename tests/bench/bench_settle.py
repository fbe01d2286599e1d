"""Settling an object of many segments against as many bare requests over as many connections."""

from __future__ import annotations

import http.client
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from harness import ROOT, Options, Table

sys.path[:0] = [str(ROOT / "tests")]

import servers  # noqa: E402

from pipeline.stores import open_store  # noqa: E402
from pipeline.stores.swift import large_object  # noqa: E402
from pipeline.transfer.protocol import StoredSegment, Upload, upload_id  # noqa: E402

TITLE = "Settling 1,000 segments before and after the commit"
SEGMENTS = 1000
DELAY_S = 0.005  # that the proxy adds to every request


def run(options: Options) -> list[Table]:
    """POST and HEAD of each segment: by the store's own code, and bare."""
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output) as scratch:
        server = servers.start_swift(Path(scratch) / "swift")
        proxy = servers.Faults(server.url)
        try:
            with servers.environment(proxy.through(server.env)):
                ours, bare = _measure(proxy, options.pairs)
        finally:
            proxy.stop()
            server.stop()
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    rows = (
        (f"{2 * SEGMENTS} bare requests, 8 connections", f"{statistics.median(bare):.2f} s", ""),
        (
            "imgprep: expiry taken away, each looked at",
            f"{statistics.median(ours):.2f} s",
            f"{ratio:.2f}",
        ),
    )
    note = (
        f"through a proxy that adds {DELAY_S * 1000:.0f} ms to each request; at most 1.2 is wanted"
    )
    return [Table("Swift", ("what", "seconds", "ratio"), rows, (note,))]


def _measure(proxy: servers.Faults, pairs: int) -> tuple[list[float], list[float]]:
    store = open_store("swift://settle/")
    store.prepare(create=True)
    upload = store.begin("disk.vhd", upload_id("job", "settle"), SEGMENTS, 1, "")
    containers = store.containers  # type: ignore[attr-defined]
    segments = tuple(_put(containers, upload, number) for number in range(SEGMENTS))
    access = containers.client.login()
    targets = [containers.segment_name(upload, number) for number in range(SEGMENTS)]
    where = f"{access.storage_url}/{containers.segments}"
    ours, bare = [], []
    for _ in range(pairs):
        proxy.set({"do": "stall", "seconds": DELAY_S, "times": None})
        ours.append(_timed(lambda: _settle(containers, upload, segments)))
        bare.append(_timed(lambda: _bare(where, access.token, targets, store.connections)))
    store.close()
    return ours, bare


def _settle(containers: object, upload: Upload, segments: tuple[StoredSegment, ...]) -> None:
    large_object.settle(containers, upload, segments)  # type: ignore[arg-type]
    large_object.require_lasting(containers, upload, segments)  # type: ignore[arg-type]


def _put(containers: object, upload: Upload, number: int) -> StoredSegment:
    name = containers.segment_name(upload, number)  # type: ignore[attr-defined]
    etag = containers.client.call(  # type: ignore[attr-defined]
        "sending",
        lambda c: c.put_object(containers.segments, name, b"x"),  # type: ignore[attr-defined]
    )
    return StoredSegment(number, 1, etag, name)


def _bare(where: str, token: str, targets: list[str], connections: int) -> None:
    parts = urlsplit(where)

    def some(first: int) -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        for method in ("POST", "HEAD"):
            for target in targets[first::connections]:
                headers = {"X-Auth-Token": token, "X-Remove-Delete-At": "1", "Content-Length": "0"}
                connection.request(method, f"{parts.path}/{target}", headers=headers)
                connection.getresponse().read()
        connection.close()

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(some, range(connections)))


def _timed(work: object) -> float:
    began = time.monotonic()
    work()  # type: ignore[operator]
    return time.monotonic() - began


if __name__ == "__main__":
    print(run(Options(pairs=int(os.environ.get("PAIRS", "1"))))[0].markdown())
