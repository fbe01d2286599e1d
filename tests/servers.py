"""Real servers for tests: started by path, owned by a pipe, stopped by closing it.

A server is started once in a test process, when the first test asks for it, and ends with it, even
if that is killed: the server's standard input is our pipe.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

PROGRAMS = Path(__file__).resolve().parents[1] / "fixtures" / "servers"
CACHE = PROGRAMS.parents[1] / ".cache" / "servers"
START_S = 90.0


class Server:
    """A running server program and the environment for its clients."""

    def __init__(self, argv: Sequence[str], directory: Path | None = None) -> None:
        self.argv = argv
        self.directory = directory
        self.env: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *self.argv, "--owned"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            self.stop()
            raise RuntimeError(f"{self.argv[0]} did not start")
        self.env = json.loads(line)

    @property
    def url(self) -> str:
        """Where it listens."""
        return next(value for key, value in self.env.items() if key in _ADDRESSES)

    def kill(self) -> None:
        """SIGKILL to all of its processes, as a crash of the machine would do it."""
        waiting = [os.pidfd_open(pid) for pid in self._pids()]
        self.process.kill()
        self.process.wait()
        for pidfd in waiting:
            assert select.select([pidfd], [], [], 10)[0], "a child outlived its server"
            os.close(pidfd)
        self._close()

    def _pids(self) -> list[int]:
        assert self.directory is not None
        texts = (path.read_text() for path in (self.directory / "run").glob("*.pid"))
        return [int(text) for text in texts if Path(f"/proc/{text.strip()}").exists()]

    def stop(self) -> None:
        self._close(only_stdin=True)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._close()

    def _close(self, *, only_stdin: bool = False) -> None:
        for pipe in (self.process.stdin, None if only_stdin else self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


_ADDRESSES = ("AWS_ENDPOINT_URL_S3", "PROXY_URL", "RAX_AUTH_URL", "OS_AUTH_URL")


class Faults(Server):
    """The proxy that breaks requests; see fixtures/servers/fault_proxy.py for the rules."""

    def __init__(self, upstream: str, certificate: Path | None = None) -> None:
        tls = [] if certificate is None else ["--certificate", str(certificate)]
        super().__init__([str(PROGRAMS / "fault_proxy.py"), "--upstream", upstream, *tls])
        self.upstream = upstream

    def _ask(self, method: str, target: str, body: Any = None, timeout_s: float = 60) -> Any:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
        try:
            connection.request(method, target, None if body is None else json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def set(self, *rules: Mapping[str, Any]) -> None:
        """Replace the rules and forget the log."""
        self._ask("PUT", "/__faults__", rules)

    def fired(self) -> list[int]:
        """How often each rule has fired."""
        return [rule["fired"] for rule in self._ask("GET", "/__faults__")]

    def wait_fired(self, rule: int = 0) -> None:
        """Return when that rule has fired; fails after a minute."""
        self._ask("GET", f"/__fired__?{rule}")

    def release(self) -> None:
        """Let everything on hold go on."""
        self._ask("PUT", "/__release__")

    def wait_idle(self) -> None:
        """Return when no request is under way: not even one whose client was killed."""
        self._ask("GET", "/__idle__")

    def log(self) -> list[dict[str, Any]]:
        """What went through since the rules were set."""
        entries: list[dict[str, Any]] = self._ask("GET", "/__log__")
        return entries

    def through(self, env: Mapping[str, str]) -> dict[str, str]:
        """A client's environment that leads through this proxy."""
        return {key: value.replace(self.upstream, self.url) for key, value in env.items()}


_KEY = pytest.StashKey[tuple[Path, contextlib.ExitStack, dict[str, Any]]]()


