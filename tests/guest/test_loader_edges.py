"""Boot loaders' configurations at their edges: names beside the one that is meant, counts, places."""

import pytest
from guests import GRUB_CFG, VOLUME, Disk, Link
from menus import bzimage, pe
from phony import Memory, files_of

from pipeline.guest import boot
from pipeline.guest.boot import bls, grub2, located, uki
from pipeline.guest.boot import bzimage as linux_file
from pipeline.guest.boot.entries import Configuration, Entry
from pipeline.guest.survey import Survey
from pipeline.guest.tree import Files, TreeError
from pipeline.guest.volumes import Volumes

# ------------------------------------------------------------------------------------------- GRUB


def menu(*names):
    return "".join(f"menuentry {name} {{ linux /{name}; }}\n" for name in names)


def grub(text, **tree):
    return boot.configuration(files_of({GRUB_CFG: text, **tree}))


@pytest.mark.parametrize("word", ["group", "menuentries", "menuentr", "submen", "submenus", "zoo"])
def test_other_blocks_are_no_entries(word):
    found = grub(f"{word} X {{ linux /x; menuentry inner {{ linux /i; }}; }}\n{menu('a')}")

    assert [entry.title for entry in found.entries] == ["a"]


@pytest.mark.parametrize("word", ["load_en", "load_envs", "echo", "save_env", "terminal_output"])
def test_other_commands_load_no_environment(word):
    tree = {"boot/grub/grubenv": "saved=b\n"}
    text = f"{word}\nset default=$saved\n" + menu("a", "b")

    assert grub(text, **tree).default_entry.title == "a"
    assert grub(text.replace(word, "load_env"), **tree).default_entry.title == "b"


@pytest.mark.parametrize("word", ["background_color", "blscf", "blscfgs", "echo"])
def test_other_commands_put_no_entries_into_the_menu(word):
    tree = {"boot/loader/entries/b.conf": "title B\nlinux /b\n"}

    assert [x.title for x in grub(f"{word}\n{menu('a')}", **tree).entries] == ["a"]
    assert [x.title for x in grub(f"blscfg\n{menu('a')}", **tree).entries] == ["B", "a"]


@pytest.mark.parametrize(("default", "title"), [("0", "a"), ("1", "B"), ("1>0", "B"), ("2", "c")])
def test_entries_come_into_the_menu_that_asks_for_them(default, title):
    tree = {"boot/loader/entries/b.conf": "title B\nlinux /b\n"}
    text = f"set default='{default}'\n{menu('a')}submenu S {{\nblscfg\n}}\n{menu('c')}"

    assert grub(text, **tree).default_entry.title == title


@pytest.mark.parametrize(
    "text", ["source\n", "if [ -f /q ]; then source; fi\n", "if [ -f /q ]; then . ; fi\n"]
)
def test_a_file_without_a_name_is_not_read(text):
    assert [entry.title for entry in grub(text + menu("a")).entries] == ["a"]


@pytest.mark.parametrize(
    ("head", "title", "name", "second"),
    [
        ("menuentry T", "T", "", ""),
        ("menuentry T S", "T", "", "S"),
        ("menuentry --id i T S", "T", "i", "S"),
        ("menuentry T --id i S", "T", "i", "S"),
        ("menuentry T --id=i S", "T", "i", "S"),
        ("menuentry --id=i --id j T", "T", "j", ""),
        ("menuentry --id i --id=j T", "T", "j", ""),
        ("menuentry --class --id T S", "T", "", "S"),
        ("menuentry --unrestricted T S --class c", "T", "", "S"),
        ("menuentry --hotkey h --users u --source s T S", "T", "", "S"),
        ("menuentry T S --id", "T", "", "S"),
        ("menuentry", "", "", ""),
    ],
)
def test_the_words_before_an_entry_s_brace(head, title, name, second):
    (entry,) = grub(f"{head} {{ linux /k$2 }}\n").entries

    assert (entry.title, entry.id, entry.kernel) == (title, name, f"/k{second}")


@pytest.mark.parametrize(
    ("default", "title"),
    [("", "e00"), ("0", "e00"), ("1", "e01"), ("62", "e62"), ("63", "e63"), ("64", "e64"), ("65", "e65"),
     ("69", "e69"), ("70", "e00"), ("71", "e00"), ("999999", "e00"), ("e66", "e66"), ("e70", "e00")],
)  # fmt: skip
def test_the_default_among_seventy_entries(default, title):
    names = [f"e{number:02}" for number in range(70)]

    found = grub(f"set default={default}\n{menu(*names)}")

    assert found.default_entry.title == title
    assert len(found.entries) == 64
    last = max("e63", title)
    assert [entry.title for entry in found.entries] == [*names[:63], last]


