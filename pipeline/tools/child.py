"""One child process: its start, its pipes, its end.

    stdin  ◀── bytes, or nothing            every pipe is read and written without waiting for it,
    stdout ──▶ kept up to a limit, or       in one loop that also watches the clock, a request to
               handed over as it comes      stop, and the child's own end (a pidfd)
    stderr ──▶ its end is kept

The child leads a session of its own.  Whoever leaves the ``with`` block, by whatever way, has killed
that group and reaped the child.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from pipeline import text
from pipeline.errors import ToolError
from pipeline.tools.limits import MIB, Limits, environment, find, launcher

CHUNK = 64 * 1024  # bytes taken from a pipe at once
LEFT_IN_PIPE = 4 * MIB  # bytes read after the child's end: more than any pipe holds
POLL_S = 0.05  # how often a request to stop is looked at

OnStdout = Callable[[bytes], None]


class Stop(Protocol):
    """What asks for a stop: ``pipeline.stage.Cancellation``."""

    def check(self) -> None:
        """Raise when a stop was asked for."""
        ...


@dataclass(frozen=True)
class Completed:
    """A child that ended by itself."""

    argv: tuple[str, ...]
    returncode: int  # negative: ended by that signal
    stdout: bytes
    stderr: str  # decoded, control characters replaced
    seconds: float


@dataclass(frozen=True)
class Prefix:
    """What stands before a program's argument list, and the descriptors that it mentions."""

    argv: tuple[str, ...] = ()
    fds: tuple[int, ...] = ()


@contextlib.contextmanager
def unconfined(_program: str) -> Iterator[Prefix]:
    """Nothing stands before the program."""
    yield Prefix()


@dataclass(frozen=True)
class Launch:
    """How a child is to be started.

    ``prefix`` makes what confines this one start of the program; what it yields is used before its
    block ends.
    """

    argv: tuple[str, ...]
    limits: Limits
    prefix: Callable[[str], contextlib.AbstractContextManager[Prefix]] = unconfined
    env: Mapping[str, str] | None = None
    stdin: bytes | None = None
    cwd: str | Path | None = None
    pass_fds: tuple[int, ...] = ()
    on_stdout: OnStdout | None = None
    endless: bool = False  # a server: what it prints over its life is not limited


@dataclass
class _Tail:
    """The last ``limit`` bytes of a stream, and how many went by."""

    limit: int
    seen: int = 0
    data: bytearray = field(default_factory=bytearray)

    def add(self, chunk: bytes) -> None:
        self.seen += len(chunk)
        self.data += chunk
        if len(self.data) > 2 * self.limit:
            del self.data[: -self.limit]

    def text(self) -> str:
        lines = bytes(self.data[-self.limit :]).decode("utf-8", "backslashreplace").split("\n")
        return "\n".join(text.clean(line, 4000) for line in lines)


