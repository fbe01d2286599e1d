"""The real command before a Swift that breaks: a file, a container and the command line between them.

The Swift behind it takes objects of 4 MiB, so that a small file has many segments, and its tokens
live three seconds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import places
import pytest
import servers
from patterns import Pattern
from uploads import COUNT, NAME, Site

SEGMENT = servers.SMALL_OBJECT


class Command(Site):
    """A file, a container and the command line between them."""

    segment = SEGMENT

    def __init__(self, imgprep: Any, config: pytest.Config, scratch: Path) -> None:
        server = servers.small_swift(config)
        place = places.Swift(server.env, "images/")
        place.create()
        super().__init__(place, servers.faults(config, server, "small"))
        self.imgprep = imgprep
        self.file = scratch / NAME
        self.write("content")

    def write(self, seed: str) -> None:
        self.content = self.pattern(seed)
        self.file.write_bytes(self.content.all())

    @property
    def env(self) -> dict[str, str]:
        return self.proxy.through(self.place.env)

    @property
    def arguments(self) -> tuple[object, ...]:
        """What is run: ``imgprep upload`` of the file."""
        return ("upload", self.file, self.place.url, "--connections", 1)

    def run(self, *options: object, **env: str) -> Any:
        """The command, to its end."""
        return self.imgprep(*self.arguments, *options, **self.env | env)

    def cleanup(self, *options: object) -> Any:
        return self.imgprep("cleanup", self.place.url, *options, **self.env)

    def stop_at(self, rule: dict[str, Any], number: int) -> tuple[int, str]:
        """Upload until the proxy holds a request, then send a signal; exit code and stderr."""
        self.proxy.set(rule)
        with self.imgprep.start(*self.arguments, **self.env) as process:
            self.proxy.wait_fired()
            process.send_signal(number)
            try:
                _, errors = process.communicate(timeout=20)
            finally:
                process.kill()
        self.proxy.set()
        self.proxy.wait_idle()
        return process.returncode, errors

    def held(self) -> set[int]:
        """The segments that the store holds."""
        found = (re.search(r"/(\d+)$", name) for name in self.place.everything())
        return {int(match[1]) for match in found if match}

    def assert_stored(self, pattern: Pattern | None = None) -> None:
        pattern = pattern or self.content
        kept = self.place.everything()
        assert self.place.objects() == {f"images/{NAME}"}
        assert self.place.read(NAME) == pattern.all()
        assert len(kept) == 1 + COUNT
        assert sum(kept.values()) - kept[f"images/{NAME}"] == pattern.size


def assert_says(ended: Any, code: int, *words: str) -> None:
    """The exit code, one clear message, and no traceback."""
    assert ended.code == code, ended.stderr
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr
