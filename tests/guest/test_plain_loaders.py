"""GRUB legacy and syslinux, line by line: words beside those that are meant, and what starts by itself."""

import pytest
from phony import files_of

from pipeline.guest.boot import simple

LEGACY, SYSLINUX = "boot/grub/menu.lst", "boot/extlinux/extlinux.conf"
TWO = "title A\nkernel /a\ntitle B\nkernel /b\n"
LABELS = "LABEL a\nLINUX /a\nLABEL b\nLINUX /b\n"


def read(path, text, **more):
    (found,) = simple.configurations(files_of({path: text, **more}))
    return found


@pytest.mark.parametrize(
    ("head", "title", "how"),
    [
        ("", "A", "default 0"), ("default 1\n", "B", "default 1"),
        ("default=1\ntimeout 5\n", "B", "default 1"),
        ("default 1\ncolor cyan/blue\n", "B", "default 1"),
        ("default 1\nfallback 0\nsplashimage x\n", "B", "default 1"),
        ("defaults 1\n", "A", "default 0"),
        ("default 2\n", "A", "default 2 names no entry, so the first one"),
        ("default 3\n", "A", "default 3 names no entry, so the first one"),
        ("default 900\n", "A", "default 900 names no entry, so the first one"),
        ("default x\n", "A", "default x names no entry, so the first one"),
        ("default zzz\n", "A", "default zzz names no entry, so the first one"),
        ("default saved\n", "B", "default 1"),
        ("default -1\n", "A", "default -1 names no entry, so the first one"),
    ],
)  # fmt: skip
def test_the_default_of_grub_legacy(head, title, how):
    found = read(LEGACY, head + TWO, **{"boot/grub/default": "1\n"})

    assert (found.default_entry.title, found.chosen_by) == (title, how)


@pytest.mark.parametrize(
    ("lines", "kernel", "options", "initramfs"),
    [
        ("kernel /a ro\n", "/a", "ro", ()), ("kernel --type=linux --x /a ro  b\n", "/a", "ro b", ()),
        ("kernel /a\nkernel /b\n", "/a", "", ()), ("uppermem 1\nvbeset x\nkernel /a\n", "/a", "", ()),
        ("kernels /b\nkerne /c\n", None, "", ()), ("initrd /i /j\nkernel /a\n", "/a", "", ("/i",)),
        ("kernel /xen-4.gz x\nmodule /a ro\n", "/a", "ro", ()), ("kernel /xen.gz\n", "/xen.gz", "", ()),
        ("kernel /xenial x\nmodule /a ro\n", "/xenial", "x", ()), ("module /a\n", None, "", ()),
        ("kernel --x\n", None, "", ()), ("chainloader +1\n", None, "", ()),
    ],
)  # fmt: skip
def test_an_entry_of_grub_legacy(lines, kernel, options, initramfs):
    (entry,) = read(LEGACY, f"title T\n{lines}").entries

    assert (entry.title, entry.kernel) == ("T", kernel)
    assert (entry.command_line, entry.initramfs) == (options, initramfs)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (LABELS, "a"), (f"DEFAULT b\n{LABELS}", "b"), (f"DEFAULT B\n{LABELS}", "b"),
        (f"DEFAULT a\n{LABELS}", "a"),
        ("DEFAULT a\nLABEL b\nLINUX /b\nLABEL a\nLINUX /a\n", "a"), (f"DEFAULT c\n{LABELS}", "a"),
        (f"DEFAULT menu.c32\nONTIMEOUT b\n{LABELS}", "b"),
        (f"DEFAULT b\nDEFAULT vesamenu.c32\n{LABELS}", "b"),
        (f"DEFAUL b\nDEFAULTS b\nONERROR b\n{LABELS}", "a"), (f"{LABELS}MENU DEFAULT\n", "b"),
        (f"{LABELS}MENU LABEL B\nMENU BACKGROUND x\n", "a"),
        (f"{LABELS}APPEND default\nTEXT default\nSAY default\n", "a"),
        (f"DEFAULT a\n{LABELS}MENU default\n", "b"), (f"MENU DEFAULT\n{LABELS}", "a"),
        (f"{LABELS}MENU DEFAULTS\nMENU DEFAUL\n", "a"),
    ],
)  # fmt: skip
def test_the_default_of_syslinux(text, label):
    assert read(SYSLINUX, text).default_entry.id == label


@pytest.mark.parametrize("labels", [0, 1, 2, 3, 4])
def test_a_default_that_is_a_kernel_is_an_entry_of_its_own(labels):
    text = "".join(f"LABEL l{n}\nLINUX /l{n}\n" for n in range(labels))

    found = read(SYSLINUX, f"DEFAULT /boot/k ro\nAPPEND quiet\n{text}")

    assert len(found.entries) == labels + 1
    assert (found.default, found.default_entry.kernel) == (labels, "/boot/k")
    assert found.default_entry.command_line == "quiet ro"


@pytest.mark.parametrize(
    ("head", "lines", "options"),
    [
        ("", "", ""), ("APPEND all\n", "", "all"),
        ("APPEND all\nPROMPT 1\nTIMEOUT 5\nALLOWOPTIONS 0\n", "", "all"),
        ("APPENDS no\nAPPEN no\n", "", ""), ("APPEND all\n", "APPEND own\n", "own"),
        ("APPEND all\n", "APPEND -\n", ""),
        ("", "APPEND +x\n", "+x"), ("", "APPEND -x\n", "-x"), ("", "APPEND a\nAPPEND b\n", "b"),
    ],
)  # fmt: skip
def test_the_options_of_an_entry_of_syslinux(head, lines, options):
    (entry,) = read(SYSLINUX, f"{head}LABEL l\nLINUX /k\n{lines}").entries

    assert entry.command_line == options


@pytest.mark.parametrize(
    ("lines", "kernel", "initramfs"),
    [
        ("KERNEL k\n", "/boot/extlinux/k", ()), ("LINUX /k\nKERNEL /no\n", "/k", ()),
        *((f"KERNEL k.{end}\n", None, ()) for end in ("c32", "com", "bin", "bss", "img")),
        ("KERNEL k.c32x\n", "/boot/extlinux/k.c32x", ()),
        ("KERNEL /k\nINITRD /i,j\n", "/k", ("/i", "/boot/extlinux/j")),
        ("KERNEL /k\nAPPEND ro initrd=/i quiet\n", "/k", ("/i",)),
        ("KERNEL /k\nAPPEND xinitrd=/i\n", "/k", ()),
        ("KERNEL /k\nINITRD /i\nAPPEND initrd=/j\n", "/k", ("/i",)), ("SAY x\n", None, ()),
    ],
)  # fmt: skip
def test_the_files_of_an_entry_of_syslinux(lines, kernel, initramfs):
    (entry,) = read(SYSLINUX, f"LABEL l\n{lines}").entries

    assert (entry.kernel, entry.initramfs) == (kernel, initramfs)


def test_sixteen_files_are_included():
    tree = {f"boot/extlinux/{n}": f"LABEL l{n}\nLINUX /k\nINCLUDE {n + 1}\n" for n in range(1, 20)}

    found = read(SYSLINUX, "INCLUDE 1\n", **tree)

    assert [entry.id for entry in found.entries] == [f"l{n}" for n in range(1, 17)]


@pytest.mark.parametrize(("path", "name"), [(LEGACY, "title"), (SYSLINUX, "label")])
def test_sixty_four_entries_are_read(path, name):
    for count in (63, 64, 65):
        found = read(path, "".join(f"{name} {n}\nkernel /k{n}\n" for n in range(count)))
        assert len(found.entries) == min(count, 64)
