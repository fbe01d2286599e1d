"""The direct reader's child: what it may, what becomes of one that misbehaves, and what is kept from it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import google_crc32c
import pytest
from phony import builder

from pipeline.content import filesystems
from pipeline.content.joined import Joined
from pipeline.errors import Interrupted
from pipeline.guest import facts
from pipeline.guest.survey import Volume, survey
from pipeline.guest.tree import Files, TreeError
from pipeline.source import Source
from pipeline.stage import Cancellation
from pipeline.tools import seccomp
from pipeline.tools.reader import child, client, gates
from pipeline.tools.reader.child import UnableError
from pipeline.tools.rungs import Ladder

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.needs("setpriv", "prlimit", "module:pyfsext", "module:pyregf")

# ------------------------------------------------------------------------------ inside the child

INSIDE = """
import ctypes, json, mmap, os, socket, sys
from pipeline.tools.reader import lock
end = socket.socket(fileno=int(sys.argv[1]))
locked = lock.engage(end.fileno(), bytes.fromhex(sys.argv[2]))
libc = ctypes.CDLL(None, use_errno=True)
def outcome(act):
    try:
        return f"did it: {act()}"
    except OSError as error:
        return type(error).__name__
acts = {
    "open": lambda: open("/etc/hostname").read(),
    "open by libc": lambda: libc.open(b"/etc/hostname", 0),
    "write": lambda: open("/tmp/new-file", "w"),
    "listdir": lambda: os.listdir("/"),
    "stat": lambda: os.stat("/"),
    "fork": os.fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "pair": socket.socketpair,
    "pass a descriptor": lambda: socket.send_fds(end, [b"x"], [end.fileno()]),
    "kill": lambda: os.kill(os.getppid(), 0),
    "read another descriptor": lambda: os.read(0, 1),
    "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
}
found = {name: outcome(act) for name, act in acts.items()}
found["memory"] = len(mmap.mmap(-1, 4096))
found["locked"] = locked
os.write(end.fileno(), json.dumps(found).encode())
os._exit(0)
"""


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
USERS = {"ourselves": ()} | ({"nobody": NOBODY} if os.geteuid() == 0 else {})


@pytest.mark.parametrize("user", USERS)
def test_a_locked_child_can_do_nothing_but_talk(user):
    ours, theirs = socket.socketpair()
    rules = seccomp.descriptor_only(theirs.fileno())
    argv = [*USERS[user], sys.executable, "-c", INSIDE, str(theirs.fileno()), rules.hex()]
    subprocess.run(argv, pass_fds=(theirs.fileno(),), cwd=ROOT, timeout=60, check=True)

    found = json.loads(ours.recv(1 << 16))

    assert found.pop("locked") is True
    assert found.pop("memory") == 4096
    assert found.pop("open by libc") == "did it: -1"
    assert set(found.values()) == {"PermissionError"}, found


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    return builder().build("debian", tmp_path_factory.mktemp("debian"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return builder().build("two-systems", tmp_path_factory.mktemp("two"))


def tree_of(source, reader, number=0):
    return reader.mount(survey(source).volumes[number])


@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_the_running_child_is_locked_and_holds_its_socket_alone(debian):
    with Source.open(debian) as source, client.open_reader(source) as reader:
        tree_of(source, reader)
        [pid] = children("tools.reader.worker")
        status = Path(f"/proc/{pid}/status").read_text()

        assert re.search(r"^Seccomp:\s*2$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE)
        assert len(os.listdir(f"/proc/{pid}/fd")) == 1
        assert Path(f"/proc/{pid}/limits").read_text().count(str(512 << 20)) == 2


def children(words: str) -> list[int]:
    """Our own descendants whose command line holds these words and that run Python by now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")  # others' arguments may be anything
            parent = int(path.with_name("stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if (
            words in line
            and parent == os.getpid()
            and not line.startswith(("setpriv", "/usr/bin/s"))
        ):
            found.append(int(path.parent.name))
    return found


# ----------------------------------------------------------------------- a child that misbehaves


@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_a_child_that_dies_loses_one_volume_and_a_new_one_reads_the_others(two):
    with Source.open(two) as source, client.open_reader(source) as reader:
        first, second = tree_of(source, reader, 0), tree_of(source, reader, 1)
        [pid] = children("tools.reader.worker")
        os.kill(pid, signal.SIGSEGV)

        with pytest.raises(UnableError, match="ended"):
            first.names("/")
        assert "etc" in second.names("/")
        with pytest.raises(UnableError, match="ended"):
            first.names("/")


@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_a_child_that_hangs_is_given_up(debian, monkeypatch):
    with Source.open(debian) as source, client.open_reader(source) as reader:
        tree = tree_of(source, reader)
        monkeypatch.setattr(child, "QUESTION_S", 0.3)
        [pid] = children("tools.reader.worker")
        os.kill(pid, signal.SIGSTOP)

        with pytest.raises(UnableError, match="in time"):
            tree.names("/")
        assert children("tools.reader.worker") == []


@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_a_stop_is_heard_while_the_child_is_silent(debian):
    stop = Cancellation()
    with Source.open(debian) as source, client.open_reader(source, cancellation=stop) as reader:
        tree = tree_of(source, reader)
        [pid] = children("tools.reader.worker")
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(0.2, stop.set, (2,)).start()

        with pytest.raises(Interrupted):
            tree.names("/")


HELLO = """
import os, sys, time, struct, json
fd = int(sys.argv[2])
os.read(fd, 1 << 16)
def say(kind, payload):
    os.write(fd, struct.pack("<cI", kind, len(payload)) + payload)
say(b"A", json.dumps({"value": {"locked": True, "version": "1"}}).encode())
"""
MISBEHAVIOUR = {
    "an endless loop": ("while True: pass", "in time|crashed"),
    "all the memory": ("x = [b'x' * (1 << 20) for _ in range(1 << 20)]", "crashed"),
    "a range of no volume": (
        "os.read(fd, 999); say(b'R', struct.pack('<IQI', 7, 0, 512)); time.sleep(60)",
        "must not have",
    ),
    "a range too long": (
        "os.read(fd, 999); say(b'R', struct.pack('<IQI', 0, 0, 1 << 31)); time.sleep(60)",
        "must not have",
    ),
    "no frame": ("os.read(fd, 999); os.write(fd, b'rubbish' * 9); time.sleep(60)", "too much"),
    "no JSON": ("os.read(fd, 999); say(b'A', b'{' * 100000); time.sleep(60)", "nonsense"),
    "a wrong answer": (
        "while True:\n os.read(fd, 999); say(b'A', b'{\"value\": [[1, 2]]}')",
        "nonsense",
    ),
    "a silent end": ("os._exit(0)", "crashed|closed"),
}


@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_whatever_a_child_does_is_no_more_than_a_volume_unread(what, debian, monkeypatch, tmp_path):
    code, said = MISBEHAVIOUR[what]
    (tmp_path / "misbehaving.py").write_text(HELLO + code)
    monkeypatch.setattr(child, "WORKER", "misbehaving")
    monkeypatch.setattr(child, "_places", lambda: [str(tmp_path)])
    monkeypatch.setattr(child, "QUESTION_S", 3.0)
    monkeypatch.setattr(child, "LIMITS", replace(child.LIMITS, cpu_s=1))

    with (
        Source.open(debian) as source,
        client.open_reader(source) as reader,
        pytest.raises(UnableError, match=said),
    ):
        tree_of(source, reader).names("/")


@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_threads_that_ask_at_once_get_each_its_own_answer(debian):
    paths = ("/etc/fstab", "/etc/shadow", "/etc/passwd", "/usr/lib/os-release") * 25
    with Source.open(debian) as source, client.open_reader(source) as reader:
        seen = survey(source)
        tree = Ladder(seen, reader, None).mount(seen.volumes[0].device, "ext4")
        alone = [tree.read(path, 0, 1000) for path in paths]

        with ThreadPoolExecutor(4) as threads:
            together = list(threads.map(lambda path: tree.read(path, 0, 1000), paths))

    assert together == alone
    assert len(set(alone)) == 4


@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_a_child_that_is_not_locked_is_used_only_when_asked_for(debian, monkeypatch):
    monkeypatch.setattr(seccomp, "descriptor_only", lambda _descriptor: None)
    with Source.open(debian) as source:
        with client.open_reader(source) as reader, pytest.raises(UnableError, match="confined"):
            tree_of(source, reader)
        with client.open_reader(source, unlocked=True) as reader:
            assert "etc" in tree_of(source, reader).names("/")


@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_a_missing_library_is_said(debian, monkeypatch):
    monkeypatch.setattr(child, "LIBRARIES", ("no_such_library",))
    with (
        Source.open(debian) as source,
        client.open_reader(source) as reader,
        pytest.raises(UnableError, match="no_such_library is not installed"),
    ):
        tree_of(source, reader)


def test_it_can_be_tried_without_a_disk():
    assert client.try_out() is True


# -------------------------------------------------------------------------------- hostile guests


@pytest.mark.needs("mke2fs", "sfdisk", "debugfs", "zstd")
def test_traps_are_answered_as_by_the_appliance(tmp_path):
    image = builder().build("hostile", tmp_path)
    with Source.open(image) as source, client.open_reader(source) as reader:
        tree = tree_of(source, reader)
        files = Files(tree)
        begin = time.monotonic()

        for path in ("/etc/passwd", "/etc/cloud/cloud.cfg", "/etc/network/interfaces"):
            assert files.text(path) is None
        nodes = ("machine-id", "hostname", "adjtime")  # FIFO, character device, block device
        assert {item.kind for item in tree.stat("/etc", nodes)} == {"other"}
        assert [files.text(f"/etc/{name}") for name in nodes] == [None] * 3
        assert files.entry("/etc/shadow").size == 1 << 40
        assert files.read("/etc/shadow", 4096) == bytes(4096)
        assert files.names("/etc/ssh") == ["sshd_config"]
        with pytest.raises(TreeError):
            tree.names("/no/such/directory")
        assert time.monotonic() - begin < 30


@pytest.mark.needs("mke2fs", "debugfs")
def test_a_directory_with_a_slash_in_a_name_is_not_listed(tmp_path):
    disks = builder("guest_disks")
    path = disks.ext4(tmp_path / "volume", 16, {"etc/hostname": "guest\n"}, ROOT_UUID)
    disks.tool(
        "debugfs", "-w", "-R", "mknod /etc/hosts c 1 5", path
    )  # of the very name, in the root
    with Source.open(path) as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        with pytest.raises(UnableError, match="slash"):
            tree.names("/")
        assert tree.names("/etc") == ["hostname"]
        assert tree.read("/etc/hostname", 0, 100) == b"guest\n"


@pytest.mark.needs("mke2fs", "debugfs")
def test_a_directory_of_a_million_names_costs_no_more_than_its_own_names(tmp_path):
    path = builder("guest_traps").TRAPS["million-names"](tmp_path / "volume")
    with Source.open(path) as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        with pytest.raises(UnableError, match="more than 100000 entries"):
            tree.names("/many")
        assert [bool(item) for item in tree.stat("/many", ["00999999", "01000000"])] == [
            True,
            False,
        ]
        assert tree.names("/small") == ["file"]
        assert tree.read("/etc/hostname", 0, 100) == b"guest\n"
        assert reader._starts == 1


def marked_as_a_leaf(volume: Path, directory: str) -> None:
    """What the kernel leaves at the end of an index's root, which was the directory's first leaf."""
    tool = builder("guest_disks").tool
    inode = tool("debugfs", "-R", f"stat {directory}", volume)
    number, generation = (
        int(re.search(rf"{name}:\s+(\d+)", inode)[1]).to_bytes(4, "little")
        for name in ("Inode", "Generation")
    )
    at = int(tool("debugfs", "-R", f"bmap {directory} 0", volume)) * 4096
    with volume.open("r+b") as file:
        file.seek(at)
        block = bytearray(file.read(4096))
        block[-8:-4] = b"\x0c\0\0\xde"
        count = int.from_bytes(block[0x22:0x24], "little")
        told = uuid.UUID(ROOT_UUID).bytes + number + generation + block[: 0x20 + 8 * count]
        sum_ = google_crc32c.value(told + block[-8:-4] + bytes(4)) ^ 0xFFFFFFFF
        block[-4:] = sum_.to_bytes(4, "little")
        file.seek(at)
        file.write(block)


@pytest.mark.needs("mke2fs", "e2fsck", "debugfs")
def test_an_index_whose_root_was_a_leaf_is_read(tmp_path):
    disks = builder("guest_disks")
    names = [f"file-{number:04}" for number in range(400)]
    tree = {f"many/{name}": "" for name in names}
    volume = disks.ext4(tmp_path / "v", 16, tree, ROOT_UUID, options=("-b", "4096"))
    subprocess.run(["e2fsck", "-fyD", volume], env=disks_env(), capture_output=True)
    marked_as_a_leaf(volume, "/many")

    said = subprocess.run(
        ["e2fsck", "-fn", volume], env=disks_env(), capture_output=True, text=True
    )
    with Source.open(volume) as source, client.open_reader(source) as reader:
        found = reader.mount(whole(source)).names("/many")

    assert said.returncode == 0, said.stdout
    assert found == names


@pytest.mark.needs("mke2fs", "debugfs")
@pytest.mark.parametrize("options", [(), ("-O", "^metadata_csum,^filetype", "-b", "1024")])
def test_a_name_is_looked_up_in_its_directory_alone(options, tmp_path):
    names = [f"file {number} \u00e4" for number in range(300)]
    tree = {f"many/{name}": name for name in names} | {"many/below/file": "below", "file": "top"}
    volume = builder("guest_disks").ext4(tmp_path / "v", 16, tree, ROOT_UUID, options=options)
    with Source.open(volume) as source, client.open_reader(source) as reader:
        opened = reader.mount(whole(source))

        assert all(opened.stat("/many", names))
        assert [opened.read(f"/many/{name}", 0, 99).decode() for name in names] == names
        assert opened.read("/many/below/file", 0, 99) == b"below"
        assert opened.stat("/many", ["file 0", "file", "\u00e4", "x" * 255]) == [None] * 4
        with pytest.raises(TreeError):
            opened.stat("/file", ["file"])
        with pytest.raises(TreeError):
            opened.read("/file/file", 0, 1)


def disks_env() -> dict[str, str]:
    """Where programs for file systems are."""
    return {**os.environ, "PATH": builder("guest_disks").FORMAT_PATH}


@pytest.mark.needs("mkntfs", "ntfs-3g", "fusermount")
def test_an_index_that_leads_in_circles_is_left_to_the_appliance(tmp_path):
    path = builder("guest_traps").TRAPS["ntfs-loops"](tmp_path / "volume")
    with Source.open(path) as source, client.open_reader(source) as reader:
        with pytest.raises(UnableError):
            reader.mount(whole(source))
        assert reader._starts == 1  # neither a crash nor a hang


@pytest.mark.needs("mkntfs", "ntfs-3g", "fusermount")
def test_a_list_of_attributes_is_believed_when_it_leads_to_them(tmp_path):
    path = builder("guest_traps").many_links(tmp_path / "volume", "linked")
    with Source.open(path) as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        assert len(tree.names("/linked")) == 41
        assert tree.read("/linked/first", 0, 100) == b"linked\n"


@pytest.mark.needs("mkntfs", "ntfs-3g", "fusermount")
def test_lists_of_attributes_that_lead_in_circles_are_left_to_the_appliance(tmp_path):
    path = builder("guest_traps").TRAPS["mft-loops"](tmp_path / "volume")
    with Source.open(path) as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        with pytest.raises(UnableError, match="attribute list of record"):
            tree.stat("/self", ["first"])
        with pytest.raises(UnableError, match="is not one of record"):
            tree.stat("/other", ["first"])
        assert tree.read("/etc/hostname", 0, 100) == b"guest\n"
        assert reader._starts == 1


@pytest.mark.nightly
@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_an_initramfs_out_of_which_gibibytes_come_is_given_up(tmp_path):
    image = builder().build("bomb", tmp_path)
    with Source.open(image) as source, client.open_reader(source) as reader:
        seen = survey(source)
        section = facts.collect(seen, Ladder(seen, reader, None))

    assert section["distro"] == "debian"
    assert "more than 1073741824 bytes come out of it" in section["unknown"]["drivers"]


@pytest.mark.needs("mke2fs", "sfdisk", "zstd", "dumpe2fs", "debugfs", "tune2fs")
def test_an_inode_with_a_wrong_checksum_is_not_believed(tmp_path):
    volume = builder("guest_disks").ext4(tmp_path / "v", 8, {"etc/hostname": "one\n"}, ROOT_UUID)
    builder("guest_disks").damage_inode(volume, "/etc/hostname")
    with Source.open(volume) as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        with pytest.raises(UnableError, match=r"checksum|signature"):
            tree.stat("/etc", ["hostname"])
        assert "etc" in tree.names("/")


@pytest.mark.needs("mkfs.xfs", "module:pyfsxfs")
@pytest.mark.parametrize(
    ("place", "said"), [(158, "checksum of inode"), (512 + 98, "inodes at .* are damaged")]
)
def test_nothing_is_read_through_a_directory_that_the_kernel_would_refuse(place, said, tmp_path):
    import pyfsxfs

    # given an XFS in which /var, or the inode behind it, has a byte changed that no library looks at
    files = {"var/lib/dpkg/status": "Package: base\n", "etc/hostname": "guest\n"}
    path = builder("guest_disks").xfs(tmp_path / "volume", 304, files, ROOT_UUID)
    volume = pyfsxfs.volume()
    volume.open(str(path))
    number = volume.get_file_entry_by_path("/var").inode_number
    volume.close()
    with Source.open(path) as source:
        head = source.read(0, 512)
    block, index = divmod(number, 1 << head[123])
    group, within = divmod(block, 1 << head[124])
    at = (group * int.from_bytes(head[84:88], "big") + within) * 4096 + index * 512
    with patched(path, at + place, b"\x14") as source, client.open_reader(source) as reader:
        tree = reader.mount(whole(source))

        for ask in (lambda: tree.stat("/var/lib", ["dpkg"]), lambda: tree.names("/var/lib/dpkg")):
            with pytest.raises(UnableError, match=said):
                ask()
        with pytest.raises(UnableError):
            tree.read("/var/lib/dpkg/status", 0, 10)
        assert tree.read("/etc/hostname", 0, 10) == b"guest\n"


ROOT_UUID = "11111111-2222-4333-8444-555555555555"


def whole(source) -> Volume:
    kind = filesystems.signature(source)
    return Volume("/dev/sda", 0, source.size, kind)


# ----------------------------------------------------------------------------------------- gates

REFUSED = {
    "ext4-inline-data": "bit 0x8000",
    "ext4-casefold": "bit 0x20000",
    "ext4-encrypt": "bit 0x10000",
    "ext4-large-dir": "bit 0x4000",
    "ext4-mmp": "bit 0x100",
    "ntfs-8k": "8192 bytes",
    "ntfs-64k": "65536 bytes",
}


def made(name: str, directory: Path) -> Path:
    return builder("guest_filesystems").FILE_SYSTEMS[name](directory / name)


@pytest.mark.needs("mke2fs", "mkfs.xfs", "mkntfs", "ntfs-3g", "fusermount")
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_read_wrongly_is_refused_before_a_library_meets_it(name, tmp_path):
    with Source.open(made(name, tmp_path)) as source, client.open_reader(source) as reader:
        with pytest.raises(UnableError, match=REFUSED[name]):
            reader.mount(whole(source))
        assert children("tools.reader.worker") == []


def patched(path: Path, at: int, data: bytes) -> Source:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)
    return Source.open(path)


