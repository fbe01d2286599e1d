"""Which entry starts: every boot loader's own way to say it, and what the entry lacks."""

from dataclasses import replace

import pytest
from guests import (
    BOOT,
    GRUB_CFG,
    KERNEL,
    OTHER,
    ROOT,
    TABLE,
    VOLUME,
    Disk,
    Link,
    disk,
    facts,
    findings,
    trees,
)
from phony import files_of

from pipeline.guest import boot
from pipeline.guest.boot import script, shell
from pipeline.guest.boot.entries import Entry
from pipeline.guest.boot.located import locate
from pipeline.guest.versions import version_key

GOOD = f"linux /boot/vmlinuz-{KERNEL} root=UUID={ROOT} ro\n initrd /boot/initrd.img-{KERNEL}\n"
BAD = f"linux /boot/vmlinuz-{KERNEL} root=/dev/sda1 ro\n initrd /boot/initrd.img-{KERNEL}\n"
MENU = (
    f"menuentry 'Good' --class os $menuentry_id_option 'good-id' {{\n {GOOD}}}\n"
    f"submenu 'More options' $menuentry_id_option 'more-id' {{\n"
    f"  menuentry 'Bad' $menuentry_id_option 'bad-id' {{\n {BAD} }}\n"
    f"  menuentry 'Bad, with > in it' {{\n {BAD} }}\n}}\n"
    f"menuentry 'Bad at the end' {{\n {BAD}}}\n"
)
HEADER = """
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="%s"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
"""
SAVED = "# GRUB Environment Block\nsaved_entry=%s\n####"


def chosen(tree):
    configuration = boot.configuration(files_of(tree))
    return configuration.default_entry.title


@pytest.mark.parametrize(
    ("default", "title"),
    [
        ("0", "Good"),
        ("", "Good"),
        ("good-id", "Good"),
        ("Good", "Good"),
        ("1", "Bad"),
        ("1>0", "Bad"),
        ("1>1", "Bad, with > in it"),
        ("more-id", "Bad"),
        ("more-id>bad-id", "Bad"),
        ("More options>Bad", "Bad"),
        ("More options>Bad, with >> in it", "Bad, with > in it"),
        ("1>7", "Bad"),
        ("2", "Bad at the end"),
        ("Bad at the end", "Bad at the end"),
        ("9", "Good"),
        ("nothing of that name", "Good"),
    ],
)
def test_which_entry_grub_starts(default, title):
    text = HEADER % default + MENU

    assert chosen({GRUB_CFG: text}) == title


@pytest.mark.parametrize("saved", ["good-id", "Good", "0", "more-id>bad-id", "Bad at the end", ""])
def test_the_saved_entry_of_grubenv(saved):
    text = HEADER % "${saved_entry}" + MENU
    title = {"more-id>bad-id": "Bad", "Bad at the end": "Bad at the end"}.get(saved, "Good")

    assert chosen({GRUB_CFG: text, "boot/grub/grubenv": SAVED % saved}) == title
    assert chosen({GRUB_CFG: text}) == "Good"


def test_what_is_to_start_once_starts_first():
    tree = {GRUB_CFG: HEADER % "0" + MENU, "boot/grub/grubenv": "next_entry=2\n"}

    assert chosen(tree) == "Bad at the end"


@pytest.mark.parametrize(
    ("default", "rules"),
    [("0", set()), ("1>0", {"root-device-name"}), ("2", {"root-device-name"})],
)
def test_only_the_default_entry_decides(default, rules):
    found = findings({GRUB_CFG: HEADER % default + MENU})

    assert found == rules | {"boot-other-entries"}


GONE = GOOD.replace(f"vmlinuz-{KERNEL}", "vmlinuz-gone")
NO_INITRD = GOOD.replace(f"initrd.img-{KERNEL}", "initrd-gone")


