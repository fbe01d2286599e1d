"""The images behind what an entry says: files of this machine, and what servers hold.

"golden/"       every file in the directory that may be an image
"*.qcow2"       every file that fits
"s3://b/k"      one image; its server is asked before anything starts, many of them at a time
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from pipeline.errors import ImgprepError, SourceError, UsageError
from pipeline.stage import Cancellation
from pipeline.stores.sources import Clients, is_address, open_address

_ASKED_AT_ONCE = 16

SIDE_FILES = re.compile(
    r"\.(sha\d+|md5|sum|asc|sig|gpg|txt|md|json|ya?ml|xml|log|ovf|mf|cert|html|csv|part|lock)$",
    re.IGNORECASE,
)
"""What lies beside images in a directory and is none."""


@dataclass(frozen=True)
class Image:
    """What was found out about an image without looking into it."""

    place: tuple[object, ...]  # the same for two names of one file
    stamp: tuple[object, ...]  # another one when it changes
    size: int  # to be read, bytes
    on_server: bool = False


OnServers: TypeAlias = Mapping[str, Image | ImgprepError]
"""What was said of each address, or why nothing."""


def meant(words: str, base: Path) -> list[str]:
    """The absolute paths of the images that an entry's words mean; an address is one image.

    Raises ``SourceError`` when there is none.
    """
    if is_address(words):
        return [words]
    path = os.path.normpath(os.path.join(base, os.path.expanduser(words)))
    if glob.has_magic(words) and not os.path.lexists(path):
        found = sorted(filter(os.path.isfile, glob.iglob(path, recursive=True)))
        nothing = "no file fits the pattern"
    elif os.path.isdir(path):
        found = sorted(_images_in(path))
        nothing = "there is no image in the directory"
    else:
        found, nothing = [path], ""
    if not found:
        raise SourceError("source-missing", f"{nothing} {words!r}")
    return found


def _images_in(directory: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            known = entry.name[0] != "." and not SIDE_FILES.search(entry.name)
            if known and entry.is_file():
                yield entry.path


def look(path: str, on_servers: OnServers) -> Image:
    """What is known of an image.  Raises ``ImgprepError``."""
    found = on_servers.get(path)
    if isinstance(found, ImgprepError):
        raise found
    if found is not None:
        return found
    try:
        return _file(path)
    except OSError as error:
        raise SourceError("source-unreadable", error.strerror or str(error)) from error


def _file(path: str) -> Image:
    """A local file; raises ``OSError`` and ``SourceError``."""
    found = os.stat(path)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        raise SourceError("source-not-a-file", "it is not a file")
    if not os.access(path, os.R_OK):
        raise SourceError("source-unreadable", "it may not be read by this user")
    times = (found.st_mtime_ns, found.st_ctime_ns)
    place = (found.st_dev, found.st_ino)
    return Image(place, (*place, found.st_size, *times), found.st_blocks * 512)


def on_servers(words: Iterable[str], *, here: bool) -> OnServers:
    """Every image at an address; ``here``: whether it is this machine that will read them."""
    urls = list(dict.fromkeys(filter(is_address, words)))
    if not urls:
        return {}
    with Clients() as clients, ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        ask = partial(_on_server, clients=clients, here=here)
        return dict(zip(urls, pool.map(ask, urls), strict=True))


def _on_server(url: str, *, clients: Clients, here: bool) -> Image | ImgprepError:
    try:
        with open_address(url, Cancellation(), clients) as source:
            known = source.identity()
    except UsageError as error:
        return error
    except ImgprepError as error:
        # A cluster's workers have their own credentials and networks: they will see.
        return error if here else Image((url,), (url,), 0, on_server=True)
    return Image((url,), (url, known.size, known.etag, known.modified), source.size, on_server=True)
