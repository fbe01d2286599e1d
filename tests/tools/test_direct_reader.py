"""The direct reader's child: what it may, and what becomes of one that misbehaves."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from direct import children, tree_of
from phony import builder

from pipeline.errors import Interrupted
from pipeline.guest.survey import survey
from pipeline.source import Source
from pipeline.stage import Cancellation
from pipeline.tools import seccomp
from pipeline.tools.reader import child, client
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
