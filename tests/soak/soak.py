"""``make soak MINUTES=…``: uploads for so long, broken in every way that we know; nothing may be lost.

    soak.py [--minutes N] [--seed TEXT] [--keep]

A round: a random source (a prepared file, or a raw or qcow2 disk that becomes a VHD on the way) goes to a
random store (Swift, its S3, Ceph's S3, a directory) through a proxy with random faults, by one command or
by two at the same time; they are killed at random moments while others clean up; then the same command
runs in peace and must end well, and the object is read back.  In the end the clock of Swift is set
eight days ahead, its own expirer runs, and every object of every round is read back once more, whole;
what was left unfinished must be gone.

The seed is printed; the same one makes the same files, faults and moments.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import places  # noqa: E402
import servers  # noqa: E402

MIB = 1 << 20
SEGMENT = 8 * MIB  # the largest object of this Swift, and a part that S3 is sent
EIGHT_DAYS_S = 8 * 24 * 3600
PATIENCE_S = 120.0
NAME, LEFT = "disk.img", "left.img"
QUICK = {"IMGPREP_STORE_DEADLINE": "5", "IMGPREP_STORE_TIMEOUT": "5"}
ENDS = {0, 5, 130, 143, -9}  # what a broken run may end with: never a bug, never a wrong verdict


class LossError(Exception):
    """What the soak is there to find."""


@dataclass(frozen=True)
class Stored:
    """An object that a command said is stored."""

    place: places.Place
    name: str
    sha256: str
    round: int
    swift: Mapping[str, str] | None  # how the same containers are read by Swift's own API

    def check(self, when: str) -> None:
        """Read it back, whole, by somebody else's client."""
        try:
            data = _reader(self.place, self.swift).read(self.name)
        except Exception as error:
            raise LossError(
                f"round {self.round}, {when}: {self.name} cannot be read: {error!r}"
            ) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise LossError(f"round {self.round}, {when}: {self.name} reads back as something else")


