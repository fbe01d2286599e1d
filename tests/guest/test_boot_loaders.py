"""GRUB legacy, extlinux, the Boot Loader Specification, systemd-boot, unified kernel images: what starts."""

import pytest
from menus import chosen, pe
from phony import files_of

from pipeline.guest import boot


@pytest.mark.parametrize(
    ("path", "text", "title", "root"),
    [
        (
            "boot/grub/menu.lst",
            (
                "default 1\ntitle One\nkernel /vmlinuz-2.6 ro root=/dev/sda1\ninitrd /initrd-2.6.img\n"
                "title Two\nroot (hd0,0)\nkernel /vmlinuz-3 ro root=LABEL=/\n"
            ),
            "Two",
            "LABEL=/",
        ),
        (
            "boot/grub/grub.conf",
            (
                "#default=1\ndefault=0\ntimeout=5\ntitle One\n\tkernel /vmlinuz root=LABEL=1\n"
                "title Two\n\tkernel /vmlinuz root=LABEL=2"
            ),
            "One",
            "LABEL=1",
        ),
        (
            "boot/grub/menu.lst",
            "default saved\ntitle A\nkernel /a root=/dev/hda1",
            "A",
            "/dev/hda1",
        ),
        (
            "boot/extlinux/extlinux.conf",
            (
                "DEFAULT new\nLABEL old\n KERNEL /vmlinuz-5\n APPEND root=/dev/xvda1\n"
                "LABEL new\n LINUX /vmlinuz-6.1\n APPEND initrd=/initrd.img-6.1 root=UUID=2\n"
            ),
            "new",
            "UUID=2",
        ),
        (
            "boot/extlinux/extlinux.conf",
            (
                "default vesamenu.c32\nlabel a\n linux /a\n append root=UUID=1\n"
                "label b\n menu default\n linux /b\n append root=UUID=2\n"
            ),
            "b",
            "UUID=2",
        ),
        ("extlinux.conf", "LABEL x\n linux /k\n append root=UUID=3 quiet", "x", "UUID=3"),
    ],
)
def test_loaders_with_one_plain_file(path, text, title, root):
    entry = boot.configuration(files_of({path: text})).default_entry

    assert (entry.title, entry.root) == (title, root)


BLS = {
    "boot/grub2/grub.cfg": "insmod blscfg\nblscfg\n",
    "boot/loader/entries/id-5.14.0-70.conf": "title Seventy\nlinux /vmlinuz-5.14.0-70\n"
    "initrd /initramfs-5.14.0-70.img $tuned_initrd\noptions $kernelopts crash\n",
    "boot/loader/entries/id-5.14.0-162.conf": "title New\nlinux /vmlinuz-5.14.0-162\noptions root=UUID=1\n",
    "boot/loader/entries/id-0-rescue.conf": "title Rescue\nlinux /vmlinuz-0-rescue-i\noptions root=LABEL=x\n",
}


@pytest.mark.parametrize(
    ("config", "environment", "title", "root"),
    [
        ("", "", "New", "UUID=1"),
        ('set default="${saved_entry}"\n', "saved_entry=id-5.14.0-70\n", "Seventy", "/dev/vda2"),
        ('set default="${saved_entry}"\n', "saved_entry=1\n", "Seventy", "/dev/vda2"),
        ('set default="${saved_entry}"\n', "saved_entry=id-0-rescue\n", "Rescue", "LABEL=x"),
        ('set default="${saved_entry}"\n', "saved_entry=id-9\n", "New", "UUID=1"),
        (
            'set default="${saved_entry}"\nset kernelopts="root=UUID=5"\n',
            "saved_entry=1\n",
            "Seventy",
            "UUID=5",
        ),
    ],
)
def test_entries_of_the_boot_loader_specification(config, environment, title, root):
    tree = {
        **BLS,
        "boot/grub2/grub.cfg": f"load_env\n{config}blscfg\n",
        "boot/grub2/grubenv": f"kernelopts=root=/dev/vda2 ro\n{environment}",
    }

    entry = boot.configuration(files_of(tree)).default_entry

    assert (entry.title, entry.root) == (title, root)


def test_variables_that_are_not_set_leave_nothing_behind():
    configuration = boot.configuration(files_of(BLS))

    assert configuration.entries[1].initramfs == ("/initramfs-5.14.0-70.img",)


SYSTEMD_BOOT = {
    "efi/EFI/systemd/systemd-bootx64.efi": b"MZ#### LoaderInfo: systemd-boot 252.39 ####",
    "efi/loader/entries/debian-6.1.conf": "title A\nsort-key debian\nversion 6.1\n"
    "linux /mid/6.1/linux\noptions root=UUID=1",
    "efi/loader/entries/debian-6.10.conf": "title B\nsort-key debian\nversion 6.10\n"
    "linux /mid/6.10/linux\noptions root=UUID=2",
    "efi/loader/entries/old.conf": "title C\nversion 7\nlinux /old\noptions root=UUID=3",
}


@pytest.mark.parametrize(
    ("config", "title"),
    [
        ("", "B"),
        ("timeout 3\n", "B"),
        ("default debian-6.1.conf\n", "A"),
        ("default debian-6.1\n", "A"),
        ("default old*\n", "C"),
        ("default *\n", "B"),
        ("default nothing-*\n", "B"),
        ("#default old.conf\ndefault\tOLD.CONF\n", "C"),
    ],
)
def test_what_systemd_boot_starts(config, title):
    assert chosen({**SYSTEMD_BOOT, "efi/loader/loader.conf": config}) == title
    assert chosen(SYSTEMD_BOOT) == "B"


@pytest.mark.parametrize(
    ("architecture", "title"),
    [("x64", "C"), ("X64", "C"), ("aa64", "B"), ("ia32", "B"), ("x64 aa64", "B"), ("", "C")],
)
def test_systemd_boot_hides_entries_for_another_architecture(architecture, title):
    line = f"architecture {architecture}\n" if architecture else ""
    entry = f"title C\nsort-key a\n{line}linux /other\noptions root=UUID=4\n"
    tree = {**SYSTEMD_BOOT, "efi/loader/entries/other.conf": entry}

    assert chosen(tree) == title


def test_entries_count_for_each_architecture_that_systemd_boot_is_there_for():
    both = {**SYSTEMD_BOOT, "efi/EFI/systemd/systemd-bootaa64.efi": b"MZ"}
    entry = {"efi/loader/entries/other.conf": "title C\nsort-key a\narchitecture aa64\nlinux /o\n"}

    assert chosen({**both, **entry}) == "C"


def test_grub_shows_entries_for_any_architecture():
    entry = "title Newer\narchitecture aa64\nlinux /vmlinuz-6\noptions root=UUID=6\n"

    assert chosen({**BLS, "boot/loader/entries/id-6.conf": entry}) == "Newer"


def test_a_unified_kernel_image():
    image = pe(linux=b"kernel", initrd=b"cpio", cmdline=b"root=UUID=1 ro\0", uname=b"6.9.1-arch1")
    configuration = boot.configuration(files_of({"efi/EFI/Linux/arch-6.9.1.efi": image}))

    entry = configuration.default_entry

    assert (configuration.loader, entry.root, entry.version) == ("uki", "UUID=1", "6.9.1-arch1")


@pytest.mark.parametrize("image", [b"", b"MZ", b"MZ" + bytes(100), pe(other=b"x"), pe()[:140]])
def test_what_is_no_unified_kernel_image(image):
    assert boot.configuration(files_of({"efi/EFI/Linux/x.efi": image})) is None