@pytest.mark.parametrize(
    ("fallback", "menu", "title", "rules"),
    [
        ("1", (GONE, GOOD), "E1", {"boot-other-entries"}),
        ("1", (GOOD, BAD), "E0", {"boot-other-entries"}),
        ("1 2", (GONE, GONE, GOOD), "E2", {"boot-other-entries"}),
        ("2", (GONE, GOOD, BAD), "E2", {"boot-other-entries", "root-device-name"}),
        ("1", (GONE, GONE), "E0", {"boot-files-missing"}),
        ("7", (GONE, GOOD), "E0", {"boot-files-missing"}),
        ("", (GONE, GOOD), "E0", {"boot-files-missing"}),
        ("1", (NO_INITRD, GOOD), "E0", {"boot-files-missing"}),  # the kernel starts without it
        ("1", ("echo nothing", GOOD), "E1", {"boot-other-entries"}),
        ("1 2", (GONE, "echo nothing", GOOD), "E2", {"boot-other-entries"}),
    ],
)
def test_what_grub_falls_back_to(fallback, menu, title, rules):
    entries = "".join(f"menuentry E{at} {{\n{text}\n}}\n" for at, text in enumerate(menu))
    tree = {GRUB_CFG: f'set fallback="{fallback}"\n{entries}'}

    found = facts(tree)["boot"]

    assert found["entries"][found["default"]]["title"] == title
    assert found["chosen_by"] == (
        "the first entry" if title == "E0" else "fallback of the first entry"
    )
    assert findings(tree) == rules


def test_entries_that_grub_gave_up_are_told_with_what_they_lack():
    tree = {GRUB_CFG: f"set fallback=1\nmenuentry A {{\n{GONE}}}\nmenuentry B {{\n{GOOD}}}\n"}

    assert facts(tree)["boot"]["other_problems"] == [
        "A: /boot/vmlinuz-gone (named in /boot/grub/grub.cfg) is not there"
    ]


@pytest.mark.parametrize(
    ("line", "root"),
    [
        (f'linux /boot/vmlinuz-{KERNEL} root="UUID={ROOT}" ro', f"UUID={ROOT}"),
        (f"linux /boot/vmlinuz-{KERNEL} 'root=UUID={ROOT}' ro", f"UUID={ROOT}"),
        (f"linux /boot/vmlinuz-{KERNEL} \\\n  ro \\\n  root=UUID={ROOT} quiet", f"UUID={ROOT}"),
        (f"linux\t/boot/vmlinuz-{KERNEL}\troot=/dev/vda1", "/dev/vda1"),
        (f"linux /boot/vmlinuz-{KERNEL} root=LABEL=root  # comment", "LABEL=root"),
        (f"linux /boot/vmlinuz-{KERNEL} root=UUID=1 root=UUID={ROOT}", f"UUID={ROOT}"),
        (f"linux16 /boot/vmlinuz-{KERNEL} root=LABEL=a", "LABEL=a"),
        (f"linuxefi ($root)/vmlinuz-{KERNEL} root=PARTUUID=x", "PARTUUID=x"),
        (f"linux /boot/vmlinuz-{KERNEL} rescue_console=memtest root=LABEL=r single", "LABEL=r"),
        (f"linux /boot/vmlinuz-{KERNEL} $kernelopts", "/dev/vdb3"),
        (f"linux /boot/vmlinuz-{KERNEL} ${{kernelopts}}", "/dev/vdb3"),
        (f'linux /boot/vmlinuz-{KERNEL} "$kernelopts"', "/dev/vdb3 ro"),
        (f"linux /boot/vmlinuz-{KERNEL} ro", None),
        (f"if true; then linux /boot/vmlinuz-{KERNEL} root=LABEL=x; fi", "LABEL=x"),
        ("if false; then set r=a; else set r=b; fi; linux /vmlinuz root=LABEL=$r", "LABEL=b"),
        (f"multiboot2 /xen.gz dom0_mem=1G\n module2 /vmlinuz-{KERNEL} root=LABEL=d", "LABEL=d"),
    ],
)
def test_root_on_a_kernel_line(line, root):
    text = f'set kernelopts="root=/dev/vdb3 ro"\nmenuentry "x" {{\n{line}\n}}\n'
    entry = boot.configuration(files_of({GRUB_CFG: text})).default_entry

    assert entry.root == root


