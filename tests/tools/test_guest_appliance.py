"""The appliance on a hostile disk, and its end: one launch serves most of these tests."""

import os
import re
import threading
import time
from pathlib import Path

import pytest
from phony import builder, watching

from pipeline import formats
from pipeline.errors import Interrupted, ToolError
from pipeline.guest import facts, survey
from pipeline.guest.tree import Files, TreeError
from pipeline.source import Source
from pipeline.stage import Cancellation
from pipeline.tools import nbd
from pipeline.tools.appliance import launch as guest
from pipeline.tools.appliance import quick

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.needs(
        "qemu-nbd", "qemu-system-x86_64", "supermin", "mke2fs", "debugfs", "zstd", "sfdisk"
    ),
    pytest.mark.timeout(400),
]


def processes_about(directory: Path) -> list[str]:
    """Command lines of programs that name a directory and do not end within seconds."""
    deadline = time.monotonic() + 5
    while (found := running(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def running(directory: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes()
        except OSError:
            continue
        if os.fsencode(directory) in line:
            found.append(line.decode(errors="replace"))
    return found


def sockets_of(directory: Path) -> set[str]:
    """Where the appliances that work in a directory have their sockets: for root, elsewhere."""
    words = " ".join(running(directory)).replace("\0", " ")
    return set(re.findall(r"path=(\S+)/guestfsd\.sock", words))


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    """A disk that is a qcow2 overlay for whoever guesses, told to be raw and read as such."""
    directory = tmp_path_factory.mktemp("hostile")
    scratch = tmp_path_factory.mktemp("scratch")
    image = builder().build("hostile", directory)
    canary = directory / "canary"
    canary.write_bytes(b"a file of the host".ljust(1 << 20, b"!"))
    before = (image.read_bytes(), canary.read_bytes())

    class Seen:
        pass

    seen = Seen()
    with watching().Watch(directory) as watch, Source.open(image) as source:
        seen.nested = formats.nested(source)
        container = {"format": "raw", "virtual_size": source.size}
        found = survey.survey(source)
        with (
            nbd.serve(source, container, scratch=scratch) as server,
            guest.open_appliance(server, scratch=scratch) as appliance,
        ):
            seen.facts = facts.collect(found, appliance)
            tree = appliance.mount("/dev/sda1", "ext4")
            seen.opened = watch.seen()
            seen.files = Files(tree)
            seen.unchanged = before == (image.read_bytes(), canary.read_bytes())
            seen.appliance, seen.tree, seen.scratch = appliance, tree, scratch
            yield seen
            sockets = sockets_of(scratch)
    assert len(sockets) == 1
    assert not any(map(os.path.exists, sockets))
    assert os.listdir(scratch) == []
    assert processes_about(scratch) == []


def test_no_file_of_the_host_was_opened(looked_at):
    assert looked_at.nested is not None  # the stage would not even have come so far
    assert "canary" not in looked_at.opened
    assert looked_at.unchanged


def test_the_guest_was_read_all_the_same(looked_at):
    found = looked_at.facts

    assert (found["os"], found["distro"], found["arch"]) == ("linux", "debian", "x86_64")
    assert found["product_name"] == "D\\x1b[31mred\\xff\\xfe"
    assert found["fstab_by_name"] == ["/dev/sda1 on /x\\x1b]0;pwned\\x07"]
    assert "\x1b" not in str(found)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/machine-id", "other"),
        ("/etc/hostname", "other"),
        ("/etc/adjtime", "other"),
        ("/etc/passwd", "link"),
        ("/etc/cloud/cloud.cfg", "link"),
    ],
)
def test_fifos_devices_and_loops_are_not_read(looked_at, path, kind):
    begin = time.monotonic()

    assert looked_at.files.entry(path, follow=False).kind == kind
    assert looked_at.files.text(path) is None
    assert time.monotonic() - begin < 5


def test_a_file_of_a_tebibyte_is_read_up_to_a_limit(looked_at):
    assert looked_at.files.entry("/etc/shadow").size == 1 << 40
    assert looked_at.files.read("/etc/shadow", 4096) == bytes(4096)
    assert sum(path.stat().st_blocks * 512 for path in looked_at.scratch.rglob("*")) < 64 << 20


def test_names_that_are_no_text_are_left_out(looked_at):
    assert looked_at.files.names("/etc/ssh") == ["sshd_config"]


def test_nothing_can_be_written(looked_at):
    options = looked_at.tree._channel

    with pytest.raises(TreeError, match="write"):
        options.ask("write", path="/x", content="y")


def test_a_wrong_question_is_an_answer_and_the_appliance_goes_on(looked_at):
    with pytest.raises(TreeError):
        looked_at.appliance.mount("/dev/sda9", "ext4")
    with pytest.raises(TreeError):
        looked_at.tree.names("/no/such/directory")

    assert looked_at.files.is_file("/etc/fstab.real")


def test_a_stop_ends_a_launch_at_once_and_leaves_nothing(tmp_path_factory):
    image = tmp_path_factory.mktemp("blank") / "disk"
    image.write_bytes(bytes(1 << 20))
    scratch = tmp_path_factory.mktemp("stop")  # short enough to be libguestfs' own directory
    cancellation = Cancellation()
    sockets: set[str] = set()

    def stop_when_qemu_runs() -> None:
        deadline = time.monotonic() + guest.LAUNCH_TCG_S
        while not sockets and time.monotonic() < deadline:
            sockets.update(sockets_of(scratch))
            time.sleep(0.05)
        cancellation.set(2)

    threading.Thread(target=stop_when_qemu_runs, daemon=True).start()

    with (
        Source.open(image) as source,
        nbd.serve(source, {"format": "raw", "virtual_size": 1 << 20}, scratch=scratch) as server,
        pytest.raises(Interrupted),
        guest.open_appliance(server, scratch=scratch, cancellation=cancellation),
    ):
        pytest.fail("the launch was not interrupted")

    assert len(sockets) == 1
    assert not any(map(os.path.exists, sockets))
    assert os.listdir(scratch) == []
    assert processes_about(scratch) == []


def test_a_launch_ends_at_its_time_limit_and_leaves_nothing(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(guest, "LAUNCH_KVM_S", 0.3)
    monkeypatch.setattr(guest, "LAUNCH_TCG_S", 0.3)
    image = tmp_path_factory.mktemp("blank") / "disk"
    image.write_bytes(bytes(1 << 20))
    scratch = tmp_path_factory.mktemp("limit")
    before = quick.quick()

    with (
        Source.open(image) as source,
        nbd.serve(source, {"format": "raw", "virtual_size": 1 << 20}, scratch=scratch) as server,
        pytest.raises(ToolError) as caught,
        guest.open_appliance(server, scratch=scratch),
    ):
        pytest.fail("it started within the limit")

    assert (caught.value.code, caught.value.exit_code) == ("guest-timeout", 3)
    assert (
        quick.quick() == before
    )  # that neither way started in time says nothing against the quick one
    assert os.listdir(scratch) == []
    assert processes_about(scratch) == []


def test_an_appliance_that_cannot_start_says_why(tmp_path, monkeypatch):
    # given a fixed appliance that is none
    for name in ("README.fixed", "kernel", "initrd", "root"):
        (tmp_path / name).write_bytes(b"rubbish")
    monkeypatch.setenv("LIBGUESTFS_PATH", str(tmp_path))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    image = tmp_path / "blank"
    image.write_bytes(bytes(1 << 20))

    with (
        Source.open(image) as source,
        nbd.serve(source, {"format": "raw", "virtual_size": 1 << 20}, scratch=scratch) as server,
        pytest.raises(ToolError) as caught,
        guest.open_appliance(server, scratch=scratch),
    ):
        pytest.fail("it started")

    assert (caught.value.code, caught.value.exit_code) == ("guest-launch-failed", 3)
    assert "the appliance did not start" in caught.value.message
    assert os.listdir(scratch) == []