@pytest.mark.parametrize(
    ("default", "title"),
    [
        ("0", "a"),
        ("1", "b"),
        ("b", "b"),
        ("2", None),
        ("3", None),
        ("c", "c"),
        ("4", None),
        ("d", None),
    ],
)
def test_an_entry_behind_those_that_nobody_can_count(default, title):
    text = f"set default={default}\n{menu('a', 'b')}for i in hd*; do {menu('c')}done\n{menu('e')}"

    if title:
        assert grub(text).default_entry.title == title
    else:
        with pytest.raises(TreeError, match=r"shows only when GRUB runs: a loop goes over hd\*"):
            grub(text)


@pytest.mark.parametrize(
    ("body", "sure"),
    [
        ("if [ -f /q ]; then linux /k root=a root=x; else linux /k root=b root=x; fi", True),
        ("if [ -f /q ]; then linux /k root=x root=a; else linux /k root=x root=b; fi", False),
        ("if [ -f /q ]; then linux /k root=a ro; else linux /k root=a rw; fi", True),
        ("if [ -f /q ]; then linux /k; else linux /k root=a; fi", False),
        ("if [ -f /q ]; then linux /j; else linux /k; fi", False),
        ("if [ -f /q ]; then linuxefi /k; else linux16 /k; fi", True),
        ("if [ -f /q ]; then linux /k; fi", True),
    ],
)
def test_ways_of_an_entry_that_agree_are_sure(body, sure):
    text = f"menuentry E {{\n{body}\n}}\n"

    if sure:
        assert grub(text).default_entry.kernel == "/k"
    else:
        with pytest.raises(TreeError, match="what E starts shows only when GRUB runs"):
            grub(text)


def test_seven_submenus_in_one_another_are_entered():
    for depth, titles in ((7, ["in"]), (8, []), (9, [])):
        text = "submenu s {\n" * depth + menu("in") + "}\n" * depth
        assert [entry.title for entry in grub(text).entries] == titles


def test_commands_of_an_entry_that_only_begin_like_others():
    body = "linuxx /no\nlinux\ninitrds /no\nmodules /no\nlinux /k a 'b c'\ninitrd --x /i\ninitrd16 /j\n"

    (entry,) = grub(f"menuentry E {{\n{body}}}\n").entries

    assert (entry.kernel, entry.command_line, entry.initramfs) == ("/k", 'a "b c"', ("/i", "/j"))


# ------------------------------------------------------------------ what comes instead of the default


def volumes_of(tree):
    guest = Disk((VOLUME,), (tree,))
    return Volumes(Survey(guest.table, guest.volumes, (), (), truncated=False), guest)


@pytest.mark.parametrize(
    ("default", "fallbacks", "index", "how", "given_up"),
    [
        (1, (0, 2), 1, "default", ()),
        (2, (1,), 1, "fallback of default", ("e2: /boot/gone is not there",)),
        (0, (2, 1), 1, "fallback of default",
         ("e0: it starts no kernel", "e2: /boot/gone is not there")),
        (0, (2,), 0, "default", ()),
        (2, (), 2, "default", ()),
    ],
)  # fmt: skip
def test_what_starts_where_the_default_cannot(default, fallbacks, index, how, given_up):
    entries = (Entry("e0", None), Entry("e1", "/boot/k"), Entry("e2", "/boot/gone"))
    found = Configuration("grub2", "/grub.cfg", entries, default, "default", fallbacks)
    tree = {"boot/k": "k"}

    ends = located.falling_back(files_of(tree), volumes_of(tree), found, frozenset())

    told = tuple(words.partition(" (named")[0] + words.partition(")")[2] for words in ends.given_up)
    assert (ends.default, ends.chosen_by, told) == (index, how, given_up)


@pytest.mark.parametrize("default", [None, 0, 1, 2])
def test_every_entry_but_the_default_is_advice(default):
    entries = tuple(Entry(f"e{n}", "/k", f"root=/dev/sd{'abc'[n]}1") for n in range(3))
    found = Configuration("grub2", "/grub.cfg", entries, default)

    told = located.problems_of_others(found, lambda root: root != "/dev/none")

    assert told == tuple(f"e{n}: root=/dev/sd{'abc'[n]}1" for n in range(3) if n != default)


def test_a_file_that_may_be_on_a_volume_that_cannot_be_read_is_the_first_that_is_missing():
    some = volumes_of("it is broken")
    entry = Entry("e", "/first", initramfs=("/second",), source="/grub.cfg")

    with pytest.raises(
        TreeError, match=r"^/first may be on /dev/sda1, which could not be read: it is"
    ):
        located.missing(files_of({}), some, entry, frozenset())


def test_eight_files_of_an_entry_are_looked_for():
    entry = Entry("e", "/k", initramfs=tuple(f"/i{n}" for n in range(9)), source="/grub.cfg")

    found = located.missing(files_of({}), volumes_of({}), entry, frozenset())

    names = [words.partition(" ")[0] for words in found]
    assert names == ["/k", *(f"/i{n}" for n in range(7))]