class Child:
    """A child process.  Start it by entering the block, move its data with ``pump``."""

    def __init__(self, plan: Launch) -> None:
        self.plan = plan
        self.ended = threading.Event()
        self._program = find(plan.argv[0])
        self._confined = False
        self._input = plan.stdin or b""
        self._stdout = bytearray()
        self._stderr = _Tail(plan.limits.errors)
        self._process: subprocess.Popen[bytes] | None = None
        self._reaping = threading.Lock()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The started process."""
        if self._process is None:
            raise RuntimeError("the child was not started")
        return self._process

    @property
    def pid(self) -> int:
        """Of the group's leader."""
        return self.process.pid

    def start(self) -> None:
        """Start it.  The kernel kills it when the calling *thread* ends (prctl(2))."""
        plan = self.plan
        with plan.prefix(self._program) as prefix:
            self._confined = bool(prefix.argv)
            try:
                self._process = subprocess.Popen(
                    [*launcher(plan.limits), *prefix.argv, self._program, *plan.argv[1:]],
                    stdin=subprocess.DEVNULL if plan.stdin is None else subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=environment(plan.limits, plan.env),
                    cwd=plan.cwd,
                    pass_fds=(*plan.pass_fds, *prefix.fds),
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError as error:
                raise ToolError(
                    "tool-missing",
                    f"{plan.argv[0]} cannot be started: {error.strerror}",
                    hint="run 'imgprep doctor'",
                ) from error

    def __enter__(self) -> Child:
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
        """Kill the whole group and reap its leader; does nothing if that is done or none started.

        The group is killed before its leader is reaped: until then its number cannot be anybody
        else's.  That also ends grandchildren that outlived the leader.
        """
        with self._reaping:
            if self._signal_group(signal.SIGKILL):
                self.process.wait()

    def ask_to_end(self) -> None:
        """Send SIGTERM to the whole group, and wait for nothing."""
        with self._reaping:
            self._signal_group(signal.SIGTERM)

    def _signal_group(self, number: signal.Signals) -> bool:
        """False when its number may be anybody's: none was started, or it was reaped."""
        if self._process is None or self._process.returncode is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        return True

    def pump(self, deadline: float | None, stop: Stop | None) -> None:
        """Move data until the child ended; raise when it must not go on.

        ``deadline`` is of ``time.monotonic()``.
        """
        with self._reaping:
            if self.process.returncode is not None:
                return  # another thread killed and reaped it: its number may be anybody's now
            pidfd = os.pidfd_open(self.pid)
        try:
            with selectors.DefaultSelector() as selector:
                self._register(selector, pidfd)
                while not self._step(selector, _wait(deadline, stop)):
                    if stop is not None:
                        stop.check()
                    if deadline is not None and time.monotonic() >= deadline:
                        raise timeout(self)
        finally:
            os.close(pidfd)

    def _register(self, selector: selectors.BaseSelector, pidfd: int) -> None:
        selector.register(pidfd, selectors.EVENT_READ, None)
        process = self.process
        for pipe, take in (
            (process.stdout, self._take_output),
            (process.stderr, self._take_errors),
        ):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, take)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, None)

    def _step(self, selector: selectors.BaseSelector, wait_s: float | None) -> bool:
        """One round of waiting and moving; True when the child ended and its output was read."""
        over = False
        for key, _events in selector.select(wait_s):
            if isinstance(key.fileobj, int):
                over = True
            elif key.data is None:
                self._feed(selector)
            else:
                _drain(selector, key, CHUNK)
        if over:
            # What a grandchild goes on writing is not waited for.
            for key in list(selector.get_map().values()):
                if key.data is not None:
                    _drain(selector, key, LEFT_IN_PIPE)
        return over

    def _feed(self, selector: selectors.BaseSelector) -> None:
        pipe = self.process.stdin
        assert pipe is not None
        try:
            written = os.write(pipe.fileno(), self._input[:CHUNK]) if self._input else 0
        except BlockingIOError:
            return
        except BrokenPipeError:  # it reads no more: what it says and how it ends tells why
            written = len(self._input)
        self._input = self._input[written:]
        if not self._input:
            selector.unregister(pipe)
            pipe.close()

    def _take_output(self, chunk: bytes) -> None:
        if self.plan.on_stdout is not None:
            self.plan.on_stdout(chunk)
            return
        self._stdout += chunk
        if len(self._stdout) > self.plan.limits.output:
            raise flooded(self)

    def _take_errors(self, chunk: bytes) -> None:
        self._stderr.add(chunk)
        if self._stderr.seen > self.plan.limits.output and not self.plan.endless:
            raise flooded(self)

    def errors(self) -> str:
        """The end of stderr so far, cleaned."""
        return self._stderr.text()

    def returncode(self) -> int | None:
        """None while it runs.  Its group is killed before the number is taken."""
        if not self._over():
            return None
        self.kill()
        code: int = self.process.returncode
        # bwrap reports a signal of the program inside as a shell does.
        return 128 - code if self._confined and code > 128 else code

    def _over(self) -> bool:
        """Whether the leader ended, without reaping it."""
        with self._reaping:
            if self.process.returncode is not None:
                return True
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.pid, flags) is not None

    def completed(self, seconds: float) -> Completed:
        """The record of the child, which must have ended."""
        code = self.returncode()
        if code is None:
            raise RuntimeError(f"{self.plan.argv[0]} still runs")
        return Completed(self.plan.argv, code, bytes(self._stdout), self.errors(), seconds)


def _wait(deadline: float | None, stop: Stop | None) -> float | None:
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    if stop is None:
        return left
    return POLL_S if left is None else min(left, POLL_S)


def _drain(selector: selectors.BaseSelector, key: selectors.SelectorKey, at_most: int) -> None:
    pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
    for _round in range(at_most // CHUNK):
        try:
            chunk = os.read(pipe.fileno(), CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            selector.unregister(pipe)
            return
        key.data(chunk)


def failure(completed: Completed, limits: Limits) -> ToolError:
    """The error for a child that ended badly.

    Codes: ``tool-failed``, ``tool-killed``, or ``confinement-failed`` when it never began.
    """
    name, code, said = _brief(completed.argv), completed.returncode, _said(completed.stderr)
    if completed.stderr.startswith("bwrap: "):
        return ToolError(
            "confinement-failed",
            f"{name} could not be confined{said}",
            hint="run 'imgprep doctor'; it tries whether programs can be confined here",
        )
    if code < 0:
        return ToolError(
            "tool-killed",
            f"{name} was ended by {_signal(-code, limits)}{said}",
            hint="if it repeats with this image only, the image makes the tool misbehave: "
            "keep it away from other tools too",
        )
    return ToolError(
        "tool-failed",
        f"{name} failed with exit status {code}{said}",
        hint="what the tool said names the cause; 'imgprep doctor' checks the tools themselves",
    )


def timeout(child: Child) -> ToolError:
    """The error for a child that ran too long."""
    return ToolError(
        "tool-timeout",
        f"{_brief(child.plan.argv)} did not finish within {child.plan.limits.wall_s:g} s "
        f"and was stopped{_said(child.errors())}",
        hint="try again when the machine is less busy; if it repeats, the image may be built "
        "to keep tools busy",
    )


def flooded(child: Child) -> ToolError:
    """The error for a child that printed too much."""
    return ToolError(
        "tool-output-limit",
        f"{_brief(child.plan.argv)} printed more than {text.size(child.plan.limits.output)} "
        "and was stopped",
        hint="the image makes the tool print without end; do not trust it",
    )


def _brief(argv: Sequence[str]) -> str:
    return " ".join(text.clean(word, 40) for word in argv[:2])


def _said(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.strip()]
    return f"; it said: {' / '.join(lines[-3:])[-600:]}" if lines else ""


def _signal(number: int, limits: Limits) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    reasons: dict[int, str] = {
        signal.SIGXCPU: f": it used more than {limits.cpu_s} s of CPU time",
        signal.SIGXFSZ: f": it wrote a file of more than {limits.file_size} bytes",
        signal.SIGABRT: ": it gave up, often for lack of memory",
        signal.SIGKILL: ": somebody, or the kernel for lack of memory, killed it",
    }
    return name + reasons.get(number, "")
