"""Boot loaders configured in ways that are legal and seldom seen: which entry starts, with what."""

from dataclasses import replace

import pytest
from guests import BOOT, GRUB_CFG, KERNEL, ROOT, TABLE, VOLUME, Disk, facts, findings, trees
from menus import GOOD, HEADER, MENU, bzimage, pe
from phony import files_of

from pipeline.guest import boot


def default(tree):
    """Title, kernel and root= of what starts."""
    entry = boot.configuration(files_of(tree)).default_entry
    return entry.title, entry.kernel, entry.root


# --------------------------------------------------------------------------------------------- GRUB

CUSTOM = """
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
elif [ -z "${config_directory}" -a -f  $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
"""


@pytest.mark.parametrize(
    ("custom", "title"),
    [
        ("set default=own\nmenuentry Own --id own { linux /own root=UUID=9 }\n", "Own"),
        ("menuentry Own --id own { linux /own root=UUID=9 }\n", "Good"),
        ("set default='Bad at the end'\n", "Bad at the end"),
        ("source $config_directory/custom.cfg\nset default=2\n", "Bad at the end"),
        (None, "Good"),
    ],
)
def test_a_grub_cfg_that_reads_another_file(custom, title):
    tree = {GRUB_CFG: HEADER % "0" + MENU + CUSTOM}
    if custom is not None:
        tree["boot/grub/custom.cfg"] = custom

    assert default(tree)[0] == title


def test_options_before_the_title_of_a_menu_entry():
    text = (
        "set default=Second\n"
        "menuentry --class debian --id first 'First' { linux /a root=UUID=1 }\n"
        "menuentry --unrestricted --hotkey s 'Second' { linux /b root=UUID=2 }\n"
    )

    assert default({GRUB_CFG: text}) == ("Second", "/b", "UUID=2")


def test_a_separate_file_of_entries_is_judged_like_grub_cfg_itself():
    text = "source ${config_directory}/entries.cfg\n"

    found = findings({GRUB_CFG: text, "boot/grub/entries.cfg": f"menuentry x {{\n{GOOD}}}\n"})

    assert found == set()


def test_what_is_saved_beside_a_grub_cfg_of_its_own_place_counts():
    place = "boot/efi/EFI/fedora"
    menu = (
        "load_env\nset default=$saved_entry\nmenuentry A { linux /a; }\nmenuentry B { linux /b; }\n"
    )

    assert default({f"{place}/grub.cfg": menu, f"{place}/grubenv": "saved_entry=B\n"})[0] == "B"
    assert default({f"{place}/grub.cfg": menu, "boot/grub/grubenv": "saved_entry=B\n"})[0] == "B"


def test_the_module_blscfg_alone_puts_nothing_into_the_menu():
    entries = {"boot/loader/entries/a.conf": "title B\nlinux /b\n"}

    found = boot.configuration(
        files_of({GRUB_CFG: "insmod blscfg\nmenuentry A { linux /a; }\n", **entries})
    )

    assert [entry.title for entry in found.entries] == ["A"]


# --------------------------------------------------------------------------------------- GRUB legacy

TWO = "title A\nroot (hd0,0)\nkernel /a root=UUID=1\ntitle B\nkernel --type=linux\t/b\troot=UUID=2 ro\n"


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"boot/grub/menu.lst": f"default saved\n{TWO}", "boot/grub/default": "1\n#\n#\n"},
         ("B", "/b", "UUID=2")),
        ({"boot/grub/menu.lst": f"default saved\n{TWO}"}, ("A", "/a", "UUID=1")),
        ({"boot/grub/menu.lst": f"default saved\n{TWO}", "boot/grub/default": "x"}, ("A", "/a", "UUID=1")),
        ({"boot/grub/menu.lst": f"default\t1\n{TWO}"}, ("B", "/b", "UUID=2")),
        ({"boot/grub/grub.conf": f"default=1\n{TWO}"}, ("B", "/b", "UUID=2")),
    ],
)  # fmt: skip
def test_grub_legacy(tree, expected):
    assert default(tree) == expected


# ---------------------------------------------------------------------------------- syslinux, extlinux

