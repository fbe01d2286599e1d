"""The one door to every child process.

    run()         start, read to the end, judge the exit status
    background()  start, keep while a ``with`` block lasts, kill

    us ──▶ setpriv --pdeathsig ──▶ prlimit … ──▶ [bwrap …] ──▶ tool
           dies when we die        limits set    sees only the    own session, so that its
                                   before exec   one image        whole group can be killed

argv only, no shell, stdin closed, an environment built from nothing, a wall-clock limit always,
CPU, address-space and file-size limits where an untrusted image is parsed, output read through a
cap, the whole process group killed and reaped.

The limits are set by programs that replace themselves by the tool, not by ``preexec_fn``: Python
code between fork and exec can deadlock when other threads exist, and here they do.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from pipeline.errors import ToolError

MIB = 1 << 20
OPEN_FILES = 1024  # RLIMIT_NOFILE of every child
CHUNK = 64 * 1024  # bytes taken from a pipe at once
POLL_S = 0.05  # how often a cancellation is looked at

CHILD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Limits:
    """What a child may use.  None: not limited."""

    wall_s: float = 60.0
    cpu_s: int | None = None
    memory: int | None = None  # bytes of address space; sets MALLOC_ARENA_MAX=2 as well
    file_size: int | None = None  # bytes that any one file it writes may grow to
    output: int = 8 * MIB  # bytes of stdout that are kept; more is an error
    errors: int = 64 * 1024  # bytes of stderr that are kept (its end)


@dataclass(frozen=True)
class Sandbox:
    """What a confined child may see: no network, a read-only system, nothing of the user's files.

    ``fds`` of the calling process are inherited under the same number, so ``/proc/self/fd/N`` names
    exactly the inode that was checked.  ``writable`` directories are the only ones it can write to;
    without any, it can open no file for writing at all, the image through its descriptor included.
    """

    fds: tuple[int, ...] = ()
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    sockets: tuple[Path, ...] = ()  # directories in which it makes sockets, but writes no file


@dataclass(frozen=True)
class Completed:
    """A child that ended by itself."""

    argv: tuple[str, ...]
    returncode: int  # negative: ended by that signal
    stdout: bytes
    stderr: str  # decoded, control characters replaced
    seconds: float


class Stop(Protocol):
    """What asks for a stop: ``pipeline.stage.Cancellation``."""

    def check(self) -> None:
        """Raise when a stop was asked for."""
        ...


OnStdout = Callable[[bytes], None]


def find(name: str) -> str:
    """The absolute path of a program, also in the sbin directories that users' PATHs leave out.

    Raises ``ToolError`` ``tool-missing``.
    """
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    found = shutil.which(name, path=":".join(part for part in path.split(":") if part[:1] == "/"))
    if found is None:
        raise ToolError(
            "tool-missing",
            f"the program {name!r} is not installed",
            hint="run 'imgprep doctor' to see which package has it",
        )
    return found


def run(
    argv: Sequence[str],
    *,
    limits: Limits,
    sandbox: Sandbox | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: str | Path | None = None,
    on_stdout: OnStdout | None = None,
    cancellation: Stop | None = None,
    pass_fds: Sequence[int] = (),
    check: bool = True,
) -> Completed:
    """Run a program to its end.

    ``env`` is added to PATH and LC_ALL=C, which are all it gets.  With ``on_stdout`` the output is
    handed over as it comes and none is kept or counted.  ``pass_fds`` are inherited without a
    sandbox; a sandbox names its own.  With ``check``, an exit status other than 0 is an error.

    Raises ``ToolError`` with ``tool-missing``, ``tool-timeout``, ``tool-output-limit`` and, with
    ``check``, ``tool-failed`` and ``tool-killed``; ``Interrupted`` when ``cancellation`` is set.
    The child and its group are gone whenever this function is left.
    """
    started = time.monotonic()
    child = _Child(argv, limits, sandbox, env, stdin, cwd, pass_fds, on_stdout)
    with child:
        child.pump(started + limits.wall_s, cancellation)
    completed = child.completed(time.monotonic() - started)
    if check and completed.returncode != 0:
        raise _failure(completed, limits)
    return completed


class Background:
    """A running child, as ``background`` yields it."""

    def __init__(self, child: _Child) -> None:
        self._child = child
        self.argv = child.argv

    @property
    def pid(self) -> int:
        """Of the process group's leader."""
        return self._child.pid

    @property
    def stderr(self) -> str:
        """The end of what it wrote to stderr so far, cleaned."""
        return self._child.errors()

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._child.returncode()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.returncode is None

    def wait(self, timeout_s: float) -> bool:
        """Wait until it ended and all its output was read; False when it still runs then."""
        return self._child.ended.wait(timeout_s)

    def failure(self) -> ToolError:
        """The error that says how it ended: for a server that ended although it was needed."""
        return _failure(self._child.completed(0.0), self._child.limits)


