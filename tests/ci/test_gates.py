"""The gates for other people's CI: what their files say is done here, with the real command."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clean_trees import container_steps

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def work(tmp_path):
    """A workspace with a disk that is too large, a command named imgprep, and a home."""
    with (tmp_path / "disk.raw").open("wb") as out:
        out.write(b"\x33\xc0" + bytes(508) + b"\x55\xaa")
        out.truncate(200 << 30)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "imgprep"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m pipeline.cli.main "$@"\n')
    command.chmod(0o755)
    (tmp_path / "home").mkdir()
    return tmp_path


def environment(work, **more):
    return {
        "PATH": f"{work}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(work / "home"),
        "LC_ALL": "C.UTF-8",
        **more,
    }


def run(script, work, **more):
    return subprocess.run(
        ["bash", "-c", script],
        cwd=work,
        env=environment(work, **more),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.needs("bash")
def test_the_step_of_the_github_action(work):
    # given a checkout of the action, whose virtual environment is the command's
    action = work / "action"
    (action / ".ci").mkdir(parents=True)
    (action / ".venv" / "bin").mkdir(parents=True)
    (action / ".ci" / "github-check").write_bytes((ROOT / ".ci" / "github-check").read_bytes())
    (action / ".venv" / "bin" / "imgprep").symlink_to(work / "bin" / "imgprep")

    done = run(
        f"bash {action}/.ci/github-check",
        work,
        IMAGES="*.raw",
        IMGPREP_GUEST="off",
        IMGPREP_PROFILE="",
        IMGPREP_CONFIG="",
        IMGPREP_STRICT="false",
        IMGPREP_FAIL_ON="error",
        RUNNER_TEMP=str(work),
        GITHUB_OUTPUT=str(work / "output"),
        GITHUB_STEP_SUMMARY=str(work / "summary"),
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("::error file=disk.raw,title=")
    told = dict(line.split("=", 1) for line in (work / "output").read_text().splitlines())
    assert told["exit-code"] == "1"
    (found,) = json.loads(Path(told["report"]).read_text())
    assert found["verdict"] == "rejected"
    assert json.loads(Path(told["sarif"]).read_text())["runs"]
    assert "virtual-size-limit" in (work / "summary").read_text()


def test_the_action_passes_every_input_on():
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    text = (ROOT / "action.yml").read_text()

    assert action["runs"]["using"] == "composite"
    for name in action["inputs"]:
        assert f"inputs.{name}" in text
    for step in action["runs"]["steps"]:
        assert "uses" in step or step["shell"] == "bash"


@pytest.mark.needs("bash")
def test_the_script_of_the_gitlab_template(work):
    job = yaml.safe_load((ROOT / "ci" / "gitlab.yml").read_text())["imgprep"]

    done = run("\n".join(job["script"]), work, IMGPREP_IMAGES="*.raw", IMGPREP_GUEST="off")

    assert done.returncode == 1, done.stderr
    written = [*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]]
    assert {name for name in written if not (work / name).exists()} == set()


@pytest.mark.needs("bash")
def test_the_entries_of_the_pre_commit_hooks(work):
    hooks = {
        hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    }

    check = hooks["imgprep-check"]["entry"]
    assert run(f"{check} disk.raw", work).returncode == 1
    profile = hooks["imgprep-profile"]["entry"]
    good = ROOT / "schemas" / "profiles" / "rackspace-2020.json"
    (work / "bad.json").write_text("{}")
    assert run(f"{profile} {shlex.quote(str(good))}", work).returncode == 0
    assert run(f"{profile} {shlex.quote(str(good))} bad.json", work).returncode == 2


def test_the_container_installs_what_make_setup_installs():
    makefile = (ROOT / "Makefile").read_text()

    assert "setup:" in makefile
    assert "@.ci/setup run" in makefile
    assert ".ci/setup run" in container_steps()[0]