CONF = "boot/extlinux/extlinux.conf"


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (  # as Debian's extlinux-update wrote it
            {
                CONF: "default l0\nprompt 1\ntimeout 50\ninclude themes/debian/theme.cfg\n",
                "boot/extlinux/themes/debian/theme.cfg": "menu title Boot\ninclude linux.cfg\n",
                "boot/extlinux/linux.cfg": "label l0\n\tmenu label Debian\n\tlinux /boot/vmlinuz-6.1\n"
                "\tinitrd /boot/initrd.img-6.1\n\tappend root=UUID=1 ro\n",
            },
            ("l0", "/boot/vmlinuz-6.1", "UUID=1"),
        ),
        (
            {CONF: "MENU INCLUDE more.cfg Title\n", "boot/extlinux/more.cfg": "LABEL a\nLINUX /a\n"},
            ("a", "/a", None),
        ),
        ({CONF: "include extlinux.conf\nlabel a\nlinux /a\n"}, ("a", "/a", None)),
        ({CONF: "APPEND root=UUID=1\nLABEL a\n KERNEL ../vmlinuz\n"}, ("a", "/boot/vmlinuz", "UUID=1")),
        (
            {CONF: "APPEND root=UUID=1\nLABEL a\n KERNEL vmlinuz\n APPEND -\n"},
            ("a", "/boot/extlinux/vmlinuz", None),
        ),
        (
            {CONF: "DEFAULT b root=UUID=3\nLABEL a\nLINUX /a\nLABEL b\nLINUX /b\nAPPEND ro\n"},
            ("b", "/b", "UUID=3"),
        ),
        ({CONF: "DEFAULT /boot/vmlinuz\nAPPEND root=UUID=4\n"}, ("/boot/vmlinuz", "/boot/vmlinuz", "UUID=4")),
        (
            {CONF: "LABEL a\nLINUX /old\nLINUX /new\nAPPEND root=UUID=1\nAPPEND root=UUID=2\n"},
            ("a", "/new", "UUID=2"),
        ),
        (
            {"boot/efi/EFI/syslinux/syslinux.cfg": "LABEL a\nLINUX ../../vmlinuz\nAPPEND root=UUID=1\n"},
            ("a", "/boot/efi/vmlinuz", "UUID=1"),
        ),
    ],
)  # fmt: skip
def test_extlinux(tree, expected):
    assert default(tree) == expected


def test_a_kernel_beside_extlinux_conf_is_there():
    conf = f"label a\nlinux ../vmlinuz-{KERNEL}\ninitrd ../initrd.img-{KERNEL}\nappend root=UUID={ROOT}\n"

    assert findings({GRUB_CFG: ..., CONF: conf}) == set()


# ----------------------------------------------------------------- systemd-boot, unified kernel images


def entry(name, title, *lines):
    text = f"title {title}\nlinux /{title}\noptions root=UUID={title}\n" + "".join(
        f"{x}\n" for x in lines
    )
    return {f"efi/loader/entries/{name}": text}


LOADER = "efi/loader/loader.conf"


def image(release, version):
    return pe(linux=b"k", cmdline=b"root=UUID=u", osrel=release.encode(), uname=version.encode())


@pytest.mark.parametrize(
    ("tree", "title"),
    [
        # without a sort-key the newest name is first
        ({**entry("a-6.1.conf", "A"), **entry("a-6.10.conf", "B"), **entry("a-6.9.conf", "C")}, "B"),
        ({**entry("arch-lts.conf", "A"), **entry("arch.conf", "B"), **entry("arch-fallback.conf", "C")}, "B"),
        # one with a sort-key before those without
        ({**entry("z-9.conf", "A"), **entry("a-1.conf", "B", "sort-key x")}, "B"),
        # the version decides among those of one machine, and then the name
        ({**entry("a-1.conf", "A", "sort-key x", "version 2"),
          **entry("a-2.conf", "B", "sort-key x", "version 1")},
         "A"),
        ({**entry("a-1.conf", "A", "sort-key x"), **entry("a-2.conf", "B", "sort-key x")}, "B"),
        # what has failed as often as it may is last
        ({**entry("a-2+0-3.conf", "A"), **entry("a-1.conf", "B")}, "B"),
        ({**entry("a-2+3.conf", "A"), **entry("a-1.conf", "B")}, "A"),
        # a counter is no part of the name
        ({**entry("a-1+2-1.conf", "A"), **entry("a-2.conf", "B"), LOADER: "default a-1.conf\n"},
         "A"),
        ({**entry("a-1.conf", "A"), **entry("a-2.conf", "B"), LOADER: 'default "a-1.conf"\n'},
         "A"),
        ({**entry("a-1.conf", "A"), **entry("a-2.conf", "B"), LOADER: "default @saved\n"}, "B"),
        # unified images are sorted among the others, by the os-release in them
        ({**entry("a-1.conf", "A", "sort-key debian"), "efi/EFI/Linux/x-2.efi": image("ID=arch\n", "2")},
         "x-2.efi"),
        ({**entry("a-1.conf", "A", "sort-key arch"), "efi/EFI/Linux/x-2.efi": image("ID=debian\n", "2")},
         "A"),
        ({**entry("a-9.conf", "A"), "efi/EFI/Linux/x-2.efi": image("ID=debian\n", "2")}, "x-2.efi"),
        ({"efi/EFI/Linux/x-2.efi": image("ID=a\n", "2"), "efi/EFI/Linux/x-10+3.efi": image("ID=a\n", "10")},
         "x-10.efi"),
        # firmware starts an image by itself
        ({"efi/EFI/BOOT/BOOTX64.EFI": image("ID=a\n", "2")}, "BOOTX64.EFI"),
    ],
)  # fmt: skip
def test_systemd_boot(tree, title):
    assert default(tree)[0] == title


