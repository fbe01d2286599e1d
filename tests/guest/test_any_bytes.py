"""Whatever is in a guest's files, its facts come: known, unknown with a reason, never an exception."""

from dataclasses import replace

from guests import BOOT, GRUB_CFG, KERNEL, VOLUME, Disk, disk, facts, findings
from hypothesis import given, settings
from hypothesis import strategies as st

PATHS = [
    GRUB_CFG, "boot/grub/grubenv", "boot/grub/menu.lst", "boot/extlinux/extlinux.conf",
    "boot/loader/entries/a.conf", "boot/efi/loader/loader.conf", "boot/efi/EFI/Linux/x.efi",
    f"boot/initrd.img-{KERNEL}", f"usr/lib/modules/{KERNEL}/modules.dep",
    f"usr/lib/modules/{KERNEL}/modules.builtin", "etc/fstab", "etc/netplan/a.yaml",
    "etc/systemd/network/a.network", "etc/NetworkManager/system-connections/a",
    "etc/network/interfaces", "etc/udev/rules.d/a.rules", "etc/cloud/cloud.cfg",
    "etc/cloud/ds-identify.cfg", "etc/ssh/sshd_config", "etc/passwd", "etc/shadow", "etc/group",
    "etc/sudoers", "etc/machine-id", "usr/lib/os-release", "usr/bin/bash", "var/lib/dpkg/status",
    "var/lib/rpm/rpmdb.sqlite", "etc/adjtime", "etc/selinux/config", "etc/default/locale",
    "usr/lib/systemd/system-preset/a.preset",
]  # fmt: skip
WORDS = st.sampled_from(
    ["menuentry 'x' {", "}", "submenu y {", "linux /boot/vmlinuz root=UUID=", "set default=", "$", "${a}",
     "if [ ", " ]; then", "fi", "\\\n", "'", '"', "\n", " ", "=", "[Match]", "[Network]", "Address=",
     "MACAddress=52:54:00:12:34:56", "network:", "  ethernets: {", "addresses: [", "- ", "&a", "*a",
     "iface eth0 inet static", "source /etc/network/interfaces", "Include /etc/ssh/*", "Match all", ":",
     "root:x:0:0::/:/bin/sh", "/dev/sda1 / ext4", "Package: a", "Status: install ok installed", "title",
     "kernel /a", "default 1", "\x00", "\x1b[31m", "enable *", "SQLite format 3\x00", "MZ", "070701",
     "\\040", "ALL=(ALL) ALL", "datasource_list: [", "policy: disabled"]
)  # fmt: skip
CONTENT = st.binary(max_size=300) | st.lists(WORDS, max_size=30).map("".join)


@settings(max_examples=150)
@given(changes=st.dictionaries(st.sampled_from(PATHS), CONTENT, max_size=4))
def test_any_content_of_any_file_is_an_answer(changes):
    found = facts(changes)

    assert found["status"] == "done"
    assert "\x1b" not in str(found)
    assert all(reason for reason in found["unknown"].values())


def test_a_journal_that_was_not_replayed_may_hide_the_system():
    volume = replace(VOLUME, type="xfs", clean=False, detail="its log holds changes")

    unknown = facts(Disk((volume,), ({},)))["unknown"]

    words = (
        "nothing was found before the replay of a journal; /dev/sda1 (xfs): its log holds changes"
    )
    assert unknown["systems"] == words
    assert "guest-no-system?" in findings(Disk((volume,), ({},)))


def test_facts_from_before_the_replay_say_so():
    guest = disk(clean=False, detail="its journal holds changes that were not written back")

    assert facts(guest)["before_replay"] == ["/dev/sda1"]
    assert findings(guest) == {"file-system-unclean"}


def test_a_file_system_that_does_not_tell_whether_it_is_clean_is_unknown():
    assert findings(disk(type="xfs", clean=None)) == {"file-system-unclean?"}


def test_a_disk_of_data_alone_is_none_however_clean():
    clean = replace(VOLUME, uuid=BOOT)

    assert facts(Disk((clean,), ({"photos/1.jpg": b"x"},)))["systems"] == 0
