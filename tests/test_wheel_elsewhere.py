"""The wheel with every other CPython that it is said to run with, beside nothing but qemu-utils.

3.12          of this machine, where pyenv or the PATH has it, in an environment of its own
3.13, 3.14    of Debian: a tree with Python, qemu-utils and the wheels of that version, used by chroot
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from needs import skip_or_fail
from test_wheel_alone import packed

ROOT = Path(__file__).resolve().parents[1]
RELEASES = {"3.13": "trixie", "3.14": "sid"}
VERSIONS = ("3.12", *RELEASES)
INSIDE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(3600),
    pytest.mark.xdist_group("wheel"),
    pytest.mark.needs(
        *("qemu-img", "qemu-nbd", "setpriv", "prlimit", "mke2fs", "sfdisk", "zstd", "unshare"),
        *("mkfs.xfs", "mkfs.vfat", "mcopy", "mkntfs", "ntfs-3g", "fusermount", "module:hivex"),
        "mmdebstrap",
    ),
]


@dataclass(frozen=True)
class Elsewhere:
    """One Python with the wheel in it: how to run something there, and a directory that it sees."""

    version: str
    prefix: tuple[str, ...]
    environment: str  # of Python, as seen there
    seen: str  # the directory, as seen there
    directory: Path

    def run(self, program: str, *words: object) -> subprocess.CompletedProcess[str]:
        argv = [*self.prefix, f"{self.environment}/bin/{program}", *map(str, words)]
        env = {"HOME": self.seen, "PATH": INSIDE, "LC_ALL": "C.UTF-8"}
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module", params=VERSIONS)
def elsewhere(request, tmp_path_factory) -> Elsewhere:
    version = request.param
    directory = tmp_path_factory.mktemp(version)
    wheels = wheels_for(version, directory / "wheels")
    if version in RELEASES:
        return in_debian(version, directory / "tree", wheels)
    return on_this_machine(version, directory, wheels)


def wheels_for(version: str, directory: Path) -> Path:
    """Our own wheel, and those of that version that it needs."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    run([*pip, "wheel", "--no-deps", "-w", directory, ROOT])
    [wheel] = directory.glob("imgprep-*.whl")
    kind = ["--python-version", version, "--only-binary=:all:"]
    run([*pip, "download", *kind, "-d", directory, wheel])
    return directory


def in_debian(version: str, tree: Path, wheels: Path) -> Elsewhere:
    if os.geteuid() != 0:
        pytest.fail("make test-slow needs root: it makes a system of its own in a directory")
    python = f"python{version}"
    include = f"--include={python},{python}-venv,qemu-utils"
    # A mirror's sid is good for a week; where time stands elsewhere, so does the mirror.
    aged = '--aptopt=Acquire::Check-Valid-Until "false"'
    run(["mmdebstrap", "--variant=minbase", include, aged, RELEASES[version], tree])
    shutil.copytree(wheels, tree / "wheels")
    (tree / "images").mkdir()
    mounts = ("--mount", "--pid", "--fork", f"--mount-proc={tree}/proc")
    prefix = ("unshare", *mounts, "chroot", str(tree))
    install([*prefix, python], "/imgprep", prefix, "/wheels")
    return Elsewhere(version, prefix, "/imgprep", "/images", tree / "images")


def on_this_machine(version: str, directory: Path, wheels: Path) -> Elsewhere:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    here = [path for path in pyenv.glob(f"{version}.*/bin/python3") if path.exists()]
    python = next(iter(here), shutil.which(f"python{version}"))
    if python is None:
        skip_or_fail(f"missing: python{version}")
    (directory / "images").mkdir()
    install([python], directory / "venv", (), wheels)
    images = directory / "images"
    return Elsewhere(version, (), str(directory / "venv"), str(images), images)


def install(python: Sequence[object], to: object, prefix: Sequence[str], wheels: object) -> None:
    run([*python, "-m", "venv", to])
    only = ("--no-index", "--find-links", wheels)
    run([*prefix, f"{to}/bin/python", "-m", "pip", "-q", "install", *only, "imgprep"])


def run(argv: Sequence[object]) -> None:
    """Without this machine's own settings of pip's, which a tree does not hold."""
    inside = "chroot" in argv or "--no-index" in argv
    env = {"PATH": INSIDE, "HOME": "/", "LC_ALL": "C.UTF-8"} if inside else None
    subprocess.run([str(word) for word in argv], check=True, timeout=1800, env=env)


@pytest.fixture
def image(elsewhere) -> Callable[..., str]:
    """Make a guest's qcow2 where the other Python sees it."""

    def make(name: str, *options: str) -> str:
        return f"{elsewhere.seen}/{packed(name, elsewhere.directory, *options).name}"

    return make


def test_it_is_that_python_and_nothing_of_this_one(elsewhere):
    said = elsewhere.run("python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    assert said.stdout.strip() == elsewhere.version

    for module in ("nbd", "guestfs", "pytest"):
        done = elsewhere.run("python", "-I", "-c", f"import {module}")
        assert "ModuleNotFoundError" in done.stderr


def test_its_direct_reader_is_locked_in(elsewhere):
    done = elsewhere.run("imgprep", "doctor", "--no-launch", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}

    assert checks["direct reader"]["status"] == "ok"
    assert [name for name, check in checks.items() if check["status"] == "error"] == []


@pytest.mark.parametrize(
    ("name", "options", "os_name"),
    [
        ("debian", ("-c",), "linux"),
        ("fedora-uefi", (), "linux"),
        ("windows-dc", (), "windows"),
    ],
)
def test_it_inspects_a_guest(name, options, os_name, elsewhere, image):
    done = elsewhere.run("imgprep", "check", "--guest=direct", "--json", image(name, *options))
    report = json.loads(done.stdout)

    assert report["facts"]["guest"]["os"] == os_name
    assert report["facts"]["guest"]["unknown"] == {}
    assert report["verdict"] in ("accepted", "accepted-with-advice", "rejected")


def test_it_converts_and_stores(elsewhere, image):
    source, to = image("debian", "-c"), elsewhere.seen

    converted = elsewhere.run("imgprep", "convert", source, f"{to}/out.vhd")
    stored = elsewhere.run("imgprep", "run", "--guest=direct", source, f"{to}/store/")

    assert (converted.returncode, stored.returncode) == (0, 0), converted.stderr + stored.stderr
    assert (elsewhere.directory / "out.vhd").read_bytes()[:8] == b"conectix"
    assert list((elsewhere.directory / "store").rglob("*.vhd"))