def shared(config: pytest.Config, name: str, start: Callable[[Path], Server]) -> Any:
    """The server of this name, started by ``start(directory)`` when it is first asked for."""
    if _KEY not in config.stash:
        stack = contextlib.ExitStack()
        root = Path(tempfile.mkdtemp(prefix="imgprep-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        config.add_cleanup(stack.close)
        config.stash[_KEY] = (root, stack, {})
    root, stack, running = config.stash[_KEY]
    if name not in running:
        running[name] = start(root / name)
        stack.callback(running[name].stop)
    return running[name]


def need(there: bool, what: str) -> None:
    """A skip on a laptop, a failure under CI=true, when a server is not installed."""
    if there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing: {what} (CI=true: nothing may be skipped)")
    pytest.skip(f"missing: {what}")


def need_venv(name: str) -> None:
    made = (CACHE / name / "made-from.txt").exists()
    need(made, f".cache/servers/{name} (run fixtures/servers/setup)")


def need_radosgw() -> None:
    for name in ("radosgw", "ceph-mon", "ceph-osd"):
        need(shutil.which(name) is not None, name)


def start_swift(directory: Path, *options: str) -> Server:
    need_venv("swift")
    return Server([str(PROGRAMS / "run_swift.py"), str(directory), *options], directory)


def swift(config: pytest.Config) -> Server:
    """Swift with its defaults: its own API and S3."""
    return shared(config, "swift", start_swift)  # type: ignore[no-any-return]


SECRET = "Zx81-never-to-be-seen"
SMALL_OBJECT = 4 << 20
SMALL_COUNT = 12


def small_swift(config: pytest.Config) -> Server:
    """Swift with small limits, tokens that live three seconds, and a key that can be searched for."""
    limits = ("--max-file-size", str(SMALL_OBJECT), "--max-segments", str(SMALL_COUNT))
    options = (*limits, "--token-life", "3", "--key", SECRET)
    return shared(config, "small", lambda where: start_swift(where, *options))  # type: ignore[no-any-return]


def start_radosgw(directory: Path) -> Server:
    need_radosgw()
    return Server([str(PROGRAMS / "run_radosgw.py"), str(directory)], directory)


def radosgw(config: pytest.Config) -> Server:
    """Ceph's gateway: both protocols by somebody else."""
    return shared(config, "ceph", start_radosgw)  # type: ignore[no-any-return]


def rackspace(config: pytest.Config) -> Server:
    """Rackspace's identity v2.0 in front of Swift."""
    auth = swift(config).env["ST_AUTH"]
    program = str(PROGRAMS / "rackspace_identity.py")
    return shared(config, "rackspace", lambda _: Server([program, "--auth", auth]))  # type: ignore[no-any-return]


def keystone(config: pytest.Config) -> Server:
    """A real Keystone, and a Swift that trusts it and is in its catalog."""

    def start(directory: Path) -> Server:
        need_venv("keystone")
        port = free_port()
        program, address = str(PROGRAMS / "run_keystone.py"), f"http://127.0.0.1:{port}"
        return Server([program, str(directory), "--object-store", address], directory)

    found: Server = shared(config, "keystone", start)
    port = found.argv[-1].rpartition(":")[2]
    trusting = ("--keystone", found.env["OS_AUTH_URL"], "--port", port)
    shared(config, "swift-keystone", lambda where: start_swift(where, *trusting))
    return found


def free_port() -> int:
    """A port that nobody listens on; below those of outgoing connections, so it stays free."""
    for port in random.sample(range(12_000, 15_000), 3000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def faults(config: pytest.Config, server: Server, name: str) -> Faults:
    """A proxy in front of a server, without rules and with an empty log."""
    proxy: Faults = shared(config, f"faults-{name}", lambda _: Faults(server.url))
    proxy.set()
    return proxy


def self_signed(directory: Path) -> Path:
    """A PEM file with a key and the certificate of 127.0.0.1 that nobody signed."""
    pem = directory / "self-signed.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem, "-out",
         f"{pem}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_bytes(pem.read_bytes() + Path(f"{pem}.crt").read_bytes())
    return pem


_ENVIRONMENT = threading.RLock()


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Our own environment without any cloud's variables but these; for one thread at a time."""
    with _ENVIRONMENT:
        before = dict(os.environ)
        for key in before:
            if key.startswith(("ST_", "OS_", "RS_", "AWS_", "SWIFT_", "RAX_")):
                del os.environ[key]
        os.environ.update(values)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Poll for something that tells nobody when it happens."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)
