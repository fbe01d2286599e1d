"""ext2, ext3 and ext4, read by libfsext; what it does not look at is in ``inodes.py``."""

from __future__ import annotations

import pyfsext

from pipeline.tools.reader.inodes import Inodes
from pipeline.tools.reader.unix import UnixFiles
from pipeline.tools.reader.volume import Pages


class Ext(UnixFiles):
    """One ext file system; ``answers.FileSystem``."""

    def __init__(self, pages: Pages) -> None:
        volume = pyfsext.volume()
        volume.open_file_object(pages)
        self._inodes = Inodes(pages)
        super().__init__(volume, self._inodes.require_sound)

    def readlink(self, path: str) -> str:
        """Where a link points to."""
        return str(self._link(path).symbolic_link_target)

    def free(self) -> dict[str, int]:
        """Bytes free for everybody."""
        return self._inodes.free()
