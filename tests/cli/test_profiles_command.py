"""``imgprep profiles``: the list, one cloud as a page, and the check of a file of one's own."""

import json
import re

import pytest

from pipeline import profile, profile_page

MINE = {
    "$schema": profile.DIALECT,
    "title": "Our golden images",
    "description": "What our own machines are made of.",
    "allOf": [{"$ref": "imgprep:profiles/openstack.json"}],
}


@pytest.fixture
def mine(tmp_path):
    def write(**changes):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(MINE | changes, indent=2))
        return path

    return write


def test_a_file_in_order_is_told_so(imgprep, mine):
    ended = imgprep("profiles", "lint", mine())

    assert ended.code == 0
    assert "in order" in ended.stdout


def test_each_mistake_is_a_line_with_its_place(imgprep, mine):
    path = mine(allOf=[{"$ref": "imgprep:profiles/opnstack.json"}], titel="x")

    ended = imgprep("profiles", "lint", path)

    assert ended.code == 2
    lines = ended.stdout.splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    assert any(line.startswith(f"{path}:10:3: ") and "'titel'" in line for line in lines)
    assert any(line.startswith(f"{path}:7:7: ") for line in lines)


def test_a_case_that_does_not_come_out_is_a_mistake(imgprep, mine, tmp_path):
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/own.json").write_text(
        json.dumps(
            {
                "$schema": profile.DIALECT,
                "title": "Not ours",
                "description": "A requirement whose examples are wrong.",
                "properties": {"guest": {"properties": {"distro": {"const": "debian"}}}},
                "x-finding": {
                    "severity": "error",
                    "needs": ["guest.distro"],
                    "message": "The guest is {guest.distro}.",
                    "expected": "debian",
                    "remedy": "Use Debian, or change the rule.",
                    "source": {"address": "https://example.org/", "date": "2026-01-01"},
                },
                "x-cases": {
                    "pass": [{"guest": {"distro": "debian"}}, {"guest": {"distro": "fedora"}}],
                    "fail": [{"guest": {"distro": "suse"}}],
                },
            }
        )
    )
    path = mine(allOf=[{"$ref": "requirements/own.json"}, *MINE["allOf"]])

    ended = imgprep("profiles", "lint", path)

    assert ended.code == 2
    assert "this case shall pass, and does not" in ended.stdout


@pytest.mark.parametrize(
    "arguments", [("lint",), ("aws", "file.json"), ("--markdown",), ("aws", "--markdown", "--json")]
)
def test_arguments_that_make_no_sense_are_told(imgprep, arguments):
    ended = imgprep("profiles", *arguments)

    assert ended.code == 2
    assert "imgprep profiles" in ended.stderr


@pytest.mark.parametrize("name", profile.names())
def test_a_page_has_every_requirement_value_and_source(name):
    found = profile.load(name)

    page = profile_page.markdown(name)

    for item in found.requirements:
        if not item.template.gate:
            assert f"| `{item.rule}` |" in page
            assert f"({item.template.source.address})" in page
    for parameter in found.parameters:
        assert f"| `{parameter}` |" in page
    outside = re.sub(r"```\n.*?\n```", "", page)  # of the import command, which has placeholders
    assert "{" not in outside
    widths = [line.replace("\\|", "").count("|") for line in page.splitlines() if line[:1] == "|"]
    assert set(widths) <= {4, 5}


def test_a_page_is_printed(imgprep):
    ended = imgprep("profiles", "gce", "--markdown")

    assert ended.code == 0
    assert ended.stdout.startswith("# Google Compute Engine")
