"""Paths within a guest: links are followed inside, traps are not touched, limits hold."""

import os

import pytest
from guests import facts
from hypothesis import given
from hypothesis import strategies as st
from phony import Directory, builder, files_of, planted

from pipeline.guest.tree import MAX_EFFORT, Entry, Files

disks = builder("guest_disks")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "outside").write_text("secret of the host")
    return tmp_path / "root"


@pytest.mark.parametrize(
    "target",
    [
        "../usr/lib/real",
        "/usr/lib/real",
        "../../../../usr/lib/real",
        "../lib64/real",
        "./x/../../usr/lib/real",
    ],
)
def test_links_lead_where_the_guest_would_go(root, target):
    tree = {
        "usr/lib/real": "text",
        "lib64": disks.Link("usr/lib"),
        "etc/x": None,
        "etc/link": disks.Link(target),
    }

    files = planted(root, tree)

    assert files.text("/etc/link") == "text"


@pytest.mark.parametrize("target", ["../../outside", "/../outside", "../" * 40 + "outside"])
def test_links_never_leave_the_guest(root, target):
    files = planted(root, {"etc/link": disks.Link(target)})

    assert files.text("/etc/link") is None


@pytest.mark.parametrize(
    "tree",
    [
        {"etc/link": disks.Link("link")},
        {"etc/link": disks.Link("other"), "etc/other": disks.Link("/etc/link")},
        {"etc/file": "x", "etc/link": disks.Link("file/below")},
        {"etc/link": disks.Link("missing")},
        {"etc/link": None},
        {"etc/link": disks.Fifo()},
    ],
    ids=["itself", "loop", "through a file", "dangling", "directory", "FIFO"],
)
def test_what_is_no_file_has_no_text(root, tree):
    files = planted(root, tree)

    assert files.text("/etc/link") is None
    assert files.is_file("/etc/link") is False


def test_a_huge_file_is_read_up_to_the_limit(root):
    files = planted(root, {"etc/huge": disks.Sparse(1 << 40)})

    assert files.read("/etc/huge", 1000) == bytes(1000)
    assert len(files.text("/etc/huge") or "") == 256 * 1024


def test_bytes_that_are_no_text_become_escapes(root):
    files = planted(root, {"etc/name": b"caf\xe9\n"})

    assert files.text("/etc/name") == "caf\\xe9\n"


def test_other_file_systems_at_their_mount_points(tmp_path):
    files = planted(tmp_path / "root", {"boot": None, "boot/hidden": "x", "etc/a": "1"})
    disks.plant(tmp_path / "boot", {"grub/grub.cfg": "menu", "up": disks.Link("../etc/a")})
    disks.plant(tmp_path / "btrfs", {"@home/user/file": "mine"})
    files.attach("/boot", Directory(tmp_path / "boot"))
    files.attach("/home", Directory(tmp_path / "btrfs"), "/@home")

    assert files.names("/boot") == ["grub", "up"]
    assert files.text("/boot/grub/grub.cfg") == "menu"
    assert files.text("/boot/up") == "1"
    assert files.text("/home/user/file") == "mine"
    assert files.entry("/boot/hidden") is None


def test_many_names_are_one_question(root):
    class Counting(Directory):
        asked = 0

        def stat(self, directory, names):
            self.asked += 1
            return super().stat(directory, names)

    planted(root, {"etc/a": "1", "etc/b": "2"})
    tree = Counting(root)
    files = Files(tree)

    files.prefetch("/etc", ["a", "b", "c"])
    before = tree.asked

    assert [files.is_file(f"/etc/{name}") for name in "abc"] == [True, True, False]
    assert tree.asked == before


PARTS = st.lists(st.sampled_from(["a", "b", "..", ".", "", "link", "up", "abs"]), max_size=8)


@given(path=PARTS, target=PARTS)
def test_no_path_leads_out(tmp_path_factory, path, target):
    # given a tree whose links point anywhere, and a file beside the guest that no path may reach
    base = tmp_path_factory.mktemp("paths")
    (base / "a").write_text("outside")
    links = {
        "a/link": disks.Link("/".join(target) or "."),
        "a/up": disks.Link("../.."),
        "b/abs": disks.Link("/a"),
    }
    files = planted(base / "root", {**links, "a/b": "inside"})

    found = files.find("/" + "/".join(path))

    if found is not None:
        assert os.path.realpath(f"{base}/root{found.path}").startswith(f"{base}/root")
        assert isinstance(found.entry, Entry)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("etc/ssh/sshd_config", "Include /*/*/*\n"),
        ("etc/network/interfaces", "source /*/*/*\nsource-directory /*/*\n"),
    ],
)
def test_a_configuration_that_leads_to_everything_is_given_up(path, line):
    many = {f"d{a}/e{b}/f{c}": "" for a in range(30) for b in range(30) for c in range(2)}

    few = facts({**many, path: line * 3})["unknown"]
    unknown = facts({**many, path: line * 5000})["unknown"]

    assert not few
    assert unknown["network"] == f"the guest's files lead to more than {MAX_EFFORT} others"


def test_looks_listings_and_readings_are_all_counted():
    files = files_of({"a": "", "big": "x" * 70000, **{f"many/{n}": "" for n in range(1000)}})

    def spent(question):
        before = files.effort
        question()
        return files.effort - before

    assert spent(lambda: files.entry("/a")) == 1
    assert spent(lambda: files.names("/many")) == 1 + 1000 // 100
    assert spent(lambda: files.names("/many")) == 1  # they are known
    assert spent(lambda: files.read("/big")) == 1 + 70000 // 4096


def test_a_path_longer_than_a_system_takes_leads_nowhere():
    files, way = files_of({"file": "x"}), "/." * 2045

    assert files.text(f"{way}/file") == "x"  # 4095 characters
    assert files.text(f"{way}//file") is None


def test_directories_with_many_names_are_no_configuration_that_leads_to_everything():
    names = (
        "boot/efi/EFI/v%d/grub.cfg", "boot/vmlinuz-6.1.%d", "boot/loader/entries/%d.conf",
        "etc/ssh/%d", "etc/netplan/%d.yaml", "home/u%d/x", "etc/systemd/system/%d.service",
        "lib/modules/6.%d/x",
    )  # fmt: skip

    assert not facts({name % number: "" for name in names for number in range(3000)})["unknown"]