@pytest.mark.needs("mke2fs")
@pytest.mark.parametrize(("at", "bit"), [(0x60, 0x80000000), (0x64, 0x40000000)])
def test_an_ext_feature_that_nobody_knows_yet_is_refused(at, bit, tmp_path):
    path = made("ext4", tmp_path)
    before = int.from_bytes(path.read_bytes()[1024 + at : 1028 + at], "little")
    with patched(path, 1024 + at, (before | bit).to_bytes(4, "little")) as source:
        assert f"{bit:#x}" in gates.refusal("ext4", source)


@pytest.mark.needs("mke2fs")
def test_an_ext_superblock_with_a_wrong_checksum_is_refused(tmp_path):
    with patched(made("ext4", tmp_path), 1024 + 0x78, b"another name") as source:
        assert "wrong checksum" in gates.refusal("ext4", source)


@pytest.mark.needs("mkfs.xfs")
@pytest.mark.parametrize(
    ("at", "data", "said"),
    [
        (216, b"\x80\0\0\x03", "bit 0x80000000"),
        (212, b"\x40\0\0\x01", "bit 0x40000000"),
        (101, b"\xb6", "version 6"),
        (16, b"\0\0\0\0\0\0\1\0", "real-time"),
        (48, bytes(8), "log is elsewhere"),
        (124, b"\xff", "log is elsewhere"),
        (108, b"another name", "wrong checksum"),
    ],
)
def test_an_xfs_that_is_not_plain_is_refused(at, data, said, tmp_path):
    with patched(made("xfs", tmp_path), at, data) as source:
        assert said in gates.refusal("xfs", source)


