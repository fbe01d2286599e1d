"""The house keeps its rooms: who may import whom, who may start processes, print, or open sockets."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("stages/*.py")])

NOUNS = {
    "pipeline",
    "pipeline.model",
    "pipeline.errors",
    "pipeline.events",
    "pipeline.defaults",
    "pipeline.facts",
    "pipeline.text",
}
KNOWLEDGE = NOUNS | {"pipeline.source", "pipeline.formats"}
BYTES = KNOWLEDGE | {
    "pipeline.content",
    "pipeline.fileview",
    "pipeline.decompress",
    "pipeline.remote",
}
WORK = BYTES | {
    "pipeline.beside",
    "pipeline.disk",
    "pipeline.stage",
    "pipeline.tools",
    "pipeline.targets",
}

# room (the longest matching prefix wins) -> what of ours it may import: these, and all below them
MAY_IMPORT = {
    "pipeline": set(),
    "pipeline.model": set(),
    "pipeline.errors": set(),
    "pipeline.text": set(),
    "pipeline.events": {"pipeline.model"},
    "pipeline.source": {"pipeline.errors", "pipeline.text"},
    "pipeline.facts": set(),
    "pipeline.disk": BYTES | {"pipeline.facts", "pipeline.tools"},
    "pipeline.beside": set(),
    "pipeline.defaults": set(),
    "pipeline.fileview": KNOWLEDGE,
    "pipeline.pool": set(),
    "pipeline.remote": KNOWLEDGE | {"pipeline.fileview", "pipeline.pool"},
    "pipeline.fingerprint": KNOWLEDGE | {"pipeline.fileview", "pipeline.pool", "pipeline.remote"},
    "pipeline.decompress": KNOWLEDGE,
    "pipeline.formats": KNOWLEDGE,
    "pipeline.content": KNOWLEDGE,
    "pipeline.guest": BYTES,
    "pipeline.profile": NOUNS,
    "pipeline.config": NOUNS | {"pipeline.profile"},
    "pipeline.paragraphs": set(),
    "pipeline.explain": NOUNS
    | {"pipeline.profile", "pipeline.profile_text", "pipeline.paragraphs"},
    "pipeline.profile_text": NOUNS | {"pipeline.profile", "pipeline.paragraphs"},
    "pipeline.profile_page": NOUNS | {"pipeline.profile", "pipeline.profile_text"},
    "pipeline.reports": NOUNS | {"pipeline.profile"},
    "pipeline.stage": NOUNS
    | {"pipeline.beside", "pipeline.disk", "pipeline.source", "pipeline.profile"},
    "pipeline.journal": NOUNS,
    "pipeline.unpack": BYTES | {"pipeline.stage"},
    "pipeline.tools": BYTES | {"pipeline.guest", "pipeline.stage"},
    "pipeline.targets": WORK,
    "pipeline.transfer": BYTES | {"pipeline.pool", "pipeline.stage"},
    "pipeline.stores": BYTES | {"pipeline.pool", "pipeline.stage", "pipeline.transfer"},
    "pipeline.gathered": NOUNS | {"pipeline.profile"},
    "pipeline.engine": NOUNS
    | {
        "pipeline.gathered",
        "pipeline.beside",
        "pipeline.disk",
        "pipeline.fingerprint",
        "pipeline.journal",
        "pipeline.profile",
        "pipeline.source",
        "pipeline.stage",
    },
    "pipeline.batch": NOUNS
    | {
        "pipeline.engine",
        "pipeline.profile",
        "pipeline.stage",
        "pipeline.stores",
        "pipeline.targets",
        "pipeline.tools",
    },
    "pipeline.cli": {"pipeline", "stages"},
    "stages": WORK
    | {
        "pipeline.guest",
        "pipeline.profile",
        "pipeline.stores",
        "pipeline.transfer",
        "pipeline.unpack",
    },
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Every module of ours that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {_target(node.module, alias.name) for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("pipeline", "stages")}


def _target(module: str, name: str) -> str:
    candidate = ROOT.joinpath(*module.split("."), name)
    is_module = candidate.with_suffix(".py").exists() or (candidate / "__init__.py").exists()
    return f"{module}.{name}" if is_module else module


def room_of(name: str) -> str:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in MAY_IMPORT:
            return prefix
    raise AssertionError(f"{name} is in no room")


def allowed(name: str, rooms: set[str]) -> bool:
    exact_only = {"pipeline"} if "stages" not in rooms else set()
    return any(
        name == room or (room not in exact_only and name.startswith(f"{room}.")) for room in rooms
    )


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_inward(path):
    name = module_name(path)
    room = room_of(name)
    assert name == room or name.startswith(f"{room}.")
    if room == "pipeline" and name != "pipeline":
        pytest.fail(f"{name} stands in no room of MAY_IMPORT: say what it may import")

    strangers = {
        other
        for other in imports(path)
        if not allowed(other, MAY_IMPORT[room]) and not other.startswith(room)
    }

    assert not strangers, f"{name} may not import {sorted(strangers)}"


def test_the_test_sees_imports_inside_functions(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from pipeline import engine\n    import stages.check\n")

    assert imports(file) == {"pipeline.engine", "stages.check"}


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of files that import each other in a round, found by removing all that is in none."""
    left = {name: {other for other in others if other in graph} for name, others in graph.items()}
    while True:
        wanted = set().union(*left.values()) if left else set()
        ends = {name for name, others in left.items() if not others or name not in wanted}
        if not ends:
            break
        left = {name: others - ends for name, others in left.items() if name not in ends}
    return {frozenset(reach(left, name) & reach(_turned(left), name)) for name in left}