@dataclass
class Soak:
    """The servers, and all that was stored so far."""

    root: Path
    seed: str
    stored: list[Stored] = field(default_factory=list)
    unfinished: list[places.Swift] = field(default_factory=list)
    runs: int = 0
    kills: int = 0
    faults: int = 0

    def __post_init__(self) -> None:
        limits = ("--max-file-size", str(SEGMENT), "--max-segments", "100", "--token-life", "5")
        self.server = servers.start_swift(self.root / "swift", *limits)
        self.gateway = servers.start_radosgw(self.root / "ceph")
        self.proxies = {
            server.url: servers.Faults(server.url) for server in (self.server, self.gateway)
        }

    def close(self) -> None:
        """End the servers."""
        for proxy in self.proxies.values():
            proxy.stop()
        self.gateway.stop()
        self.server.stop()

    def round(self, number: int) -> None:
        """One file to one place, against all odds."""
        rng = random.Random(f"{self.seed}/{number}")
        place, server = self._place(rng, number)
        home = self.root / f"round-{number}"
        home.mkdir()
        proxy = self.proxies[server.url]
        command = Command(home, place, proxy, proxy.through(place.env))
        file = home / "source"
        _write(file, rng)
        image, sha256 = self._source(rng, file, command)
        uploads = [command.upload(image, NAME, machine) for machine in ("one", "two")]
        together = uploads if rng.random() < 0.4 else uploads[:1]
        for _ in range(rng.randint(0, 3)):
            self._break(rng, command, together)
        proxy.set()
        self._finish(uploads[0], command)
        swift = self.server.env if server is self.server else None
        done = Stored(place, NAME, sha256, number, swift)
        done.check("at once")
        self.stored.append(done)
        if isinstance(place, places.Swift) and rng.random() < 0.5:
            self._leave_unfinished(rng, place, command, file)
        shutil.rmtree(home)

    def _place(self, rng: random.Random, number: int) -> tuple[places.Place, servers.Server]:
        """An empty place, and the server that holds it (a directory's is never asked)."""
        kind = rng.choice(("swift", "swift", "swift", "s3", "ceph", "directory"))
        server = self.gateway if kind == "ceph" else self.server
        if kind == "directory":
            place: places.Place = places.Directory(self.root / f"store-{number}")
        else:
            place = (places.Swift if kind == "swift" else places.S3)(server.env)
        place.create()
        return place, server

    def _source(self, rng: random.Random, file: Path, command: Command) -> tuple[Path, str]:
        """What is stored, and the sha256 that its object must have."""
        kind = rng.choice(("prepared", "raw", "qcow2", "compressed"))
        if kind == "prepared":
            return file, _sha256(file)
        image = file.with_suffix(f".{'raw' if kind == 'raw' else 'qcow2'}")
        options = ("-c",) if kind == "compressed" else ()
        format_ = image.suffix.removeprefix(".")
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", format_, *options, file, image], check=True
        )
        # The same job gives the same bytes, so a local conversion tells what is to be stored.
        made = file.with_suffix(".vhd")
        _require_end(command.start(["convert", "-q", str(image), str(made)]), {0})
        return image, _sha256(made)

    def _break(self, rng: random.Random, command: Command, together: list[list[str]]) -> None:
        """Run under faults; somebody cleans up meanwhile; one may be killed, all must end somehow."""
        rules = [_fault(rng) for _ in range(rng.randint(0, 4))]
        command.proxy.set(*rules)
        running = [command.start(argv) for argv in together]
        self.runs += len(running)
        for _ in range(rng.randint(0, 2)):
            time.sleep(rng.uniform(0.1, 1.0))
            command.clean_up()
        if rng.random() < 0.7:
            time.sleep(rng.uniform(0.3, 2.0))
            rng.choice(running).kill()
            self.kills += 1
        for process in running:
            _require_end(process, {*ENDS})
        self.faults += sum(command.proxy.fired()) if rules else 0

    def _finish(self, argv: list[str], command: Command) -> None:
        process = command.start(argv)
        self.runs += 1
        _require_end(process, {0})

    def _leave_unfinished(
        self, rng: random.Random, place: places.Swift, command: Command, file: Path
    ) -> None:
        """An upload that nobody goes on with: what it sent must be gone in a week."""
        hold = {"method": "PUT", "path": f"_segments/{LEFT}/.*/0*1$", "do": "hold"}
        command.proxy.set(hold)
        process = command.start(command.upload(file, LEFT, "one"))
        deadline = time.monotonic() + PATIENCE_S
        while not command.proxy.fired()[0] and process.poll() is None:
            if time.monotonic() > deadline:
                raise LossError("an upload in peace did not reach its second segment")
            time.sleep(0.1)
        process.kill()
        process.communicate()
        command.proxy.set()
        self.unfinished.append(place)

    def eight_days_later(self) -> None:
        """By Swift's clock; its expirer runs once, then everything is read back."""
        self.server.stop()
        self.server.argv = [*self.server.argv, "--clock-ahead", str(EIGHT_DAYS_S), "--expire"]
        self.server.start()
        for done in self.stored:
            done.check("eight days later")
        for place in self.unfinished:
            if left := [name for name in place.everything() if f"/{LEFT}/" in name]:
                raise LossError(f"unfinished segments outlived their week: {left[:3]}")