@pytest.mark.parametrize(
    "text",
    [
        "'",
        '"',
        "menuentry 'x' {",
        "}}}}}}}{{{",
        "if if if if [ [ fi",
        "menuentry\n{\n",
        "set\nset =\n[ ]\n[ -f ]\n! true",
        "function f { f\n}\nf\n" * 50,
        "if true; then\n" * 500,
        "submenu x {\n" * 100,
        "a\\",
        "menuentry x { module; linux; initrd; }\nsource\n.\nconfigfile\nset\nunset\nfunction\n",
        "$" * 1000 + "{" * 1000,
        "set a=$a$a$a$a\n" * 300 + "menuentry $a { linux $a }",
    ],
)
def test_a_broken_configuration_is_no_crash(text):
    configuration = boot.configuration(files_of({GRUB_CFG: text}))

    assert configuration is not None
    assert len(configuration.entries) <= 64


def test_a_configuration_of_a_million_blank_lines_takes_no_time():
    configuration = boot.configuration(files_of({GRUB_CFG: "\n" * 1_000_000}))

    assert configuration.entries == ()


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('[ "$x" ]', True),
        ('[ "$none" ]', False),
        ('[ -n "$x" ]', True),
        ('[ -z "$none" ]', True),
        ('[ "$x" = one ]', True),
        ("[ $x == one ]", True),
        ("[ $x != one ]", False),
        ("[ ! $x = one ]", False),
        ("[ -s /boot/grub/grubenv ]", True),
        ("[ -f /other ]", False),
        ("test -n $x", True),
        ("sleep --interruptible 0", False),
        ("true", True),
        ("false", False),
        ("[ a = a -a b = b ]", True),
        ("[ a = a -a b = c ]", False),
        ("[ a = b -o b = b ]", True),
        ("[ a = b -o b = c ]", False),
        ("[ a = b -a b = b -o c = c ]", True),
        ("[ a = b -o b = b -a c = d ]", False),
        ("[ ! a = b -a ! -z a ]", True),
        ('[ "$x" = one -a -f /other ]', False),
        ('[ "$x" = one -o -f /other ]', True),
        ('[ "$grub_platform" = efi ]', False),
    ],
)
def test_conditions(condition, holds):
    told = []
    interpreter = shell.Interpreter(
        {"x": "one"},
        lambda words, _: told.append(words[0]),
        lambda *_: None,
        lambda n: "grubenv" in n,
    )

    interpreter.run(script.parse(f"if {condition}; then yes; else no; fi"))

    assert told[-1] == ("yes" if holds else "no")


@pytest.mark.parametrize(
    ("condition", "titles"),
    [
        ("true", ["in it"]),
        ("false", ["else"]),
        ('[ "$none" ]', ["else"]),
        ("[ -n a ]", ["in it"]),
        ("[ a = b -a -f /other ]", ["else"]),
        ("[ a = a -a -f /other ]", ["in it", "else"]),  # nobody knows, so both may be in the menu
        ("[ -f /other ]", ["in it", "else"]),
        ("[ ! -f /other ]", ["in it", "else"]),
        ('[ "${grub_platform}" = efi ]', ["in it", "else"]),
        ("[ x$grub_cpu = xi386 ]", ["in it", "else"]),
        ("cmostest 1:2", ["in it", "else"]),
    ],
)
def test_entries_of_a_condition_that_is_known_not_to_hold_are_not_in_the_menu(condition, titles):
    text = f"if {condition}; then\nmenuentry 'in it' {{\n{GOOD}}}\nelse\nmenuentry 'else' {{\n{GOOD}}}\nfi\n"

    assert [
        entry.title for entry in boot.configuration(files_of({GRUB_CFG: text})).entries
    ] == titles