def reach(graph: dict[str, set[str]], start: str) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def _turned(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    return {name: {other for other, seen in graph.items() if name in seen} for name in graph}


def test_no_files_import_each_other_in_a_circle():
    """Imports for type checking and inside functions count: a circle is one however it is hidden."""
    graph = {module_name(path): imports(path) - {module_name(path)} for path in FILES}

    found = {circle for circle in circles(graph) if len(circle) > 1}

    assert found == set(), [sorted(circle) for circle in found]


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c", "x"}, "c": {"b"}, "x": set(), "y": {"a"}}

    assert {circle for circle in circles(graph) if len(circle) > 1} == {frozenset({"b", "c"})}


STARTS_PROCESSES = re.compile(
    r"\b(subprocess|os\.(system|popen|exec\w+|spawn\w+|posix_spawn)|pty)\b"
)
PRINTS = re.compile(r"(^|[^\w.])print\(|sys\.std(out|err)\.write")
CONNECTS = re.compile(
    r"^\s*(import|from) (socket|http|urllib\.request|requests|urllib3|boto3|swiftclient)\b",
    re.MULTILINE,
)

# children are spoken to through sockets that no network has
UNIX_SOCKETS = re.compile(r"^\s*import socket$", re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_processes_printing_and_network_have_one_room_each(path):
    name, text = module_name(path), path.read_text()
    code = "\n".join(ast.unparse(node) for node in ast.parse(text).body if not _is_text(node))

    if not name.startswith("pipeline.tools"):
        assert not STARTS_PROCESSES.search(code)
    if not name.startswith(("pipeline.cli", "pipeline.tools.appliance.worker")):
        assert not PRINTS.search(code)
    if name.startswith("pipeline.tools"):
        code = UNIX_SOCKETS.sub("", code) if "AF_INET" not in code else code
    if not name.startswith("pipeline.stores"):
        assert not CONNECTS.search(code)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_importing_the_command_line_is_light():
    """What makes `imgprep --help` slow must be imported where it is used."""
    import subprocess
    import sys

    code = "import sys, pipeline.cli.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {
        "jsonschema",
        "rich",
        "boto3",
        "botocore",
        "swiftclient",
        "requests",
        "jinja2",
        "guestfs",
        "nbd",
    }

    assert not heavy & set(done.stdout.split())