# ------------------------------------------------- entries of the Boot Loader Specification, UKIs


@pytest.mark.parametrize(
    ("value", "title"),
    [('"a b"', "a b"), ('""', ""), ('"', '"'), ('a"', 'a"'), ('"a', '"a'), ('!a"', '!a"'), ("aba", "aba"),
     ("!a!", "!a!"), ('"a" "b"', 'a" "b')],
)  # fmt: skip
def test_quotes_around_a_value(value, title):
    (entry,) = bls.grub_entries(
        files_of({"boot/loader/entries/a.conf": f"title {value}\nlinux /k\n"}), {}
    )

    assert entry.title == title


@pytest.mark.parametrize(
    ("tries", "first"),
    [("+1", "b-2.conf"), ("+1-9", "b-2.conf"), ("+0-1", "a-1.conf"), ("+0", "a-1.conf"),
     ("+00-2", "a-1.conf"), ("+10-0", "b-2.conf")],
)  # fmt: skip
def test_what_has_no_try_left_is_last(tries, first):
    tree = {
        "efi/loader/entries/a-1.conf": "linux /a\n",
        f"efi/loader/entries/b-2{tries}.conf": "linux /b\n",
    }

    (found,) = bls.systemd_boot(files_of(tree))

    assert found.entries[0].id == first


def moved(program, at):
    """The same program with its PE header, and the table behind it, somewhere else."""
    return program[:60] + at.to_bytes(4, "little") + bytes(at - 64) + program[128:]


@pytest.mark.parametrize("at", [64, 65, 84, 126, 127, 129, 131, 148, 150, 300, 511, 1023])
def test_a_pe_header_may_stand_anywhere(at):
    image = pe(linux=b"k" * 300, cmdline=b"ro", initrd=b"i" * 9)
    tree = {"a": image, "b": moved(image, at)}

    found = uki.sections(files_of(tree), "/b")

    assert found == uki.sections(files_of(tree), "/a")
    assert {name: section.size for name, section in found.items()} == {
        ".linux": 300,
        ".cmdline": 2,
        ".initrd": 9,
    }


def test_ninety_six_sections_are_looked_at():
    names = [f"s{number:03}" for number in range(100)]
    image = pe(**dict.fromkeys(names, b"x"))

    found = uki.sections(files_of({"a": image}), "/a")

    assert list(found) == [f".{name}" for name in names[:96]]


@pytest.mark.parametrize("start", [0, 16, 0x200, 0x201, 0x300, 0x6FF])
@pytest.mark.parametrize("at", [0x10, 0x200, 0x201, 0x2FF, 0x1234])
def test_a_kernel_s_version_may_stand_anywhere(start, at):
    tree = {"k": b"x" * start + bzimage("6.1.0-50-amd64", at)}

    assert linux_file.version(files_of(tree), "/k", start) == "6.1.0-50-amd64"


# ------------------------------------------------------------------------------------ paths and trees


class Strict(Memory):
    """A file system that is never asked for nothing, nor for what is behind a file's end."""

    def read(self, path, offset, length):
        size = self.stat("/", [path])[0].size
        assert 0 <= offset < offset + length <= size, (path, offset, length)
        return super().read(path, offset, length)


@pytest.mark.parametrize("offset", [0, 1, 3, 4, 5, 6, 7, 8, 300, 514, 515, 516, 1000])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 515, 600])
def test_no_more_is_asked_for_than_there_is(offset, length):
    content = bytes(range(256)) * 2 + b"end"
    files = Files(Strict({"f": content, "empty": ""}))

    assert files.read_at("/f", offset, length) == content[offset : offset + length]
    assert files.read("/f", length) == content[:length]
    assert files.read_at("/empty", offset, length) == b""
    assert files.read("/empty", length) == b""


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/a/b/c/../x", "/a/b/x"),
        ("/a/b/c/../../y", "/a/y"),
        ("/a/b/c/d/../../../y", "/a/y"),
        ("/a/../a/y", "/a/y"),
        ("/../../a/y", "/a/y"),
        ("/l/../x", "/a/b/x"),
        ("/a/b/x/..", None),
        ("/a/b/x/../x", None),
    ],
)
def test_a_step_up_is_one_step(path, place):
    tree = {"a/b/c/d/z": "", "a/b/x": "", "a/y": "", "l": Link("a/b/c")}

    found = files_of(tree).find(path)

    assert (found and found.guest_path) == place


def test_grub_s_own_place_is_found_before_a_vendor_s():
    tree = {GRUB_CFG: menu("a"), "boot/efi/EFI/x/grub.cfg": menu("b"), "grub/grub.cfg": menu("c")}

    found = grub2.configurations(files_of(tree))

    assert [each.path for each in found] == [
        "/boot/grub/grub.cfg",
        "/grub/grub.cfg",
        "/boot/efi/EFI/x/grub.cfg",
    ]