SNAPSHOT = (  # as SUSE has it in every grub.cfg
    'if [ -n "$extra_cmdline" ]; then\n'
    '  submenu "Bootable snapshot #$snapshot_num" {\n'
    "    menuentry \"If OK, run 'snapper rollback' and reboot.\" { true; }\n  }\nfi\n"
)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (f"{SNAPSHOT}menuentry SLES {{\n{GOOD}}}\n", "SLES"),
        (f"function start {{\n{GOOD}}}\nmenuentry E {{\nstart\n}}\n", "E"),
        (
            (f"function start {{\nlinux $1 root=UUID={ROOT} ro\ninitrd $2\n}}\n"
            f"menuentry E {{\nstart /boot/vmlinuz-{KERNEL} /boot/initrd.img-{KERNEL}\n}}\n"),
            "E",
        ),
        (
            (f"menuentry --class os 'E' --id e /boot/vmlinuz-{KERNEL} {KERNEL} {{\n"
            f"linux $2 root=UUID={ROOT} ro\ninitrd /boot/initrd.img-$3\n}}\n"),
            "E",
        ),
        ((f"menuentry E {{\nset t=$1\nlinux /boot/vmlinuz-{KERNEL} root=UUID={ROOT} t=$t\n"
         f"initrd /boot/initrd.img-{KERNEL}\n}}\n"), "E"),
    ],
)  # fmt: skip
def test_menus_that_start_have_no_finding(text, title):
    assert findings({GRUB_CFG: text}) == set()
    assert chosen({GRUB_CFG: text}) == title


def test_a_function_leaves_the_arguments_of_its_caller_alone():
    text = "function f {\nset x=$1\n}\nmenuentry E two {\nf one\nlinux /k a=$x b=$2 c=$3 root=LABEL=r\n}\n"

    entry = boot.configuration(files_of({GRUB_CFG: text})).default_entry

    assert entry.command_line == "a=one b=two c= root=LABEL=r"


# ----------------------------------------------------------------------------- other boot loaders


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


def pe(**sections):
    """A PE file with these sections."""
    head = b"MZ".ljust(60, b"\0") + (128).to_bytes(4, "little")
    head = head.ljust(128, b"\0") + b"PE\0\0" + (0x8664).to_bytes(2, "little")
    head += (
        len(sections).to_bytes(2, "little")
        + bytes(12)
        + (16).to_bytes(2, "little")
        + bytes(2)
        + bytes(16)
    )
    at, table, data = 4096, b"", b""
    for name, content in sections.items():
        row = f".{name}".encode().ljust(8, b"\0") + len(content).to_bytes(4, "little") + bytes(4)
        row += (
            len(content).to_bytes(4, "little") + (at + len(data)).to_bytes(4, "little") + bytes(16)
        )
        table, data = table + row, data + content
    return (head + table).ljust(at, b"\0") + data


def test_a_unified_kernel_image():
    image = pe(linux=b"kernel", initrd=b"cpio", cmdline=b"root=UUID=1 ro\0", uname=b"6.9.1-arch1")
    configuration = boot.configuration(files_of({"efi/EFI/Linux/arch-6.9.1.efi": image}))

    entry = configuration.default_entry

    assert (configuration.loader, entry.root, entry.version) == ("uki", "UUID=1", "6.9.1-arch1")


@pytest.mark.parametrize("image", [b"", b"MZ", b"MZ" + bytes(100), pe(other=b"x"), pe()[:140]])
def test_what_is_no_unified_kernel_image(image):
    assert boot.configuration(files_of({"efi/EFI/Linux/x.efi": image})) is None


# ------------------------------------------------------------------------------ what is not there


INITRD = f"boot/initrd.img-{KERNEL}"


def with_root(spec):
    """A grub.cfg whose only entry has this root=."""
    return {GRUB_CFG: f"menuentry x {{\n{BAD.replace('/dev/sda1', spec)}}}\n"}


