"""SARIF by the schema of OASIS, JUnit by the XSD of Jenkins' reader: whatever the report holds."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path

import pytest
from jsonschema import Draft4Validator

from pipeline import reports
from tests import made_reports as made
from tests.reports.test_html_in_a_browser import detailed

DATA = Path(__file__).parents[1] / "data"
REPORTS = {
    **made.ALL,
    "detailed": detailed,
    "several": lambda: [made.bad(), made.good(), made.failed()],
}


@functools.cache
def sarif():
    return Draft4Validator(json.loads((DATA / "sarif-2.1.0-rtm.5.json").read_bytes()))


@pytest.mark.parametrize("name", REPORTS)
def test_sarif_is_what_oasis_says(name):
    log = json.loads(reports.render("sarif", REPORTS[name]()))

    problems = [f"{error.json_path}: {error.message[:200]}" for error in sarif().iter_errors(log)]

    assert problems == []


def test_the_schema_of_oasis_finds_what_is_wrong():
    log = json.loads(reports.render("sarif", made.bad()))
    log["runs"][0]["results"][0]["level"] = "catastrophe"

    assert list(sarif().iter_errors(log))


def validated(text, tmp_path):
    path = tmp_path / "report.xml"
    path.write_text(text)
    return subprocess.run(
        ["xmllint", "--noout", "--nonet", "--schema", DATA / "junit-10.xsd", path],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.needs("xmllint")
@pytest.mark.parametrize("name", REPORTS)
def test_junit_is_what_jenkins_reads(name, tmp_path):
    done = validated(reports.render("junit", REPORTS[name]()), tmp_path)

    assert done.returncode == 0, done.stderr


@pytest.mark.needs("xmllint")
def test_the_schema_of_jenkins_finds_what_is_wrong(tmp_path):
    text = reports.render("junit", made.bad()).replace("<testcase ", "<test_case ", 1)

    assert validated(text, tmp_path).returncode != 0
