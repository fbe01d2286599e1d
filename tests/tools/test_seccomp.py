"""The filter's program, run by a small machine of our own for both architectures.

That the kernel obeys it is shown in test_confine.py; here every call and flag is gone through.
"""

import errno
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tools import seccomp

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBERS = {
    # https://github.com/torvalds/linux: syscall_64.tbl and asm-generic/unistd.h
    "x86_64": {
        "audit": 0xC000003E, "read": 0, "open": 2, "socket": 41, "truncate": 76, "creat": 85,
        "openat": 257, "io_uring_setup": 425, "openat2": 437,
    },
    "aarch64": {
        "audit": 0xC00000B7, "read": 63, "socket": 198, "truncate": 45, "openat": 56,
        "io_uring_setup": 425, "openat2": 437,
    },
}  # fmt: skip
WRITING = [os.O_WRONLY, os.O_RDWR, 3, os.O_RDONLY | os.O_TRUNC, os.O_CREAT, os.O_RDWR | os.O_APPEND]


def verdict(program, number, arguments=(), audit=0):
    """What the filter answers to one system call (classic BPF, six instructions of it)."""
    data = struct.pack("=iIQ6Q", number, audit, 0, *(*arguments, *[0] * 6)[:6])
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, operand)[0]
        elif operation == 0x06:
            return operand
        else:
            test = {
                0x15: accumulator == operand,
                0x35: accumulator >= operand,
                0x45: bool(accumulator & operand),
            }[operation]
            at += if_true if test else if_false


@pytest.fixture(params=sorted(NUMBERS))
def machine(request, monkeypatch):
    """A function that asks the filter of one architecture."""
    monkeypatch.setattr(seccomp.platform, "machine", lambda: request.param)
    program, numbers = seccomp.program(), NUMBERS[request.param]

    def ask(name, *arguments, audit=numbers["audit"]):
        number = numbers[name] if isinstance(name, str) else name
        return verdict(program, number, arguments, audit)

    ask.numbers = numbers
    return ask


def opening(machine, flags):
    """The answers to every call that opens with these flags."""
    answers = [machine("openat", 0xFFFFFF9C, 0x7FFF00001000, flags)]
    if "open" in machine.numbers:
        answers.append(machine("open", 0x7FFF00001000, flags))
    return answers


def test_reading_is_allowed(machine):
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_DIRECTORY):
        assert set(opening(machine, flags)) == {ALLOW}


@pytest.mark.parametrize("flags", WRITING)
def test_writing_is_not(machine, flags):
    assert set(opening(machine, flags)) == {ERRNO | errno.EACCES}


def test_calls_that_cannot_be_seen_through_do_not_exist(machine):
    for name in ("openat2", "io_uring_setup"):
        assert machine(name) == ERRNO | errno.ENOSYS


def test_changing_a_file_by_its_name_is_refused(machine):
    for name in {"truncate", "creat"} & set(machine.numbers):
        assert machine(name) == ERRNO | errno.EACCES


def test_sockets_and_reading_stay(machine):
    assert {machine("read"), machine("socket")} == {ALLOW}


def test_calls_of_another_architecture_kill(machine):
    assert machine("read", audit=0x40000003) == KILL


def test_the_second_numbering_of_x86_kills(monkeypatch):
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "x86_64")

    answer = verdict(seccomp.program(), 0x40000000 | 257, audit=NUMBERS["x86_64"]["audit"])

    assert answer == KILL


@given(number=st.integers(0, 600), flags=st.integers(0, (1 << 32) - 1))
def test_only_the_named_calls_are_touched(number, flags):
    numbers = NUMBERS["x86_64"]
    program = b"".join(seccomp._instructions(seccomp._MACHINES["x86_64"]))

    answer = verdict(program, number, (flags, flags, flags), numbers["audit"])

    named = {value for key, value in numbers.items() if key not in ("audit", "read", "socket")}
    assert answer == ALLOW or number in named
