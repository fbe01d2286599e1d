"""Every view of a report: whole, valid in its format, and safe with hostile text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from pipeline import reports
from pipeline.model import Report as ReportType
from pipeline.model import (
    from_json,
    to_json,
)
from pipeline.reports import whole
from tests import samples
from tests.made_reports import ALL, bad, failed, good, healthy, hostile, summary


@pytest.fixture(params=ALL.values(), ids=ALL)
def report(request):
    return request.param()


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", reports.KINDS)
def test_every_kind_is_made_from_the_json_alone(report, kind):
    stored_yesterday = json.loads(json.dumps(to_json(report)))

    assert reports.render(kind, stored_yesterday) == reports.render(kind, report)


@pytest.mark.parametrize("kind", [*reports.KINDS, "terminal"])
def test_no_kind_lets_hostile_text_steer(kind):
    text = summary(hostile()) if kind == "terminal" else reports.render(kind, hostile())

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text or kind == "json"
    if kind in ("html", "markdown"):
        assert "<script" not in text
    if kind == "github":
        assert all(line.startswith("::") for line in text.splitlines())


@pytest.mark.parametrize("kind", [*reports.KINDS, "terminal"])
def test_a_name_that_is_no_utf8_can_be_written(kind):
    report = samples.report(samples.facts(), source="caf\udce9.vhd")

    text = summary(report) if kind == "terminal" else reports.render(kind, report)

    assert b"caf" in text.encode("utf-8")
    if kind == "json":
        assert json.loads(text)["job"]["source"] == "caf\udce9.vhd"


# --- json ----------------------------------------------------------------------------------------


def test_the_json_is_the_report_and_can_be_read_again(report):
    read = json.loads(reports.render("json", report))

    assert whole.validate(read) is None
    assert to_json(from_json(read | {"artifact": None}, ReportType)) == read | {"artifact": None}


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "fine"},
        {"exit_code": 9},
        {"passed": ["x", "x"]},
        {"started": "yesterday"},
        {"colour": "red"},
        {"facts": {"container": {"format": "raw"}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_report_that_breaks_its_schema_is_not_written(change):
    with pytest.raises(whole.InvalidReport, match=next(iter(change))):
        reports.render("json", to_json(good()) | change)


# --- junit ---------------------------------------------------------------------------------------


def cases(report):
    root = ET.fromstring(reports.render("junit", report))
    suite = root.find("testsuite")
    counted = {key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}
    found = {case.get("name"): case for case in suite.iter("testcase")}
    assert counted["tests"] == len(found)
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert counted[key] == sum(case.find(tag) is not None for case in found.values())
    return found


def test_junit_has_one_case_a_requirement():
    report = bad()
    found = cases(report)

    rules = (
        {item.rule for item in report.findings} | set(report.passed) | set(report.not_applicable)
    )
    assert set(found) == rules
    assert "base.img" in found["backing-file"].find("failure").text
    assert found["windows-guest"].find("skipped").get("message").endswith("--guest=off was given.")
    assert "4711" in found["virtual-size-limit"].find("skipped").get("message")
    for rule in ("vhd-format", "iso-in-partition", report.passed[0]):
        assert found[rule].find("failure") is None


def test_junit_follows_fail_on():
    report = bad()
    options = report.job["options"]
    strict = replace(report, job=report.job | {"options": options | {"fail_on": "warning"}})
    never = replace(report, job=report.job | {"options": options | {"fail_on": "never"}})

    assert cases(strict)["iso-in-partition"].find("failure") is not None
    assert all(case.find("failure") is None for case in cases(never).values())


def test_junit_tells_trouble_with_tools_from_a_bad_image():
    assert cases(failed())["job"].find("error").get("type") == "source-missing"


def test_junit_is_xml_with_any_text():
    assert "<script>" in cases(hostile())["vhd-bat"].find("failure").get("message")


# --- sarif ---------------------------------------------------------------------------------------


def run(report):
    log = json.loads(reports.render("sarif", report))
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    return log["runs"][0]


def test_sarif_results_refer_to_their_rules(report):
    found = run(report)

    rules = found["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in found["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert (result["kind"] == "fail") == (result["level"] != "none")
        for rule in rules:
            assert rule["helpUri"].startswith("https://")


def test_sarif_points_at_the_bytes():
    (result,) = [item for item in run(bad())["results"] if item["ruleId"] == "backing-file"]

    physical = result["locations"][0]["physicalLocation"]
    assert physical["region"] == {"byteOffset": 4096, "byteLength": 8}
    assert physical["artifactLocation"] == {"uri": "disk.qcow2", "index": 0}


def test_sarif_knows_open_and_suppressed_results():
    results = {item["ruleId"]: item for item in run(bad())["results"]}

    assert (results["windows-guest"]["kind"], results["windows-guest"]["level"]) == ("open", "none")
    (suppression,) = results["virtual-size-limit"]["suppressions"]
    assert suppression["justification"] == "agreed in case 4711"
    assert "vhd-format" not in results  # the conversion fixes it: nothing is wrong


def test_sarif_says_when_and_how_the_run_ended():
    (invocation,) = run(failed())["invocations"]

    assert invocation["executionSuccessful"] is False
    assert invocation["exitCode"] == 3
    assert invocation["startTimeUtc"] == "2026-11-23T10:00:00.000Z"
    (notification,) = invocation["toolExecutionNotifications"]
    assert notification["descriptor"]["id"] == "source-missing"


def test_sarif_fingerprints_stay_and_differ():
    def prints(report):
        return [item["partialFingerprints"]["imgprepFinding/v1"] for item in run(report)["results"]]

    once = prints(bad())

    assert once == prints(bad(started="2027-01-01T00:00:00+00:00"))
    assert len(set(once)) == len(once)


def test_sarif_uris_are_percent_encoded():
    report = replace(good(), job=good().job | {"source": "/srv/my images/a#1.vhd"})

    assert run(report)["artifacts"][0]["location"]["uri"] == "file:///srv/my%20images/a%231.vhd"


def test_sarif_tells_images_and_profiles_apart():
    one, other = bad(), replace(bad(), job=bad().job | {"source": "b/disk.qcow2"})

    assert run(one)["automationDetails"]["id"] == "imgprep/rackspace-2020/disk.qcow2/"
    assert run(other)["automationDetails"]["id"] == "imgprep/rackspace-2020/b%2Fdisk.qcow2/"


def test_sarif_has_nothing_to_say_about_a_healthy_qcow2():
    found = samples.report(samples.facts(of=samples.QCOW2))

    assert run(found)["results"] == []


# --- markdown, html, github ----------------------------------------------------------------------


def test_markdown_tells_what_is_wrong_and_what_to_do():
    text = reports.render("markdown", bad())

    assert text.startswith("# ❌ disk.qcow2: rejected\n")
    for part in ("## Errors", "`backing-file`", "bytes 4096-4103", "to do:", "## Allowed"):
        assert part in text
    assert "agreed in case 4711" in text


def test_hostile_markdown_stays_in_its_cell():
    text = reports.render("markdown", hostile())

    rows = [line for line in text.splitlines() if line.startswith("| format")]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 3


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], set(), ""
        self.links = []

    def handle_starttag(self, tag, attrs):
        self.seen |= {tag, *(name for name, _ in attrs)}
        self.links += [value for name, value in attrs if name == "href"]
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_is_one_page_that_loads_nothing(report):
    page = Page()

    page.feed(reports.render("html", report))

    assert page.open == []
    assert not {"script", "img", "src", "onload", "iframe"} & page.seen
    assert all(address.startswith(("https://", "data:,", "#")) for address in page.links)
    assert report.verdict in page.text


def test_html_shows_no_raw_json_of_cloud_init():
    text = reports.render("html", good())

    assert "final: scripts_vendor" in text
    assert "{&#34;" not in text


def test_github_annotations_name_file_and_severity():
    lines = reports.render("github", bad()).splitlines()

    commands = [line.split(" ")[0] for line in lines]
    assert commands == ["::error", "::warning", "::notice", "::error"]
    assert all("file=disk.qcow2,title=" in line for line in lines)


def test_github_annotates_what_was_not_judged_once_a_reason():
    lines = reports.render("github", healthy()).splitlines()

    (line,) = (line for line in lines if "not judged:" in line.lower())
    assert line.startswith("::warning file=disk.qcow2,title=")
    assert "machine-id" in line
