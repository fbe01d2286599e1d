"""System-call filters: for tools that only read, and for a child that needs nothing but one descriptor.

``program``: nothing can be opened for writing.

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

``descriptor_only``: a child that has all it needs talks over one descriptor, and does nothing else.

    system call                     answer
    read, write                     allowed on that descriptor, else EPERM
    mmap                            allowed for memory that is no file's and not executable, else EPERM
    mprotect                        allowed unless it makes memory executable, else EPERM
    munmap, mremap, brk, madvise, futex, clock_gettime, exit, exit_group, rt_sigreturn: allowed
    of another architecture         the process is killed
    everything else                 EPERM

Classic BPF over ``struct seccomp_data`` (nr at 0, arch at 4, the low half of argument n at 16 + 8 n):
https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import errno
import mmap
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
    transfers: tuple[int, ...]  # read, write
    mmap: int
    mprotect: int
    harmless: tuple[int, ...]
    """munmap, mremap, brk, madvise, futex, clock_gettime, exit, exit_group, rt_sigreturn."""
    open: int | None = None
    foreign_from: int | None = None  # numbers from here on are of another ABI (x32)


_MACHINES = {
    "x86_64": _Machine(
        *(0xC000003E, 257, (85, 76), (437, 425), (0, 1), 9, 10),
        (11, 25, 12, 28, 202, 228, 60, 231, 15),
        open=2,
        foreign_from=0x40000000,
    ),
    "aarch64": _Machine(
        *(0xC00000B7, 56, (45,), (437, 425), (63, 64), 222, 226),
        (215, 216, 214, 233, 98, 113, 93, 94, 139),
    ),
}


def program() -> bytes | None:
    """The filter for this machine; None where its system calls are not known here."""
    machine = _MACHINES.get(platform.machine())
    return None if machine is None else b"".join(_instructions(machine))


def descriptor_only(descriptor: int) -> bytes | None:
    """The filter that leaves a process nothing but this descriptor; None as with ``program``."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return None
    parts = _native(machine)
    for number in machine.harmless:
        parts += [_op(_EQUAL, number, 0, 1), _op(_RETURN, _ALLOW)]
    for number in machine.transfers:
        parts += _argument(number, 0, [_op(_EQUAL, descriptor, 0, 1), _op(_RETURN, _ALLOW)])
    plain = [_op(_ANY_BIT, mmap.PROT_EXEC, 1, 0), _op(_RETURN, _ALLOW)]
    parts += _argument(machine.mprotect, 2, plain)
    # The executable bit is refused first; what is left is allowed when it is nobody's file.
    anonymous = [_op(_LOAD, 16 + 8 * 3), _op(_ANY_BIT, mmap.MAP_ANONYMOUS, 0, 1)]
    parts += _argument(
        machine.mmap,
        2,
        [_op(_ANY_BIT, mmap.PROT_EXEC, 3, 0), *anonymous, _op(_RETURN, _ALLOW)],
    )
    return b"".join([*parts, _op(_RETURN, _ERRNO | errno.EPERM)])


def _argument(number: int, argument: int, judge: list[bytes]) -> list[bytes]:
    """For one call: load an argument's low half and judge it; what ``judge`` lets pass is refused."""
    body = [_op(_LOAD, 16 + 8 * argument), *judge, _op(_RETURN, _ERRNO | errno.EPERM)]
    return [_op(_EQUAL, number, 0, len(body)), *body]


def _native(machine: _Machine) -> list[bytes]:
    """Kill what speaks another architecture's numbers, then load the number of the call."""
    parts = [_op(_LOAD, 4), _op(_EQUAL, machine.audit, 1, 0), _op(_RETURN, _KILL), _op(_LOAD, 0)]
    if machine.foreign_from is not None:
        parts += [_op(_AT_LEAST, machine.foreign_from, 0, 1), _op(_RETURN, _KILL)]
    return parts


def _instructions(machine: _Machine) -> list[bytes]:
    parts = _native(machine)
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
