"""Whatever imgprep tells a person to type can be typed: every remedy that is a command is tried."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from pipeline.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
OURS = "batch|check|cleanup|config|convert|doctor|explain|inspect|profiles|report|run|upload"
COMMAND = re.compile(
    rf"\b((?:imgprep (?:{OURS})|qemu-img (?:check|convert|create|snapshot|measure))\b[^;:()']*?)"
    r"(?=[;:()']|, |\. |\.$"
    r"| (?:again|and|checks|for|lists|makes|names|of|on|prints|shows|tells|tries|with|wrote)\b|$)"
)
VALUES = {
    "IMAGE": "image.qcow2",
    "FILE": "image.qcow2",
    "FORMAT": "qcow2",
    "NAME": "first",
    "OUTPUT": "out.vhd",
    "RULE": "iso-image",
}
"""What stands for the words in capitals."""
NO_COMMAND = re.compile(r"qemu-img check|imgprep batch named.*")
"""A program's name in a sentence."""


def remedies():
    for path in sorted((ROOT / "schemas/requirements").glob("*.json")):
        yield path.stem, json.loads(path.read_text())["x-finding"]["remedy"]
    for code, found in json.loads((ROOT / "schemas/errors.json").read_text())["errors"].items():
        yield code, found["remedy"]


def commands(program):
    found = {
        (name, match[1].strip().rstrip("."))
        for name, text in remedies()
        for match in COMMAND.finditer(text)
        if match[1].startswith(program) and not NO_COMMAND.fullmatch(match[1].strip())
    }
    return sorted(found)


def filled(command, values):
    return [values.get(word, word) for word in shlex.split(command)]


OURS_ALONE = sorted({command for _, command in commands("imgprep ")})


@pytest.fixture
def situation(tmp_path):
    """What the words in capitals stand for, and what each command needs besides."""
    image, store, place = tmp_path / "image.qcow2", tmp_path / "store", tmp_path / "batch"
    create = ("qemu-img", "create", "-q", "-f", "qcow2", image, "8M")
    subprocess.run(create, check=True, timeout=60)
    return {
        "IMAGE": str(image),
        "OUTPUT": str(tmp_path / "out.vhd"),
        "DEST": str(store),
        "DIR": str(place),
        "NAME": "rackspace",
        "FILE": str(ROOT / "schemas/profiles/rackspace-2020.json"),
        "json=report.json": f"json={tmp_path / 'report.json'}",
    }


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("command", OURS_ALONE)
def test_the_commands_of_ours_that_are_recommended_work(imgprep, situation, command):
    words = filled(command, situation)[1:]
    if words in (["check"], ["inspect"]):  # named in a sentence: of the image that it is about
        words.append(situation["IMAGE"])
    if words == ["doctor"]:  # the appliance takes its time; all else is tried
        words.append("--no-launch")
    if words[0] == "batch":
        made = ("batch", situation["IMAGE"], "--to", situation["DEST"], "--dir", situation["DIR"])
        assert imgprep(*made, "--guest", "off").code == 0

    ended = imgprep(*words, IMGPREP_GUEST="off")

    assert ended.code == 0, f"{command}\n{ended.stderr}"


QUOTED = re.compile(r"'imgprep ([a-z]+)(?: [A-Za-z./-]+)*'")


def test_hints_name_commands_that_exist():
    known = set(typer.main.get_command(app).commands)
    named = {
        (path.name, name)
        for path in sorted((ROOT / "pipeline").rglob("*.py"))
        for name in QUOTED.findall(path.read_text(encoding="utf-8"))
    }

    assert named
    assert {found for found in named if found[1] not in known} == set()


@pytest.fixture
def examples(tmp_path):
    """The files that remedies name, as qcow2; ``overlay`` and ``top`` have a backing file."""

    def run(*words):
        subprocess.run(["qemu-img", *map(str, words)], cwd=tmp_path, check=True, timeout=60)

    for name in ("image.qcow2", "image", "original", "copy.qcow2", "base.qcow2"):
        run("create", "-q", "-f", "qcow2", name, "8M")
    run("snapshot", "-c", "first", "image.qcow2")
    run("snapshot", "-c", "first", "image")
    for name in ("overlay.qcow2", "top.qcow2"):
        run("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", name)
    run("create", "-q", "-f", "vpc", "image.vhd", "8M")
    for name in ("outer", "disk.vmdk"):
        run("create", "-q", "-f", "vmdk" if name == "disk.vmdk" else "qcow2", name, "8M")
    return tmp_path


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize(("name", "command"), commands("qemu-img "))
def test_the_commands_of_qemu_that_are_recommended_work(examples, name, command):
    if "--object secret" in command:
        _encrypt(examples / "image.qcow2", examples / "key")

    done = subprocess.run(
        filled(command, VALUES | {"inner": "inner.raw"}),
        cwd=examples,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, f"{name}: {command}\n{done.stderr}"


def _encrypt(image, key):
    """An encrypted image in its place, of a key that is derived quickly."""
    key.write_text("secret")
    options = "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10"
    create = ("qemu-img", "create", "-q", "--object", f"secret,id=k,file={key}", "-f", "qcow2")
    subprocess.run((*create, "-o", options, image, "8M"), check=True, timeout=60)
