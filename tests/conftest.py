"""What every test shares: the honest skip.

A test that needs a program says so with ``@pytest.mark.needs("qemu-img")``.  On a laptop a missing
one skips the test with its name; under ``CI=true`` it fails, so that nothing is skipped unseen.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from needs import skip_or_fail

ROOT = Path(__file__).resolve().parents[1]

# A busy machine is no reason to fail: no test of ours is about its own speed.
hypothesis.settings.register_profile("imgprep", deadline=None, print_blob=True)
hypothesis.settings.load_profile("imgprep")


LONG = 100


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A name for long data: pytest would spell out an image, byte by byte, and send it between processes."""
    if isinstance(val, bytes | bytearray | str) and len(val) > LONG:
        data = val.encode("utf-8", "backslashreplace") if isinstance(val, str) else val
        return f"{argname}-{len(val)}-{zlib.crc32(data):08x}"
    return None


def missing(need: str) -> bool:
    if need.startswith("module:"):
        return importlib.util.find_spec(need.removeprefix("module:")) is None
    if need.startswith("/"):  # a file that is no program
        return not Path(need).exists()
    return shutil.which(need, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    needs = [need for mark in request.node.iter_markers("needs") for need in mark.args]
    absent = [need for need in needs if missing(need)]
    if absent:
        skip_or_fail(f"missing: {', '.join(absent)}")


@dataclass(frozen=True)
class Ended:
    """A command line that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict:
        return json.loads(self.stdout)

    def rules(self, *statuses: str) -> set[str]:
        wanted = statuses or ("fail",)
        return {item["rule"] for item in self.report["findings"] if item["status"] in wanted}


class CommandLine:
    """The real command ``imgprep`` in a process of its own, with a home directory of its own."""

    def __init__(self, home: Path) -> None:
        self.env = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "TMPDIR": str(home / "tmp"),
            "COLUMNS": "120",
        }
        (home / "tmp").mkdir(parents=True)

    def argv(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "pipeline.cli.main", *map(str, arguments)]

    def __call__(
        self, *arguments: object, timeout: float = 120, cwd: Path = ROOT, **env: str
    ) -> Ended:
        done = subprocess.run(
            self.argv(*arguments),
            cwd=cwd,
            env=self.env | {"PYTHONPATH": str(ROOT)} | env,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: object, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=ROOT,
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture
def imgprep(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("home"))