CASES = [
    ("as it should be", {}, set()),
    ("no kernel file", {f"boot/vmlinuz-{KERNEL}": ...}, {"boot-files-missing"}),
    ("no initramfs", {INITRD: ...}, {"boot-files-missing", "kernel-without-initramfs"}),
    (
        "an entry without initrd",
        {GRUB_CFG: f"menuentry x {{ linux /boot/vmlinuz-{KERNEL} root=LABEL=root }}"},
        set(),
    ),
    (
        "an initrd of another name",
        {
            INITRD: ...,
            "boot/initrd.img": trees.cpio(trees.INITRAMFS),
            GRUB_CFG: f"menuentry x {{\n linux /boot/vmlinuz-{KERNEL} root=LABEL=root\n"
            "initrd /boot/initrd.img\n}",
        },
        set(),
    ),
    (
        "microcode that is not there",
        {GRUB_CFG: f"menuentry x {{\n{GOOD}\ninitrd /boot/u.img /boot/initrd.img-{KERNEL}\n}}"},
        {"boot-files-missing"},
    ),
    ("a grub.cfg without entries", {GRUB_CFG: "set timeout=5\n"}, {"boot-no-kernel", "root-device-name?"}),
    ("an empty grub.cfg", {GRUB_CFG: ""}, {"boot-no-kernel", "root-device-name?"}),
    (
        "only Windows in it",
        {GRUB_CFG: "menuentry 'Windows' { chainloader +1 }"},
        {"boot-no-kernel", "root-device-name?"},
    ),
    ("blscfg without entries", {GRUB_CFG: "blscfg\n"}, {"boot-no-kernel", "root-device-name?"}),
    ("no configuration at all", {GRUB_CFG: ...}, {"root-device-name?"}),
    (
        "links in the root",
        {
            GRUB_CFG: "menuentry x {\n linux /vmlinuz root=LABEL=root\ninitrd /initrd.img\n}",
            "vmlinuz": Link(f"boot/vmlinuz-{KERNEL}"),
            "initrd.img": Link(INITRD),
        },
        set(),
    ),
    ("root by name", with_root("/dev/sda1"), {"root-device-name"}),
    ("root by id", with_root("/dev/disk/by-id/ata-X-part1"), {"root-device-name"}),
    ("root by path", with_root("/dev/disk/by-path/pci-0-part1"), {"root-device-name"}),
    ("root by uuid path", with_root(f"/dev/disk/by-uuid/{ROOT}"), set()),
    ("root by label", with_root("LABEL=root"), set()),
    ("root by partition", with_root("PARTUUID=12345678-01"), set()),
    ("root that is not here", with_root(f"UUID={OTHER}"), {"root-not-on-disk"}),
    ("a label that is not here", with_root("LABEL=other"), {"root-not-on-disk"}),
    ("a volume group that is not here", with_root("/dev/mapper/vg-root"), {"root-not-on-disk"}),
    ("root on the network", with_root("/dev/nfs"), set()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "rules"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_what_keeps_a_guest_from_starting(changes, rules):
    assert findings(changes) == rules


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/boot/k", "/boot/k"),
        ("($root)/k", "/boot/k"),
        ("(hd0,msdos1)/boot/k", "/boot/k"),
        ("/@/boot/k", "/boot/k"),
        ("k", "/boot/k"),
        ("/esp/k", "/boot/efi/esp/k"),
        ("/none", None),
    ],
)
def test_where_a_boot_loader_s_path_leads(path, place):
    assert locate(files_of({"boot/k": "x", "boot/efi/esp/k": "x"}), path) == place


def separate_boot(boot_tree, kind="ext2"):
    """A guest whose /boot lies on a volume of its own."""
    debian = disk().trees[0]
    root = {name: content for name, content in debian.items() if not name.startswith("boot/")}
    root |= {"boot": None, "etc/fstab": f"UUID={ROOT} / ext4 rw\nUUID={BOOT} /boot {kind} rw 0 2\n"}
    volume = replace(VOLUME, device="/dev/sda2", partition=2, uuid=BOOT, label=None, type=kind)
    return Disk((VOLUME, volume), (root, boot_tree))


def test_a_separate_boot_is_looked_into():
    debian = disk().trees[0]
    tree = {name[5:]: content for name, content in debian.items() if name.startswith("boot/")}
    tree["grub/grub.cfg"] = tree["grub/grub.cfg"].replace("/boot/", "/")

    assert findings(separate_boot(tree)) == set()


def test_a_separate_boot_that_cannot_be_read_is_named_as_the_cause():
    guest = separate_boot("mount: unknown filesystem type")

    unknown = facts(guest)["unknown"]

    reason = "/boot (/dev/sda2) could not be read: mount: unknown filesystem type"
    assert {unknown[name] for name in ("boot", "boot_root", "kernels", "xen_drivers")} == {reason}
    assert findings(guest) == {
        "boot-no-kernel?",
        "boot-files-missing?",
        "kernel-without-initramfs?",
        "root-device-name?",
        "root-not-on-disk?",
        "boot-other-entries?",
    }


