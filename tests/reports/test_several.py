"""Several reports in one document: each kind holds all of them, and a table at the top tells them apart."""

import io
import json
from xml.etree import ElementTree as ET

import pytest

from pipeline import reports
from pipeline.model import to_json
from pipeline.reports import matrix, terminal
from tests import samples
from tests.made_reports import stored


@pytest.fixture(scope="module")
def found():
    """One image by two profiles, and another one by one."""
    large = samples.facts({"virtual_size": 100 << 30}, of=samples.QCOW2)
    return [
        samples.report(large, by="rackspace-2014"),
        samples.report(large, by="rackspace-2020"),
        samples.report(samples.facts(guest={"status": "skipped", "reason": "off"}), "b.vhd"),
    ]


def test_a_row_tells_the_cloud_its_verdict_and_what_becomes_of_the_image(found):
    old, new, other = matrix.rows([to_json(report) for report in found])

    assert (old.profile, old.verdict) == ("rackspace-2014", "rejected")
    assert old.reasons == (("The disk is larger than the cloud accepts", "virtual-size-limit"),)
    assert (old.converted, old.repair) == (("vhd-format",), "imgprep will fix")
    assert old.target == "dynamic vhd, disk 100 GiB"
    assert (new.verdict, new.reasons, new.more) == ("accepted", (), 0)
    assert (other.source, other.verdict) == ("b.vhd", "undetermined")
    assert "not judged" in other.reasons[0][0]
    assert matrix.not_judged((old, new, other)) == ("off",)


def test_of_what_is_stored_the_table_says_that_it_was_fixed():
    (row,) = matrix.rows([to_json(stored())])

    assert row.repair == "imgprep fixed"
    assert "imgprep fixed: vhd-format" in reports.render("html", [stored(), stored()])


def test_the_sentence_counts_who_takes_each_image(found):
    told = matrix.sentence(matrix.rows([to_json(report) for report in found]))

    assert told == (
        "1 of 2 profiles takes disk.qcow2: rackspace-2020. "
        "None of 1 profile takes b.vhd. Undetermined: rackspace-2020."
    )


def test_json_is_an_array_of_reports_also_when_it_is_one(found):
    assert json.loads(reports.render("json", found)) == [to_json(report) for report in found]
    assert json.loads(reports.render("json", found[:1])) == [to_json(found[0])]
    assert json.loads(reports.render("json", found[0])) == to_json(found[0])


def test_junit_has_a_suite_for_each(found):
    root = ET.fromstring(reports.render("junit", found))

    assert [suite.get("name") for suite in root] == [
        "disk.qcow2: rackspace-2014",
        "disk.qcow2: rackspace-2020",
        "b.vhd: rackspace-2020",
    ]
    assert root[0].find("testcase").get("classname") == "rackspace-2014"


def test_sarif_has_a_run_for_each_with_an_id_of_its_own(found):
    runs = json.loads(reports.render("sarif", found))["runs"]

    assert [run["automationDetails"]["id"] for run in runs] == [
        "imgprep/rackspace-2014/disk.qcow2/",
        "imgprep/rackspace-2020/disk.qcow2/",
        "imgprep/rackspace-2020/b.vhd/",
    ]


@pytest.mark.parametrize("kind", ["markdown", "html", "github"])
def test_a_readable_kind_names_each_and_keeps_every_finding(kind, found):
    text = reports.render(kind, found)

    for part in ("disk.qcow2", "b.vhd", "rackspace", "virtual-size-limit"):
        assert part in text


def test_html_is_one_page_with_a_link_to_each(found):
    text = reports.render("html", found)

    assert text.count("<html") == 1
    assert text.count("<article") == 3
    assert 'href="#report-3"' in text
    assert text.count("<h1>") == 1


def test_markdown_has_one_title(found):
    titles = [line for line in reports.render("markdown", found).splitlines() if line[:2] == "# "]

    assert len(titles) == 1


@pytest.mark.parametrize("width", [60, 80, 110])
def test_the_matrix_stays_within_its_width(found, width):
    rows = matrix.rows([to_json(report) for report in found])

    lines = ["".join(text for text, _ in line) for line in terminal.matrix_lines(rows, width)]

    assert all(len(line) <= width or line.startswith("next: ") for line in lines)


def test_the_matrix_is_printed_plainly_where_there_is_no_terminal(found):
    out = io.StringIO()

    reports.print_summary(found, out)

    text = out.getvalue()
    assert "✗ rackspace-2014  rejected" in text
    assert "next: imgprep check disk.qcow2 --profile rackspace-2014" in text
    assert "\x1b" not in text


def test_an_old_report_without_the_profile_s_name_is_shown_by_the_one_that_was_given(found):
    old = {key: value for key, value in to_json(found[0]).items() if key != "profile"}

    (row,) = matrix.rows([old])

    assert (row.profile, row.target) == ("rackspace", "")


def test_the_next_command_keeps_what_the_person_chose(found):
    report = to_json(found[0])
    report["job"]["options"] |= {
        "guest": "direct", "unpack": True, "strict": True, "allow": {"suffix-mismatch": "old name"},
    }  # fmt: skip

    command = matrix.next_command(matrix.rows([report]))

    assert command == (
        "imgprep check disk.qcow2 --profile rackspace-2014 --guest direct --unpack --strict "
        "--allow 'suffix-mismatch=old name'"
    )