@pytest.mark.needs("mkfs.xfs")
def test_a_log_that_was_not_ended_by_an_unmount_is_seen(tmp_path):
    # given an XFS whose last log record is no unmount record
    path = made("xfs", tmp_path)
    with Source.open(path) as source:
        assert gates.refusal("xfs", source) is None
        start = log_start(source)
    with patched(path, start + 512 + 9, b"\x01") as source:
        assert "not written back" in gates.refusal("xfs", source)


def log_start(source: Source) -> int:
    head = source.read(0, 512)
    block, first = int.from_bytes(head[4:8], "big"), int.from_bytes(head[48:56], "big")
    group, bits = int.from_bytes(head[84:88], "big"), head[124]
    return ((first >> bits) * group + (first & ((1 << bits) - 1))) * block


def test_superblocks_that_are_cut_off_are_refused(tmp_path):
    (tmp_path / "short").write_bytes(bytes(100))
    with Source.open(tmp_path / "short") as source:
        for kind in ("ext4", "xfs", "ntfs"):
            assert "cut off" in gates.refusal(kind, source)


# ----------------------------------------------------------------------------------- its sources


def test_pieces_of_a_disk_read_as_one(tmp_path):
    (tmp_path / "disk").write_bytes(b"..worldhello, ..")
    with Source.open(tmp_path / "disk") as source:
        joined = Joined(source, ((7, 7), (2, 5)))

        assert joined.size == 12
        assert joined.read(0, 100) == b"hello, world"
        assert joined.read(5, 4) == b", wo"
        assert joined.read(12, 1) == joined.read(-1, 1) == b""


@pytest.mark.needs("mke2fs", "sfdisk", "zstd")
def test_a_logical_volume_in_pieces_is_read_through(tmp_path):
    image = builder().build("lvm-pieces", tmp_path)
    with Source.open(image) as source, client.open_reader(source) as reader:
        root = next(item for item in survey(source).volumes if item.group)
        tree = reader.mount(root)

        assert len(root.pieces) == 3
        size = tree.stat("/usr/share", ["large"])[0].size
        assert tree.read("/usr/share/large", 0, size) == bytes(range(251)) * 60_000
