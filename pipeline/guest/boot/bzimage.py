r"""The version that a Linux kernel's own file tells, where its name does not: vmlinuz-linux, vmlinuz-virt.

    200h  boot sector's second half: 202h "HdrS", 20Eh offset of the version's text, counted from 200h
    text  "6.1.0-50-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP …\0"

https://docs.kernel.org/arch/x86/boot.html (kernel_version)
"""

from __future__ import annotations

import re

from pipeline.guest.tree import Files

_SETUP = 0x200
_VERSION = re.compile(rb"[0-9][\w.+~-]{2,79}(?=[ \0])")


def version(files: Files, path: str, start: int = 0) -> str | None:
    """The version; ``start`` is where in the file the kernel begins (a unified image)."""
    header = files.read_at(path, start + _SETUP, 16) or b""
    if header[2:6] != b"HdrS" or len(header) < 16:
        return None
    at = int.from_bytes(header[14:16], "little")
    text = files.read_at(path, start + _SETUP + at, 81) if at else None
    match = _VERSION.match(text or b"")
    return match[0].decode("ascii") if match else None