@dataclass(frozen=True)
class Command:
    """The command line, with a home of its own."""

    home: Path
    place: places.Place
    proxy: servers.Faults
    env: dict[str, str]

    def upload(self, file: Path, name: str, machine: str) -> list[str]:
        """As one of two machines would type it: each has its own job directory.

        What has no suffix is a prepared file; anything else is a disk to be converted.
        """
        options = ["--name", name, "--job-dir", self.home / machine, "--connections", 2]
        if file.suffix:
            options += ["--guest", "off", "--fail-on", "never"]
        command = "run" if file.suffix else "upload"
        return [str(word) for word in (command, file, self.place.url, *options)]

    def start(self, arguments: list[str]) -> subprocess.Popen[str]:
        """Start it."""
        kept = {key: os.environ[key] for key in ("PATH",)}
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli.main", *arguments],
            cwd=ROOT,
            env={**kept, "HOME": str(self.home), "LC_ALL": "C.UTF-8", **QUICK, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def clean_up(self) -> None:
        """As a colleague on a third machine does it."""
        process = self.start(["cleanup", self.place.url, "--job-dir", str(self.home / "three")])
        _require_end(process, {0, 5})


def _require_end(process: subprocess.Popen[str], codes: set[int]) -> None:
    try:
        output, errors = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise LossError(f"{process.args!r} does not end") from None
    if process.returncode not in codes or "Traceback" in errors:
        raise LossError(f"{process.args!r} ended with {process.returncode}:\n{output}\n{errors}")


def _write(file: Path, rng: random.Random) -> None:
    """A file of data and holes, whole sectors."""
    size = rng.randint(SEGMENT // 2, 4 * SEGMENT) // 512 * 512
    with file.open("wb") as out:
        out.truncate(size)
        for _ in range(rng.randint(1, 6)):
            out.seek(rng.randrange(size))
            out.write(rng.randbytes(rng.randint(1, 3 * MIB))[: size - out.tell()])


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _fault(rng: random.Random) -> dict[str, Any]:
    """A rule of the proxy: see fixtures/servers/fault_proxy.py."""
    after = rng.choice((0, 1000, rng.randrange(SEGMENT)))
    page = {"status": 200, "body": "<html>Please log in</html>", "after": -1}
    what: dict[str, Any] = rng.choice(
        (
            {"do": "reset", "after": after},
            {"do": "close", "after": after},
            {"do": "status", "status": rng.choice((408, 429, 500, 502, 503, 507)), "after": -1},
            {"do": "status", "status": 503, "after": 0},
            {"do": "status", **page, "method": "GET"},
            {"do": "lost-response"},
            {"do": "corrupt", "after": after, "method": "PUT", "path": r"/\d+$"},
            {"do": "corrupt-response", "after": 0, "method": "GET"},
            {"do": "truncate", "after": 10, "method": "GET"},
            {"do": "interim", "status": 102},
            {"do": "stall", "after": after, "seconds": rng.uniform(0.1, 1.5)},
            {"do": "rewrite", "headers": {"ETag": None}, "method": "PUT"},
            {"do": "revoke", "path": "/v1/"},
        )
    )
    method = rng.choice((".*", "PUT", "PUT", "POST", "HEAD", "GET", "DELETE"))
    when = {"skip": rng.randrange(8), "times": rng.randint(1, 3)}
    return {"method": method, **when, **what}


def _reader(place: places.Place, swift: Mapping[str, str] | None) -> places.Place:
    """S3 refuses who has another clock; Swift's own API reads the same containers."""
    if swift is None or not isinstance(place, places.S3):
        return place
    reader = places.Swift(swift)
    reader.container = place.bucket
    return reader


def soak(minutes: float, seed: str, root: Path) -> str:
    """The whole of it; what was done, in a sentence.  Raises ``LossError``."""
    run, began = Soak(root, seed), time.monotonic()
    # Reading everything back takes a share of the time, too.
    until, number = began + minutes * 60 * 0.85, 0
    try:
        while time.monotonic() < until or number == 0:
            number += 1
            run.round(number)
            print(f"soak: round {number} is stored", file=sys.stderr, flush=True)
        run.eight_days_later()
    finally:
        run.close()
    return (
        f"{number} objects stored and read back twice, {run.runs} runs, {run.kills} kills, "
        f"{run.faults} faults, {len(run.unfinished)} uploads left to expire: nothing lost "
        f"in {time.monotonic() - began:.0f} s"
    )


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**9)))
    chosen = parser.parse_args()
    print(f"soak: seed {chosen.seed}", flush=True)
    root = Path(tempfile.mkdtemp(prefix="imgprep-soak-"))
    try:
        print(f"soak: {soak(chosen.minutes, chosen.seed, root)}")
    except LossError as error:
        raise SystemExit(f"soak: {error}\nrepeat with --seed {chosen.seed}") from None
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