def test_a_separate_boot_on_another_disk_is_named_as_the_cause():
    debian = separate_boot({})
    guest = Disk((VOLUME,), (debian.trees[0],))

    assert facts(guest)["unknown"]["boot"] == f"/boot is on UUID={BOOT}, which is not on this disk"
    assert "fstab-absent-disks" in findings(guest)


def test_files_on_a_volume_that_the_guest_does_not_mount():
    debian = disk().trees[0]
    root = {**debian, f"boot/vmlinuz-{KERNEL}": ...}
    root = {name: content for name, content in root.items() if content is not ...}
    volume = replace(VOLUME, device="/dev/sda2", partition=2, uuid=BOOT, label=None)
    guest = Disk((VOLUME, volume), (root, {f"vmlinuz-{KERNEL}": b"kernel"}))

    assert facts(guest)["boot"]["missing"] == []


@pytest.mark.parametrize(
    ("kernel", "version"),
    [
        ("/boot/vmlinuz-6.1.0-18-amd64", "6.1.0-18-amd64"),
        ("/vmlinuz-5.14.0-70.el9.x86_64", "5.14.0-70.el9.x86_64"),
        ("/0123456789abcdef/6.8.5-301.fc40/linux", "6.8.5-301.fc40"),
        ("/boot/vmlinuz-lts", "lts"),
        ("/boot/Image-6.6", "6.6"),
    ],
)
def test_the_version_of_an_entry_s_kernel(kernel, version):
    assert Entry("x", kernel).version == version


def test_kernel_versions_sort_as_people_do():
    versions = ["6.9.1-amd64", "6.10.0-amd64", "5.15.0-91-generic", "6.9.1-rc2-amd64"]

    assert max(versions, key=version_key) == "6.10.0-amd64"


def test_facts_of_the_configuration():
    found = facts(
        {
            GRUB_CFG: HEADER % "0"
            + MENU.replace(" ro\n", " ro console=tty0 console=ttyS0,115200 net.ifnames=0 rhgb\n")
        }
    )
    loaded = found["boot"]

    assert (loaded["loader"], loaded["config"], loaded["version"]) == (
        "grub2",
        "/boot/grub/grub.cfg",
        "2.06-13+deb12u1",
    )
    assert (loaded["consoles"], loaded["graphical"], loaded["net_ifnames"]) == (
        ["tty0", "ttyS0,115200"],
        True,
        False,
    )
    assert [entry["title"] for entry in loaded["entries"]] == [
        "Good",
        "Bad",
        "Bad, with > in it",
        "Bad at the end",
    ]
    assert TABLE.scheme == "mbr"


@pytest.mark.parametrize(
    ("kernel", "version"),
    [
        ("/0123abcd/6.1.0-9/linux", "6.1.0-9"),
        ("/boot/6.1.0-9/vmlinuz", "6.1.0-9"),
        ("/boot/6.1.0-9/other", "other"),
        ("/boot/tool/linux", ""),
        ("6.1/linux", ""),
        (f"/boot/vmlinuz-{KERNEL}", KERNEL),
    ],
)
def test_a_kernel_s_version_is_in_its_path(kernel, version):
    assert Entry("title", kernel, "", (), "/path").version == version


def test_a_default_far_down_the_menu_is_kept_as_the_last_entry():
    entries = "".join(f"menuentry 'Entry {n}' {{\n {GOOD}}}\n" for n in range(90))
    for default, index in ((0, 0), (63, 63), (64, 63), (80, 63)):
        found = boot.configuration(files_of({GRUB_CFG: f"set default={default}\n{entries}"}))

        assert (found.default, found.default_entry.title) == (index, f"Entry {default}")
        assert len(found.entries) == 64


def words_of(text):
    shell_words = [statement.words for statement in script.parse(text)]
    return [["".join(part.text for part in word) for word in words] for words in shell_words]


def test_the_words_of_a_grub_script():
    assert words_of("echo a\\ b # a comment\nset x='1 # 2'") == [
        ["echo", "a b"],
        ["set", "x=1 # 2"],
    ]
    assert words_of("# first\n\n  linux /vmlinuz\\\n  ro ; initrd /i") == [
        ["linux", "/vmlinuz", "ro"],
        ["initrd", "/i"],
    ]
    assert words_of('echo "two\nlines"') == [["echo", "two\nlines"]]