def test_a_boot_loader_in_the_usual_place_is_no_unified_image():
    assert boot.configuration(files_of({"efi/EFI/BOOT/BOOTX64.EFI": pe(text=b"shim")})) is None


# ------------------------------------------------------------- kernels whose names tell no version


def started(kernel, initramfs="/boot/initramfs-linux.img"):
    """A guest that starts /boot/vmlinuz-linux, as Arch names it."""
    return {
        f"boot/vmlinuz-{KERNEL}": ...,
        f"boot/initrd.img-{KERNEL}": ...,
        "boot/vmlinuz-linux": kernel,
        "boot/initramfs-linux.img": trees.cpio(trees.INITRAMFS),
        GRUB_CFG: "menuentry x {\n"
        f"linux /boot/vmlinuz-linux root=UUID={ROOT}\ninitrd {initramfs}\n}}\n",
    }


def test_a_kernel_without_a_version_in_its_name_says_it_itself():
    tree = started(bzimage(KERNEL))

    (kernel,) = facts(tree)["kernels"]

    assert (kernel["version"], kernel["default"]) == (KERNEL, True)
    assert kernel["initramfs"] == "/boot/initramfs-linux.img"
    assert kernel["drivers"]["xen-blkfront"] == "initramfs"
    assert findings(tree) == set()


@pytest.mark.parametrize(
    "kernel",
    [b"", b"kernel", bzimage(KERNEL)[:0x20F], bzimage(KERNEL)[:0x500], bzimage("no version")],
)
def test_a_file_that_tells_no_version_keeps_its_name(kernel):
    (found,) = facts(started(kernel))["kernels"]

    assert found["version"] == "linux"


def test_a_unified_image_without_uname_tells_the_version_of_its_kernel():
    image = pe(
        linux=bzimage(KERNEL),
        initrd=trees.cpio(trees.INITRAMFS),
        cmdline=b"root=UUID=" + ROOT.encode(),
    )
    tree = {
        GRUB_CFG: ...,
        f"boot/vmlinuz-{KERNEL}": ...,
        f"boot/initrd.img-{KERNEL}": ...,
        f"efi/EFI/Linux/debian-{KERNEL}.efi": image,
    }

    (kernel,) = facts(tree)["kernels"]

    assert (kernel["version"], kernel["default"]) == (KERNEL, True)
    assert kernel["drivers"]["xen-blkfront"] == "initramfs"


def test_systemd_boot_does_not_see_the_boot_directory_of_the_root_file_system():
    # given a kernel that was installed into /boot while the EFI system partition lies elsewhere
    root = {
        **trees.debian(ROOT),
        "boot/loader/entries/a.conf": f"title A\nlinux /vmlinuz-{KERNEL}\noptions root=UUID={ROOT}\n",
        "etc/fstab": f"UUID={ROOT} / ext4 defaults 0 1\nUUID={BOOT} /efi vfat defaults 0 1\n",
    }
    del root[GRUB_CFG]
    esp = {"loader/loader.conf": "timeout 3\n", "EFI/systemd/systemd-bootx64.efi": b"MZ"}
    entry_there = {"loader/entries/a.conf": root["boot/loader/entries/a.conf"]}
    volumes = (
        replace(VOLUME, device="/dev/sda1", uuid=BOOT, type="vfat", label=None, esp=True),
        replace(VOLUME, device="/dev/sda2", partition=2, partition_uuid="12345678-02"),
    )

    unseen = facts(Disk(volumes, (esp, root), TABLE))["boot"]
    seen = facts(Disk(volumes, ({**esp, **entry_there}, root), TABLE))["boot"]

    assert (unseen["loader"], unseen["entries"]) == ("systemd-boot", [])
    assert [item["title"] for item in seen["entries"]] == ["A"]
    assert "boot-no-kernel" in findings(Disk(volumes, (esp, root), TABLE))
