"""A system-call filter for children that only read: nothing can be opened for writing.

The mount namespace alone does not protect the image: a descriptor that was opened for reading can be
opened again for writing through ``/proc/self/fd/N`` by whoever may write to the file.  So a hijacked
parser could change the image although it was handed over read-only.  This filter refuses that in the
kernel; sockets, pipes and reading stay as they are.

    system call                     answer
    open, openat                    EACCES if the flags write, create or truncate; else allowed
    creat, truncate                 EACCES
    openat2, io_uring_setup         ENOSYS: their flags lie in memory, out of a filter's sight
    of another architecture         the process is killed
    everything else                 allowed

Classic BPF over ``struct seccomp_data`` (nr at 0, arch at 4, the low half of argument n at 16 + 8 n):
https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import errno
import os
import platform
import struct
from dataclasses import dataclass

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL = 0x80000000

_WRITES = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class _Machine:
    """System call numbers of one architecture."""

    audit: int  # AUDIT_ARCH_…
    openat: int
    refused: tuple[int, ...]  # creat, truncate
    unseen: tuple[int, ...]  # openat2, io_uring_setup
    open: int | None = None
    foreign_from: int | None = None  # numbers from here on are of another ABI (x32)


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 257, (85, 76), (437, 425), 2, 0x40000000),
    "aarch64": _Machine(0xC00000B7, 56, (45,), (437, 425)),
}


def program() -> bytes | None:
    """The filter for this machine; None where its system calls are not known here."""
    machine = _MACHINES.get(platform.machine())
    return None if machine is None else b"".join(_instructions(machine))


def _instructions(machine: _Machine) -> list[bytes]:
    parts = [_op(_LOAD, 4), _op(_EQUAL, machine.audit, 1, 0), _op(_RETURN, _KILL), _op(_LOAD, 0)]
    if machine.foreign_from is not None:
        parts += [_op(_AT_LEAST, machine.foreign_from, 0, 1), _op(_RETURN, _KILL)]
    for number, code in (
        *((number, errno.EACCES) for number in machine.refused),
        *((number, errno.ENOSYS) for number in machine.unseen),
    ):
        parts += [_op(_EQUAL, number, 0, 1), _op(_RETURN, _ERRNO | code)]
    parts += _opening(machine.openat, 2)
    if machine.open is not None:
        parts += _opening(machine.open, 1)
    return [*parts, _op(_RETURN, _ALLOW)]


def _opening(number: int, flags_argument: int) -> list[bytes]:
    """Judge one opening call by its flags."""
    return [
        _op(_EQUAL, number, 0, 4),
        _op(_LOAD, 16 + 8 * flags_argument),
        _op(_ANY_BIT, _WRITES, 0, 1),
        _op(_RETURN, _ERRNO | errno.EACCES),
        _op(_RETURN, _ALLOW),
    ]


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """``struct sock_filter``: code, how many instructions to skip if true and if false, operand."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
