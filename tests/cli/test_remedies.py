"""Whatever imgprep tells a person to type can be typed: every remedy that is a command is tried."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import typer

from pipeline.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
OURS = "batch|check|cleanup|config|convert|doctor|explain|inspect|profiles|report|run|upload"
COMMAND = re.compile(
    rf"\b((?:imgprep (?:{OURS})|qemu-img (?:check|convert|create|snapshot|measure))\b[^;:,()']*?)"
    r"(?=[;:,()']|\. |\.$| (?:again|and|checks|for|lists|makes|of|on|prints|shows|tells|tries|with) |$)"
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
NO_COMMAND = re.compile(r"qemu-img check|.* --object secret")
"""A program's name in a sentence, and what needs a key that only the person has."""


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


@pytest.mark.parametrize(("name", "command"), commands("imgprep "))
def test_imgprep_knows_the_commands_that_it_recommends(name, command):
    words = filled(command, VALUES | {"NAME": "rackspace"})[1:]
    group = typer.main.get_command(app)
    sub = group.commands[words[0]]

    parser = sub.make_parser(click.Context(sub))
    options = set(parser._long_opt)
    given = [word for word in words[1:] if word.startswith("--")]

    assert set(given) <= options, f"{name}: {command}"


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
    done = subprocess.run(
        filled(command, VALUES | {"inner": "inner.raw"}),
        cwd=examples,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, f"{name}: {command}\n{done.stderr}"
