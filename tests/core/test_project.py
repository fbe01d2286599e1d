"""What stands around the code: the wheel, the documents, the top level."""

import importlib.metadata
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import typer.main

from pipeline import __version__

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "BENCHMARKS.md", "pipeline/README.md"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", out, ROOT],
        check=True,
        capture_output=True,
        timeout=240,
    )
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_lists_exactly_our_three_packages(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}

    assert tops == {"pipeline", "stages", "schemas", f"imgprep-{__version__}.dist-info"}


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    tracked = {
        str(path.relative_to(ROOT))
        for folder in ("pipeline", "stages", "schemas")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert tracked - set(wheel.namelist()) == set()


def test_the_command_leads_to_a_function(wheel):
    text = wheel.read(f"imgprep-{__version__}.dist-info/entry_points.txt").decode()
    (target,) = re.findall(r"^imgprep = (\S+)$", text, re.MULTILINE)

    assert callable(importlib.metadata.EntryPoint("imgprep", target, "console_scripts").load())


def commands() -> dict[str, set[str]]:
    from pipeline.cli.main import app

    group = typer.main.get_command(app)
    return {name: options(command) for name, command in group.commands.items()}


def options(command) -> set[str]:
    """The options of a command and of its subcommands."""
    inner = [options(each) for each in getattr(command, "commands", {}).values()]
    return {option for parameter in command.params for option in parameter.opts}.union(*inner)


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"```(?:sh|console)?\n(.*?)```", text, re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("imgprep ")]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_documented_command_exists_with_its_options(document):
    known = commands()
    for line in shell_lines((ROOT / document).read_text()):
        words = line.split("#")[0].split()
        if words[1].startswith("-"):
            continue
        assert words[1] in known, line
        for option in re.findall(r"(?<=\s)(--[a-z-]+)", line):
            assert option in known[words[1]] | {"--help"}, line


def test_every_command_is_documented():
    text = "\n".join(shell_lines((ROOT / "README.md").read_text()))

    undocumented = {name for name in commands() if f"imgprep {name}" not in text}
    assert not undocumented


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_inside_the_documents_lead_somewhere(document):
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), f"{document}: {target}"


def test_the_map_names_every_room():
    text = (ROOT / "pipeline" / "README.md").read_text()
    rooms = {path.name for path in (ROOT / "pipeline").iterdir() if path.name[0] not in "_."}

    assert {room for room in rooms - {"README.md"} if room.removesuffix(".py") not in text} == set()


def test_ci_calls_the_test_command_that_the_readme_names():
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_changelog_speaks_of_this_version():
    assert __version__ in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("arguments", [["ruff", "check", "."], ["ruff", "format", "--check", "."]])
def test_the_linter_is_content(arguments):
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_hold():
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, timeout=280
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_make_alone_prints_help():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=30)

    assert done.returncode == 0
    targets = set(re.findall(r"^  make ([a-z-]+)", done.stdout, re.MULTILINE))
    assert {"setup", "run", "test", "lint", "bench", "fuzz", "mutants"} <= targets


def test_json_files_are_json():
    for path in (ROOT / "schemas").rglob("*.json"):
        json.loads(path.read_text())


def test_no_two_test_files_have_one_name():
    """Pytest imports a test file by its bare name: of two that share one only the first is run."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]

    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_tests_that_share_a_launch_go_to_one_worker(tmp_path):
    group = "pytestmark = pytest.mark.xdist_group('one')"
    case = (
        "@pytest.mark.parametrize('n', range(6))\ndef test_it(n, worker_id):\n    print(worker_id)"
    )
    (tmp_path / "test_shared.py").write_text(f"import pytest\n{group}\n{case}\n")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-v", "-c", "/dev/null"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )

    workers = re.findall(r"^\[(gw\d)\]", done.stdout, re.MULTILINE)
    assert len(workers) == 6, done.stdout + done.stderr
    assert len(set(workers)) == 1
