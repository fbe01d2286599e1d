#!/usr/bin/env python3
"""Fuzz the parsers for as long as you like.

    tests/fuzz/run.py [--seconds S] [--executions N] [--jobs J] [--work DIR] [--keep] [TARGET…]

Each target runs in a process of its own with atheris (coverage-guided); ``--engine random`` needs no
atheris and makes several times more executions a second, without guidance.  A run ends at the first of
both limits.  Prints one line a target: executions, seconds, executions a second.  Exit code 1 when a
target failed; the input that did it is printed in hexadecimal and can be repeated with ``--input HEX``.

``--keep`` writes the shortest inputs that found new code, at most 4 KiB a target, to corpus/TARGET.txt.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
CORPUS = HERE / "corpus"
KEPT_BYTES = 4096
MAX_LENGTH = 400


def _instrumented() -> dict[str, Target]:
    import atheris

    with atheris.instrument_imports(include=["pipeline"]):
        import targets
    return targets.TARGETS


if "--one" not in sys.argv:
    from targets import TARGETS, Target


def kept(name: str) -> Iterator[bytes]:
    """The inputs that were kept for a target."""
    path = CORPUS / f"{name}.txt"
    if path.exists():
        for line in path.read_text().splitlines():
            yield bytes.fromhex(line)


def random_run(
    target: Target, *, executions: int, generator: random.Random, until: float = float("inf")
) -> int:
    """Run a target on mutations of its seeds; returns how many were made.

    Whatever the target raises comes out, with the input in a note.
    """
    inputs = list(kept(target.name)) or [b"\0\0"]
    count = 0
    while count < executions and time.monotonic() < until:
        data = _mutated(generator, inputs, len(target.seeds()))
        try:
            target.run(data)
        except BaseException as error:
            error.add_note(f"{target.name} input: {data.hex()}")
            raise
        count += 1
    return count


def _mutated(generator: random.Random, inputs: list[bytes], seeds: int) -> bytes:
    choice = generator.random()
    if choice < 0.05:
        return b"\xff" + generator.randbytes(generator.randrange(MAX_LENGTH))
    if choice < 0.3:
        data = bytearray(generator.choice(inputs))
        for _ in range(generator.randint(1, 6)):
            data[generator.randrange(len(data)) :][:1] = generator.randbytes(1)
        return bytes(data) + generator.randbytes(generator.randrange(12))
    cut = 255 if generator.random() < 0.1 else 0
    return bytes([generator.randrange(seeds), cut]) + generator.randbytes(generator.randrange(60))


def _one(name: str, arguments: list[str]) -> None:
    """This process becomes the fuzzer of one target."""
    import atheris

    target = _instrumented()[name]
    atheris.Setup([sys.argv[0], *arguments], target.run)
    atheris.Fuzz()


def _start(name: str, options: argparse.Namespace, work: Path) -> tuple[str, int, str, float]:
    """Fuzz one target in a child; its name, exit code, output and seconds."""
    directory = work / name
    directory.mkdir(parents=True, exist_ok=True)
    for index, data in enumerate(kept(name)):
        (directory / f"kept-{index}").write_bytes(data)
    for index in range(len(TARGETS[name].seeds())):
        (directory / f"seed-{index}").write_bytes(bytes([index, 0]))
    command = [sys.executable, str(HERE / "run.py")]
    if options.engine == "random":
        command += ["--engine", "random", "--alone", name, "--work", str(work)]
        command += ["--executions", str(options.executions), "--seconds", str(options.seconds)]
    else:
        command += ["--one", name, str(directory), f"-max_len={MAX_LENGTH}", "-timeout=20"]
        command += [
            f"-artifact_prefix={work}/{name}-",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ]
        command += [f"-runs={options.executions or -1}", f"-max_total_time={options.seconds}"]
    started = time.monotonic()
    made = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    return name, made.returncode, made.stdout + made.stderr, time.monotonic() - started


def _keep(name: str, directory: Path) -> None:
    """The shortest inputs of a run that found new code, as lines of hexadecimal."""
    lines: list[str] = []
    room = KEPT_BYTES
    found = {path.read_bytes() for path in directory.iterdir()} | set(kept(name))
    for data in sorted(found, key=lambda item: (len(item), item)):
        if len(data) > 2 and room >= 2 * len(data) + 1:
            lines.append(data.hex())
            room -= 2 * len(data) + 1
    if not lines:
        return
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def _report(name: str, code: int, output: str, seconds: float, work: Path) -> bool:
    counted = re.search(r"stat::number_of_executed_units: *(\d+)", output)
    executions = int(counted[1]) if counted else 0
    rate = executions / seconds if seconds else 0
    word = "ok" if code == 0 else "FAILED"
    print(
        f"{name:16} {word:6} {executions:>10} executions {seconds:8.1f} s {rate:9.0f} /s",
        flush=True,
    )
    if code:
        print(output[-4000:])
        for path in sorted(work.glob(f"{name}-*")):
            if path.is_file():
                print(f"repeat with: {HERE / 'run.py'} {name} --input {path.read_bytes().hex()}")
    return code == 0


def _alone(options: argparse.Namespace) -> int:
    """The random engine in this process."""
    until = time.monotonic() + options.seconds if options.seconds else float("inf")
    count = random_run(
        TARGETS[options.targets[0]],
        executions=options.executions or sys.maxsize,
        generator=random.Random(options.seed),
        until=until,
    )
    print(f"stat::number_of_executed_units: {count}")
    return 0


def main(arguments: list[str]) -> int:
    """Run what was asked for; 1 when a parser failed."""
    if arguments[:1] == ["--one"]:
        _one(arguments[1], arguments[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=0, help="for each target")
    parser.add_argument("--executions", type=int, default=0, help="for each target")
    parser.add_argument("--jobs", type=int, default=1, help="targets at the same time")
    parser.add_argument("--engine", choices=("atheris", "random"), default="atheris")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--work", type=Path, help="keep working files here")
    parser.add_argument("--keep", action="store_true", help="add to corpus/")
    parser.add_argument("--input", help="run one input, in hexadecimal")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target is called {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if options.input is not None:
        TARGETS[options.targets[0]].run(bytes.fromhex(options.input))
        return 0
    if options.alone:
        return _alone(options)
    if not options.seconds and not options.executions:
        options.seconds = 10
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        work = options.work or Path(scratch)
        names = options.targets or list(TARGETS)
        good = True
        with ThreadPoolExecutor(options.jobs) as pool:
            for name, *result in pool.map(lambda name: _start(name, options, work), names):
                good = _report(name, *result, work) and good
                if options.keep:
                    _keep(name, work / name)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
