"""Volumes as the direct reader opens them, and its children."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.content import filesystems
from pipeline.guest.survey import Volume, survey
from pipeline.source import Source
from pipeline.tools.reader import client

ROOT_UUID = "11111111-2222-4333-8444-555555555555"


def tree_of(source: Source, reader: client.DirectReader, number: int = 0) -> client.DirectTree:
    """One of a disk's volumes."""
    return reader.mount(survey(source).volumes[number])


def whole(source: Source) -> Volume:
    """A file that is one file system."""
    kind = filesystems.signature(source)
    return Volume("/dev/sda", 0, source.size, kind)


def patched(path: Path, at: int, data: bytes) -> Source:
    """The file with other bytes in it."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)
    return Source.open(path)


def children(words: str) -> list[int]:
    """Our own descendants whose command line holds these words and that run Python by now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")  # others' arguments may be anything
            parent = int(path.with_name("stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if (
            words in line
            and parent == os.getpid()
            and not line.startswith(("setpriv", "/usr/bin/s"))
        ):
            found.append(int(path.parent.name))
    return found
