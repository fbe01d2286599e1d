"""Which kernel a guest starts, with what: the boot loader's configuration and its default entry.

grub2.py              grub.cfg: its menu, submenus and variables; grubenv
script.py, shell.py   the language of grub.cfg: read, and carried out
bls.py                entries of the Boot Loader Specification; systemd-boot
uki.py, bzimage.py    unified kernel images; the version that a kernel's file tells
simple.py             GRUB legacy, syslinux and extlinux
located.py            where the files that an entry names are, and which are missing
"""

from __future__ import annotations

from pipeline.guest.boot import bls, grub2, simple
from pipeline.guest.boot.entries import Configuration
from pipeline.guest.tree import Files


def configuration(files: Files) -> Configuration | None:
    """The configuration in force: the first that starts a kernel, or else the first at all.

    GRUB 2 goes first, as it is what distributions install over an older loader; then systemd-boot
    and unified images, GRUB legacy, syslinux.
    """
    found = grub2.configurations(files)
    if not any(item.starts_linux for item in found):
        found += bls.systemd_boot(files)
    if not any(item.starts_linux for item in found):
        found += simple.configurations(files)
    return next((item for item in found if item.starts_linux), found[0] if found else None)
