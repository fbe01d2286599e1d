"""Where an object goes: a store's scheme, a container in it, a prefix in that."""

from __future__ import annotations

from dataclasses import dataclass

SEGMENTS = "_segments"
"""What the container of a Swift container's segments is called behind it."""


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
        """The destination's address, in one spelling."""
        return f"{self.scheme}://{self.container.rstrip('/')}/{self.prefix}"
