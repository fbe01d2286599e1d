"""GRUB: which entry starts, what grub.cfg's words and conditions come to, and what is given up."""

import pytest
from guests import (
    GRUB_CFG,
    KERNEL,
    ROOT,
    TABLE,
    facts,
    findings,
)
from menus import BAD, GOOD, HEADER, MENU, SAVED, chosen
from phony import files_of

from pipeline.guest import boot
from pipeline.guest.boot import script, shell


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
