"""Every requirement is valid, proves itself by its cases, and fills its templates."""

import json
from pathlib import Path

import jsonschema
import pytest

from pipeline import profile
from pipeline.profile import schemas, templates
from pipeline.profile.judging import fact_paths, unknown_reason
from pipeline.profile.requirements import SCHEMAS

FILES = sorted((SCHEMAS / "requirements").glob("*.json"))


def content(path: Path) -> dict:
    return json.loads(path.read_bytes())


def cases(kind: str):
    return [
        pytest.param(path, case, id=f"{path.stem}-{number}")
        for path in FILES
        for number, case in enumerate(content(path)["x-cases"][kind])
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_requirement_has_the_form_of_one(path):
    document = content(path)

    jsonschema.Draft202012Validator.check_schema(document)

    assert schemas.problems("requirement", document) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_templates_have_only_fields_that_can_be_filled(path):
    finding = content(path)["x-finding"]

    for key in ("message", "expected", "remedy"):
        assert templates.template_problems(finding[key]) == []
        for name in templates.fields(finding[key]):
            section = name.partition(".")[0]
            assert section in ("container", "disk", "guest", "detail", "parameters"), name


@pytest.mark.parametrize(("path", "facts"), cases("pass"))
def test_the_facts_that_pass_do_pass(path, facts):
    assert jsonschema.Draft202012Validator(content(path)).is_valid(facts)
    assert judged(path, facts) == "pass"


@pytest.mark.parametrize(("path", "facts"), cases("fail"))
def test_the_facts_that_fail_do_fail(path, facts):
    assert not jsonschema.Draft202012Validator(content(path)).is_valid(facts)
    assert judged(path, facts) == "fail"


@pytest.mark.parametrize(("path", "facts"), cases("fail"))
def test_a_failing_case_becomes_a_whole_sentence(path, facts):
    found = [item for item in findings(path, facts) if item.rule == path.stem]

    assert found
    for finding in found:
        text = f"{finding.message} {finding.expected} {finding.remedy}"
        assert "{" not in finding.message
        assert finding.message == templates.fill(finding.message, {})
        assert not any(bad in text for bad in ("  ", "..."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_it_judges_by_is_among_its_needs(path):
    document = content(path)
    spoken = {*fact_paths({k: v for k, v in document.items() if k != "if"})}
    spoken |= {*fact_paths(document.get("then", {}))} - {*fact_paths(document.get("if", {}))}
    needs = document["x-finding"]["needs"]

    for name in spoken:
        covered = any(
            name == need or name.startswith(f"{need}.") or need.startswith(f"{name}.")
            for need in needs
        )
        assert covered, f"{name} decides, but is not in needs {needs}"


def findings(path: Path, facts: dict):
    return profile.judge(alone(path), facts, subject="result").findings


def judged(path: Path, facts: dict) -> str:
    """What our judgement says about one requirement; not applicable counts as pass."""
    judgement = profile.judge(alone(path), facts, subject="result")
    if path.stem in (*judgement.passed, *judgement.not_applicable):
        return "pass"
    (status, *_) = [item.status for item in judgement.findings if item.rule == path.stem]
    return str(status)


def alone(path: Path) -> profile.Profile:
    if path not in _ALONE:
        file = _DIRECTORY / f"only-{path.stem}.json"
        file.write_text(
            json.dumps(
                {
                    "$schema": profile.DIALECT,
                    "title": "one requirement",
                    "description": "a profile of one requirement",
                    "allOf": [{"$ref": f"requirements/{path.name}"}],
                    "x-target": {"format": "vhd", "suffix": ".vhd"},
                }
            )
        )
        _ALONE[path] = profile.load(str(file))
    return _ALONE[path]


_ALONE: dict[Path, profile.Profile] = {}
_DIRECTORY = Path()


@pytest.fixture(autouse=True, scope="module")
def _directory(tmp_path_factory):
    global _DIRECTORY
    _DIRECTORY = tmp_path_factory.mktemp("profiles")


def test_null_means_none_unless_the_section_says_why_it_is_not_known():
    facts = {
        "guest": {"windows": None, "arch": None, "unknown": {"arch": "no binary was readable"}}
    }

    assert unknown_reason(facts, "guest.windows.product_type") == ""
    assert unknown_reason(facts, "guest.arch") == "no binary was readable"
    assert unknown_reason(facts, "guest.firmware") == "guest.firmware was not determined"
    assert unknown_reason(facts, "disk.optical") == "disk was not inspected"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_vendor_s_code_stands_in_the_vendor_s_profile(path):
    assert "vendor_code" not in content(path)["x-finding"]
