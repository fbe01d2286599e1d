"""Every error code that the sources raise is explained, with the exit code that it has."""

import ast
import functools
import re
from pathlib import Path

import pytest

from pipeline import errors, explain

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("stages/**/*.py")])
CLASSES = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type)
    and issubclass(found, errors.ImgprepError)
    and found not in (errors.ImgprepError, errors.Interrupted)
}
KEBAB = re.compile(r"[a-z]+(-[a-z0-9]+)+")


@functools.cache
def raised() -> list[tuple[str, int, str]]:
    """Code, exit code and place of every error that is made."""
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if name in CLASSES and call.args:
                place = f"{path.relative_to(ROOT)}:{call.lineno}"
                codes = constants(call.args[0]) or computed(tree, CLASSES[name].exit_code)
                found += [(code, CLASSES[name].exit_code, place) for code in codes]
    return found


def constants(node: ast.expr) -> set[str]:
    """The codes that stand in the call itself: one text, or one of two."""
    if isinstance(node, ast.IfExp):
        return constants(node.body) | constants(node.orelse)
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return {node.value} if is_text else set()


def computed(tree: ast.Module, exit_code: int) -> set[str]:
    """Where the code comes from a table of the module: every code-like text in a tuple or dict."""
    prefixes = {3: ("guest",), 5: ("store", "object", "container")}.get(exit_code, ())
    tables = (node for node in ast.walk(tree) if isinstance(node, ast.Tuple | ast.Dict))
    return {
        item.value
        for table in tables
        for item in ast.walk(table)
        if isinstance(item, ast.Constant)
        and isinstance(item.value, str)
        and KEBAB.fullmatch(item.value)
        and item.value.split("-")[0] in prefixes
    }


def test_codes_are_found_in_the_sources():
    assert {"source-missing", "tool-timeout", "store-forbidden"} <= {code for code, *_ in raised()}


@pytest.mark.parametrize("code", sorted({code for code, *_ in raised()}))
def test_a_code_that_is_raised_is_explained(code):
    places = [place for each, _, place in raised() if each == code]

    found = explain.error_catalogue().get(code)

    assert found is not None, f"{code} ({places}) is missing in schemas/errors.json"
    assert found.exit_code in {exit_code for each, exit_code, _ in raised() if each == code}


def test_nothing_is_explained_that_is_never_raised():
    # the probe of the appliance names its codes after the program that is missing
    known = {code for code, *_ in raised()} | {"interrupted", "guest-qemu-missing"}
    text = "".join(path.read_text() for path in SOURCES)

    unused = [code for code in explain.error_catalogue() if code not in known]

    assert [code for code in unused if f'"{code}"' not in text] == []


@pytest.mark.parametrize("code", sorted(explain.error_catalogue()))
def test_an_explanation_says_what_happened_and_what_to_do(code):
    found = explain.error_catalogue()[code]

    assert KEBAB.fullmatch(code) or code == "interrupted"
    for text in (found.title, found.explanation, found.remedy):
        assert len(text) > 10
    assert found.explanation.endswith(".")
    assert code in explain.text(explain.explain(code)[0])
