"""Every line and word of boot loaders' files otherwise: what is said then, word for word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import varied
from guests import (
    GRUB_CFG,
)
from menus import HEADER, MENU

from pipeline.guest import (
    boot,
)
from pipeline.guest.boot import bls, simple
from pipeline.guest.tree import Files

HERE = Path(__file__).parent
TABLES = varied.Tables(HERE / "said")
STRUCTURES, compare = TABLES.made, TABLES.compare


def started(files: Files) -> Any:
    """The configuration in force, with what its entries come to."""
    found = boot.configuration(files)
    if found is None:
        return None
    more = [[x.version, x.rescue, x.root, *x.option("console")] for x in found.entries]
    return {
        "found": found,
        "entries": more,
        "default": found.default_entry,
        "linux": found.starts_linux,
    }


@TABLES
def grub() -> Iterator[str]:
    """GRUB's menu with its submenus, its default, its environment."""
    text = (
        HEADER % "${saved_entry}"
        + MENU
        + "if [ -f /x -o x$a = x ]; then\nset b='c d'\nfi\nunset b\nset fallback=2\n"
    )
    tree = {
        GRUB_CFG: text,
        "boot/grub/grubenv": "# GRUB Environment Block\nsaved_entry=more-id>bad-id\n####",
    }
    return varied.of_tree(tree, started, GRUB_CFG, "boot/grub/grubenv")


@TABLES
def grub_menu() -> Iterator[str]:
    """What entries may be like."""
    text = (
        "set default=2\nfunction go { linux $1 root=UUID=1 $2; }\n"
        "menuentry --class a --id=one 'One' --users root {\n"
        "go /vmlinuz-1 quiet\ninitrd /i --x /j\n}\nmenuentry Xen $x {\nmultiboot2 /xen.gz a\n"
        "module2 --nounzip /vmlinuz-2 "
        "root=LABEL=a\nmodule2 /i2\n}\nif true; then\nmenuentry '2' --id 3 a b {\nset k=/vmlinuz-$1\n"
        "linux16 \"$k\" 'a b' "
        "root=/dev/sda1 console=tty0 console=ttyS0,9600\ninitrd16 /i3\n}\nelif false; then\n"
        "menuentry no { true; }\nelse\n"
        "menuentry no { true; }\nfi\nfor a in b; do\nmenuentry $a { linux /vmlinuz-recovery; }\ndone\n"
        "source /more.cfg\n"
    )
    tree = {
        GRUB_CFG: text,
        "more.cfg": "menuentry rescue {\nlinux /vmlinuz-0-rescue-1\n}\n",
        "boot/vmlinuz-1": "k",
    }
    return varied.of_tree(tree, started, GRUB_CFG, "more.cfg")


@TABLES
def depths() -> Iterator[str]:
    """Blocks within blocks, as deep as is looked at and deeper."""
    ways = {
        "if": ("if true; then\n", "fi\n"),
        "for": ("for a in b; do\n", "done\n"),
        "while": ("until true; do\n", "done\n"),
        "submenu": ("submenu a {\n", "}\n"),
    }
    for name, (start, end) in ways.items():
        for count in (1, 6, 7, 8, 9, 15, 16, 17):
            inner = "menuentry in { linux /in; }\nelse\nmenuentry or { linux /or; }\n"
            text = start * count + inner + end * count + "menuentry out { linux /out; }\n"
            found = boot.configuration(varied.files_of({GRUB_CFG: text}))
            yield f"{count} {name}  {found and [x.title for x in found.entries]}"


@TABLES
def other_loaders() -> Iterator[str]:
    """GRUB legacy and extlinux."""
    legacy = (
        "# comment\ndefault=1\ntimeout 5\ntitle One\nroot (hd0,0)\n"
        "kernel --no-mem-option /a root=LABEL=a ro\n"
        "initrd /i more\ntitle #2 Xen\nkernel /xen-4.gz\nmodule /b root=LABEL=b\ninitrd /j\n"
    )
    syslinux = (
        "DEFAULT two extra\nPROMPT 1\nAPPEND root=LABEL=all\nLABEL one\nKERNEL ../vmlinuz\n"
        "INITRD ../i,../j\nLABEL two\n"
        "MENU DEFAULT\nLINUX vmlinuz-2\nAPPEND initrd=/k root=LABEL=two\nLABEL three\nKERNEL chain.c32\n"
        "APPEND -\n"
        "INCLUDE more.cfg\n"
    )
    alone = "DEFAULT /boot/k a b\nAPPEND root=LABEL=c\nLABEL one\nLINUX /boot/one\n"
    for path, text in (
        ("boot/grub/menu.lst", legacy),
        ("boot/extlinux/extlinux.conf", syslinux),
        ("extlinux.conf", alone),
    ):
        tree = {
            path: text,
            "boot/grub/default": "0\n#",
            "boot/extlinux/more.cfg": "LABEL four\nLINUX /d\n",
        }
        yield from varied.of_tree(
            tree, lambda files: list(map(unfolded, simple.configurations(files))), path
        )


def unfolded(configuration: Any) -> dict[str, Any]:
    """With its default entry, which is a property."""
    return {"configuration": configuration, "default": configuration.default_entry}


@TABLES
def specification() -> Iterator[str]:
    """Entries of the Boot Loader Specification, for systemd-boot and for GRUB."""
    entry = (
        "# comment\ntitle Debian $v\nversion 6.1\nmachine-id 0123\nsort-key debian\nlinux /mid/6.1/linux\n"
        "initrd /mid/6.1/initrd $tuned\noptions root=UUID=1 $kernelopts\noptions quiet\narchitecture x64\n"
    )
    tree = {
        "efi/loader/loader.conf": 'timeout 3\ndefault "b-*"\n#default a\n',
        "efi/loader/entries/a-6.1.conf": entry,
        "efi/loader/entries/b-6.2+2-1.conf": entry.replace("6.1", "6.2"),
        "efi/loader/entries/c+0-3.conf": "linux /c\nversion 9\n",
        "efi/EFI/systemd/systemd-bootx64.efi": b"MZ",
        "boot/loader/entries/id-1.conf": entry,
        "boot/loader/entries/id-0-rescue.conf": "title rescue\nlinux /vmlinuz-0-rescue-id\n",
        "boot/loader/entries/id-2.conf": "uki /id.efi\n",
    }

    def tell(files: Files) -> Any:
        grub = bls.grub_entries(files, {"kernelopts": "ro console=tty0", "v": "12"})
        return {"systemd": [unfolded(x) for x in bls.systemd_boot(files)], "grub": grub}

    return varied.of_tree(
        tree,
        tell,
        "efi/loader/loader.conf",
        "efi/loader/entries/a-6.1.conf",
        "boot/loader/entries/id-0-rescue.conf",
    )


@pytest.mark.needs("zstd")
@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said(name: str) -> None:
    compare(name)