@contextlib.contextmanager
def background(
    argv: Sequence[str],
    *,
    limits: Limits,
    sandbox: Sandbox | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: str | Path | None = None,
    on_stdout: OnStdout | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[Background]:
    """Keep a program running while the block lasts, then kill and reap its group.

    ``limits.wall_s`` does not count here: the block's end is the limit.  Without ``on_stdout``
    (called from another thread) its stdout is thrown away.  Raises as ``run`` does when it starts.
    """
    child = _Child(argv, limits, sandbox, env, stdin, cwd, pass_fds, on_stdout or _ignore)
    ready = threading.Event()
    problem: list[BaseException] = []

    # The thread that starts a child must live as long as the child: the kernel takes the end of
    # that *thread* for the parent's death (prctl(2), PR_SET_PDEATHSIG).
    def keep() -> None:
        try:
            child.start()
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            problem.append(error)
            return
        finally:
            ready.set()
        with child:
            child.pump(None, None)

    keeper = threading.Thread(target=keep, name=f"keep-{argv[0]}", daemon=True)
    keeper.start()
    ready.wait()
    if problem:
        raise problem[0]
    try:
        yield Background(child)
    finally:
        child.kill()
        keeper.join()


def _ignore(_chunk: bytes) -> None:
    """Throw output away, but keep reading it, so that the child never blocks."""


@dataclass
class _Tail:
    """The last ``limit`` bytes of a stream."""

    limit: int
    data: bytearray = field(default_factory=bytearray)

    def add(self, chunk: bytes) -> None:
        self.data += chunk
        if len(self.data) > 2 * self.limit:
            del self.data[: -self.limit]

    def text(self) -> str:
        return clean(bytes(self.data[-self.limit :]).decode("utf-8", "replace"))


class _Child:
    """One child process, its pipes and its end."""

    def __init__(
        self,
        argv: Sequence[str],
        limits: Limits,
        sandbox: Sandbox | None,
        env: Mapping[str, str] | None,
        stdin: bytes | None,
        cwd: str | Path | None,
        pass_fds: Sequence[int],
        on_stdout: OnStdout | None,
    ) -> None:
        self.argv = tuple(argv)
        self.limits = limits
        self.ended = threading.Event()
        self._program = find(argv[0])
        self._sandbox = sandbox
        self._confined = False
        self._env = _environment(limits, env)
        self._fds = (*pass_fds, *(sandbox.fds if sandbox else ()))
        self._cwd = cwd
        self._stdin = stdin
        self._on_stdout = on_stdout
        self._stdout = bytearray()
        self._stderr = _Tail(limits.errors)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the child was not started")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        """Start it; the kernel kills it when this thread ends."""
        from pipeline.tools import confine

        command = [find("setpriv"), "--pdeathsig", "KILL", "--"]
        command += [find("prlimit"), *_rlimits(self.limits), "--"]
        with confine.wrapping(self._sandbox, self._program) as wrapping:
            self._confined = bool(wrapping.argv)
            command += [*wrapping.argv, self._program, *self.argv[1:]]
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL if self._stdin is None else subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=self._env,
                    cwd=self._cwd,
                    pass_fds=(*self._fds, *wrapping.fds),
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError as error:
                raise ToolError(
                    "tool-missing",
                    f"{self.argv[0]} cannot be started: {error.strerror}",
                    hint="run 'imgprep doctor'",
                ) from error

    def __enter__(self) -> _Child:
        if self._process is None:
            self.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.ended.set()

    def kill(self) -> None:
        """Kill the whole group and reap its leader.

        The group is killed before its leader is reaped: until then its number cannot be anybody
        else's.  That also ends grandchildren that outlived the leader.
        """
        with self._lock:
            if self.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def pump(self, deadline: float | None, stop: Stop | None) -> None:
        """Move data until the child ended; raise when it must not go on."""
        pidfd = os.pidfd_open(self.pid)
        try:
            with selectors.DefaultSelector() as selector:
                self._register(selector, pidfd)
                while not self._step(selector, pidfd, deadline, stop):
                    pass
        finally:
            os.close(pidfd)

    def _register(self, selector: selectors.BaseSelector, pidfd: int) -> None:
        selector.register(pidfd, selectors.EVENT_READ, None)
        process = self.process
        for pipe, take in ((process.stdout, self._take_stdout), (process.stderr, self._stderr.add)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, take)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, None)

    def _step(
        self,
        selector: selectors.BaseSelector,
        pidfd: int,
        deadline: float | None,
        stop: Stop | None,
    ) -> bool:
        """One round of waiting and moving; True when the child ended and its output was read."""
        if stop is not None:
            stop.check()
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise self._timeout()
        if stop is not None:
            left = POLL_S if left is None else min(left, POLL_S)
        over = False
        for key, _events in selector.select(left):
            if key.fileobj == pidfd:
                over = True
            elif key.data is None:
                self._feed(selector)
            else:
                self._drain(selector, key.fileobj, key.data, limit=1)  # type: ignore[arg-type]
        if over:
            self._drain_all(selector)
        return over

    def _drain_all(self, selector: selectors.BaseSelector) -> None:
        """Read what the ended child left in its pipes.

        A pipe's capacity bounds that; what a grandchild goes on writing is not waited for.
        """
        for key in list(selector.get_map().values()):
            if key.data is not None:
                self._drain(selector, key.fileobj, key.data, limit=4 * MIB // CHUNK)  # type: ignore[arg-type]

    def _drain(
        self, selector: selectors.BaseSelector, pipe: IO[bytes], take: OnStdout, *, limit: int
    ) -> None:
        for _round in range(limit):
            try:
                chunk = os.read(pipe.fileno(), CHUNK)
            except BlockingIOError:
                return
            if not chunk:
                selector.unregister(pipe)
                return
            take(chunk)

    def _feed(self, selector: selectors.BaseSelector) -> None:
        pipe = self.process.stdin
        assert pipe is not None
        try:
            written = os.write(pipe.fileno(), (self._stdin or b"")[:CHUNK]) if self._stdin else 0
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self._stdin or b"")
        self._stdin = (self._stdin or b"")[written:]
        if not self._stdin:
            selector.unregister(pipe)
            pipe.close()

    def _take_stdout(self, chunk: bytes) -> None:
        if self._on_stdout is not None:
            self._on_stdout(chunk)
            return
        self._stdout += chunk
        if len(self._stdout) > self.limits.output:
            raise ToolError(
                "tool-output-limit",
                f"{self.argv[0]} wrote more than {self.limits.output} bytes and was stopped",
                hint="the image makes the tool print without end; do not trust it",
            )

    def _timeout(self) -> ToolError:
        return ToolError(
            "tool-timeout",
            f"{_brief(self.argv)} did not finish within {self.limits.wall_s:g} s and was stopped"
            f"{_said(self.errors())}",
            hint="try again when the machine is less busy; if it repeats, the image may be built "
            "to keep tools busy",
        )

    def errors(self) -> str:
        """The end of stderr so far, cleaned."""
        return self._stderr.text()

    def returncode(self) -> int | None:
        """None while it runs.  Its group is killed before the number is taken."""
        process = self.process
        if process.returncode is None and not self._zombie():
            return None
        self.kill()
        code = process.returncode
        # bwrap reports a signal of the program inside as a shell does.
        return 128 - code if self._confined and code > 128 else code

    def _zombie(self) -> bool:
        """Whether the leader ended, without reaping it."""
        with self._lock:
            if self.process.returncode is not None:
                return True
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.pid, flags) is not None

    def completed(self, seconds: float) -> Completed:
        """The record of the child that ended."""
        code = self.returncode()
        return Completed(
            self.argv, -1 if code is None else code, bytes(self._stdout), self.errors(), seconds
        )


def _environment(limits: Limits, env: Mapping[str, str] | None) -> dict[str, str]:
    made = {"PATH": CHILD_PATH, "LC_ALL": "C"}
    if limits.memory is not None:
        # Each thread's malloc arena reserves 64 MiB of address space: without this, RLIMIT_AS stops
        # healthy conversions at random.
        made["MALLOC_ARENA_MAX"] = "2"
    made.update(env or {})
    return made


def _rlimits(limits: Limits) -> list[str]:
    """Options of prlimit(1); soft limits first, so that the signal tells which one was met."""
    wanted: list[tuple[str, int, int, int]] = [
        ("core", resource.RLIMIT_CORE, 0, 0),
        ("nofile", resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
    ]
    if limits.cpu_s is not None:
        wanted.append(("cpu", resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1))
    if limits.memory is not None:
        wanted.append(("as", resource.RLIMIT_AS, limits.memory, limits.memory))
    if limits.file_size is not None:
        wanted.append(("fsize", resource.RLIMIT_FSIZE, limits.file_size, limits.file_size))
    return [
        f"--{name}={_clamp(kind, soft)}:{_clamp(kind, hard)}" for name, kind, soft, hard in wanted
    ]


def _clamp(kind: int, value: int) -> int:
    """Nobody but root may raise a hard limit, so an already lower one stays."""
    ceiling = resource.getrlimit(kind)[1]
    return value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)


def clean(text: str) -> str:
    """Untrusted text for people: control characters and line separators become visible escapes."""
    return "".join(
        char if char == "\n" or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def _brief(argv: Sequence[str]) -> str:
    return " ".join(argv[:2])


def _said(errors: str) -> str:
    lines = [line for line in errors.strip().splitlines() if line.strip()]
    return f"; it said: {' / '.join(lines[-3:])[-600:]}" if lines else ""


def _failure(completed: Completed, limits: Limits) -> ToolError:
    name, code = _brief(completed.argv), completed.returncode
    said = _said(completed.stderr)
    if code < 0:
        return ToolError(
            "tool-killed", f"{name} was ended by {_signal(-code, limits)}{said}", hint=_KILLED_HINT
        )
    return ToolError(
        "tool-failed",
        f"{name} failed with exit status {code}{said}",
        hint="what the tool said names the cause; 'imgprep doctor' checks the tools themselves",
    )


_KILLED_HINT = (
    "if it repeats with this image only, the image makes the tool misbehave; keep it away"
)


def _signal(number: int, limits: Limits) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    reasons = {
        signal.SIGXCPU: f": it used more than {limits.cpu_s} s of CPU time",
        signal.SIGXFSZ: f": it wrote a file of more than {limits.file_size} bytes",
        signal.SIGABRT: ": it gave up, often for lack of memory",
        signal.SIGKILL: ": somebody, or the kernel for lack of memory, killed it",
    }
    return name + next((words for item, words in reasons.items() if item == number), "")
