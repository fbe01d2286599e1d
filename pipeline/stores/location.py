"""Where an object goes: a store's scheme, a container in it, a prefix in that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

SEGMENTS = "_segments"
"""What the container of a Swift container's segments is called behind it."""

_AWKWARD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029%]")


@dataclass(frozen=True)
class Destination:
    """A place for objects: for ``file`` the container is the directory's absolute path."""

    scheme: str  # one of ``schemes.SCHEMES``
    container: str
    prefix: str = ""  # "" or ends with "/"

    def key(self, name: str) -> str:
        """The full name, in the container, of the object called ``name``."""
        return self.prefix + name

    @property
    def url(self) -> str:
        """The destination's address, in one spelling, as ``parse`` reads it."""
        container = self.container.rstrip("/")
        if self.scheme == "file":
            container = _AWKWARD.sub(lambda found: quote(found[0]), container)
        return f"{self.scheme}://{container}/{self.prefix}"
