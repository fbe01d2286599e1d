"""LUKS: a whole disk that is encrypted.

https://gitlab.com/cryptsetup/LUKS2-docs and the LUKS1 specification
(https://gitlab.com/cryptsetup/cryptsetup/-/wikis/LUKS-standard/on-disk-format.pdf), big-endian:

    0    6  magic "LUKS" 0xBA 0xBE
    6    2  version 1 or 2
    168  40 UUID as text (both versions)
"""

from __future__ import annotations

from pipeline.formats.base import Container, Format, Problem
from pipeline.formats.bounded import padded
from pipeline.source import Reader
from pipeline.text import clean

_MAGIC = b"LUKS\xba\xbe"


class Luks(Format):
    """See the module."""

    name = "luks"
    checks = ("encrypted-container",)

    def matches(self, reader: Reader) -> bool:
        """The magic."""
        return reader.read(0, 6) == _MAGIC

    def inspect(self, reader: Reader) -> Container:
        """The version; the rest needs the key."""
        version = int.from_bytes(padded(reader, 6, 2), "big")
        name = clean(padded(reader, 168, 40).split(b"\0")[0], 40)
        return Container(
            self.name,
            None,
            variant=f"v{version}",
            uuid=name or None,
            encrypted=True,
            problems=(Problem("encrypted-container", f"a LUKS{version} volume", 0, 8),),
        )
