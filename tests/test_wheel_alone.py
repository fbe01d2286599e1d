"""The wheel in an environment of its own, with nothing of the system's Python: qemu-utils is enough."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from phony import builder

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("wheel"),
    pytest.mark.needs(
        *("qemu-img", "qemu-nbd", "setpriv", "prlimit", "mke2fs", "sfdisk", "zstd"),
        *("mkfs.xfs", "mkfs.vfat", "mcopy", "mkntfs", "ntfs-3g", "fusermount", "module:hivex"),
    ),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel, built and installed with its dependencies from the package index."""
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", directory, ROOT], check=True, timeout=300)
    [wheel] = directory.glob("imgprep-*.whl")
    subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True, timeout=120)
    python = directory / "venv/bin/python"
    argv = [python, *pip[1:], "install", "--only-binary=:all:", wheel]
    subprocess.run(argv, check=True, timeout=600)
    return directory / "venv/bin"


@pytest.fixture
def alone(installed, tmp_path):
    """The installed command, in a home of its own, outside of the source tree."""
    (tmp_path / "home").mkdir()
    env = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def run(*words: object, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        argv = [installed / "imgprep", *map(str, words)]
        done = subprocess.run(
            argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
        )
        assert code is None or done.returncode == code, done.stderr
        return done

    return run


def packed(name: str, directory: Path, *options: str) -> Path:
    """A phony guest in a qcow2."""
    image = builder().build(name, directory)
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, image, f"{image}.qcow2"]
    subprocess.run(argv, check=True, timeout=60)
    return Path(f"{image}.qcow2")


def test_nothing_of_the_system_is_there(installed):
    for module in ("nbd", "guestfs", "pytest"):
        argv = [installed / "python", "-I", "-c", f"import {module}"]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert "ModuleNotFoundError" in done.stderr


def test_it_says_what_each_missing_part_costs(alone):
    checks = {
        check["name"]: check
        for check in json.loads(alone("doctor", "--no-launch", "--json").stdout)
    }

    assert checks["direct reader"]["status"] == "ok"
    assert [name for name, check in checks.items() if check["status"] == "error"] == []


@pytest.mark.parametrize(
    ("name", "options", "os"),
    [
        ("debian", (), "linux"),
        ("debian", ("-c",), "linux"),
        ("fedora-uefi", (), "linux"),
        ("windows-dc", (), "windows"),
        ("lvm-pieces", ("-c",), "linux"),
    ],
)
def test_a_guest_is_inspected_without_an_appliance(name, options, os, alone, tmp_path):
    image = packed(name, tmp_path, *options)

    report = json.loads(alone("check", "--guest=direct", "--json", image, code=None).stdout)

    assert report["facts"]["guest"]["os"] == os
    assert report["facts"]["guest"]["unknown"] == {}
    assert report["verdict"] in ("accepted", "accepted-with-advice", "rejected")


def test_a_compressed_image_is_converted_and_stored(alone, tmp_path):
    image = packed("debian", tmp_path, "-c")

    alone("convert", image, tmp_path / "out.vhd")
    alone("run", "--guest=direct", image, tmp_path / "store/")

    assert (tmp_path / "out.vhd").read_bytes()[:8] == b"conectix"
    assert list((tmp_path / "store").rglob("*.vhd"))
