"""How the reader's child locks itself in: after its imports, before the first byte of a guest.

    no descriptor but the socket, no byte to a file ─▶ no new privileges ─▶ system-call filter ─▶ no way back

What a hijacked library could still do: compute, take memory up to its limit, and write to the socket,
whose other end believes nothing that it says.  It needs no namespace, so it is as tight for an ordinary
user, in a container, and where unprivileged user namespaces are forbidden.
https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import os
import resource

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_MODE_FILTER = 2


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def engage(descriptor: int, rules: bytes) -> bool:
    """Keep this descriptor and nothing else, for good; False where the kernel cannot do that.

    ``rules``: ``seccomp.descriptor_only``; empty where the machine's system calls are not known.
    """
    os.closerange(0, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if not rules:
        return False
    prctl = ctypes.CDLL(None).prctl
    program = _Program(len(rules) // 8, rules)
    return bool(
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        and prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0
    )
