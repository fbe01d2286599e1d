"""Every view of a report: whole, valid in its format, and safe with hostile text."""

import io
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from pipeline import reports
from pipeline.model import (
    ErrorRecord,
    Options,
    Receipt,
    StageRecord,
    StageStatus,
    Verdict,
    from_json,
    to_json,
)
from pipeline.model import Report as ReportType
from pipeline.reports import whole
from tests import samples
from tests.samples import problem

SKIPPED = {"status": "skipped", "reason": "--guest=off was given"}
HOSTILE = "\x1b]0;x\x07<script>alert(1)</script> | `a` **b** ]]> %0A::error:: \u202e\n# c"


def good():
    return samples.report(samples.facts())


def bad(**changes):
    """Two errors, one of them with its bytes; a warning; a conversion; a waiver; unknowns."""
    facts = samples.facts(
        {
            "virtual_size": 200 << 30,
            "external_references": ["base.img"],
            "problems": [
                problem("backing-file", "base.img", offset=4096, length=8),
                problem("iso-in-partition", "partition 2"),
            ],
        },
        of=samples.QCOW2,
    ) | {"guest": SKIPPED}
    options = Options(guest="off", allow={"virtual-size-limit": "agreed in case 4711"})
    return samples.report(facts, options=options, **changes)


def stored():
    return replace(
        samples.report(samples.facts(of=samples.QCOW2)),
        artifact={
            "format": "vhd",
            "virtual_size": 10 << 30,
            "size": 950 << 20,
            "sha256": "ab" * 32,
        },
        receipt=Receipt(
            url="file:///srv/out%20dir/disk.vhd",
            size=950 << 20,
            segments=({"name": "1", "offset": 0, "size": 950 << 20, "md5": "0" * 32},),
            checksum="sha256:" + "ab" * 32,
            sha256="ab" * 32,
            verified="readback",
        ),
        stages=(
            StageRecord("check", StageStatus.DONE, 0.1),
            StageRecord("convert", StageStatus.DONE, 2.5),
        ),
    )


def failed():
    error = ErrorRecord(
        "source-missing", "the source cannot be used", "there is no file 'x'", "look"
    )
    return replace(
        good(),
        verdict=Verdict.FAILED,
        exit_code=3,
        findings=(),
        passed=(),
        not_applicable=(),
        facts={},
        stages=(),
        error=error,
    )


def hostile():
    facts = samples.facts(
        {"creator": HOSTILE, "problems": [problem("vhd-bat", HOSTILE, offset=0, length=1)]},
        guest={"product_name": HOSTILE},
    )
    error = ErrorRecord("tool-failed", "a tool failed", HOSTILE, HOSTILE)
    options = Options(allow={"uefi-only": HOSTILE})
    found = samples.report(
        facts | {"guest": facts["guest"] | {"firmware": "uefi"}}, options=options
    )
    return replace(found, job={**found.job, "source": f"{HOSTILE}.vhd"}, error=error)


def inspected():
    """What ``imgprep inspect`` gives: facts, and nothing judged."""
    stages = (StageRecord("identify", StageStatus.DONE, 0.1),)
    return replace(
        good(),
        verdict=Verdict.UNDETERMINED,
        findings=(),
        passed=(),
        not_applicable=(),
        stages=stages,
    )


ALL = {f.__name__: f for f in (good, bad, stored, failed, hostile, inspected)}


@pytest.fixture(params=ALL.values(), ids=ALL)
def report(request):
    return request.param()


def summary(report, **environment):
    out = io.StringIO()
    reports.print_summary(report, out)
    return out.getvalue()


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


# --- markdown, html, github ----------------------------------------------------------------------


def test_markdown_tells_what_is_wrong_and_what_to_do():
    text = reports.render("markdown", bad())

    assert text.startswith("# ❌ disk.qcow2: rejected\n")
    for part in ("## Errors", "`backing-file`", "bytes 4096-4103", "to do:", "## Not judged"):
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


def test_github_annotations_name_file_and_severity():
    lines = reports.render("github", bad()).splitlines()

    commands = [line.split(" ")[0] for line in lines]
    assert commands == ["::error", "::warning", "::notice", "::warning", "::error"]
    assert all("file=disk.qcow2,title=" in line for line in lines)


# --- what the conversion fixes -------------------------------------------------------------------


def healthy(**options):
    """A qcow2 that nothing is wrong with, whose guest nobody looked at."""
    found = samples.facts(of=samples.QCOW2) | {"guest": SKIPPED}
    return samples.report(found, options=Options(guest="off", **options))


def test_what_the_conversion_will_fix_is_only_said_before_it_and_of_that_format():
    made = {"format": "vhd", "virtual_size": 10 << 30, "size": 1 << 20}

    assert "imgprep will fix during conversion" in summary(healthy())
    assert "will fix" not in summary(healthy(format="qcow2"))
    assert "imgprep fixed during conversion" in summary(
        replace(healthy(keep="y.vhd"), artifact=made)
    )
    assert "met by the conversion" in summary(replace(healthy(keep="y.vhd"), artifact=made))
    assert "fix" not in summary(bad())  # refused at the gate


def test_no_finding_says_that_it_will_be_converted():
    assert all("converted" not in item.message for item in healthy().findings)


# --- waivers, profiles, headlines ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["markdown", "html", "github", "terminal"])
def test_a_waiver_of_what_nobody_saw_does_not_say_that_it_was_seen(kind):
    report = healthy(allow={"machine-id": "cleared at first boot"})

    text = summary(report) if kind == "terminal" else reports.render(kind, report)

    assert "allowed, not judged" in text.replace("%2C", ",").lower()
    assert "holds an id" not in text


@pytest.mark.parametrize("kind", ["junit", "sarif", "markdown", "html", "terminal", "github"])
def test_the_profile_that_judged_is_named_and_not_the_alias(kind):
    report = bad()
    text = summary(report) if kind == "terminal" else reports.render(kind, report)

    assert report.job["profile"] == "rackspace"
    assert "rackspace-2020" in text


def test_sarif_tells_images_and_profiles_apart():
    one, other = bad(), replace(bad(), job=bad().job | {"source": "b/disk.qcow2"})

    assert run(one)["automationDetails"]["id"] == "imgprep/rackspace-2020/disk.qcow2/"
    assert run(other)["automationDetails"]["id"] == "imgprep/rackspace-2020/b%2Fdisk.qcow2/"


def test_sarif_has_nothing_to_say_about_a_healthy_qcow2():
    found = samples.report(samples.facts(of=samples.QCOW2))

    assert run(found)["results"] == []


def test_github_ends_with_what_the_exit_code_says():
    assert reports.render("github", bad()).splitlines()[-1].startswith("::error")
    assert reports.render("github", healthy()).splitlines()[-1].startswith("::warning")
    assert reports.render("github", good()).splitlines()[-1].startswith("::notice")


def test_the_headline_says_what_was_done_and_what_was_not_judged():
    made = {"format": "vhd", "virtual_size": 10 << 30, "size": 1 << 20}

    text = summary(replace(healthy(keep="y.vhd"), artifact=made))

    assert text.startswith("disk.qcow2: converted, not judged in full\n")
    assert re.search(r"\d+ requirements were not judged", text)
    assert "machine-id" not in text  # rule ids by the dozen belong in the report


def test_of_what_is_no_disk_image_nothing_is_counted_as_met():
    facts = samples.facts(
        {"format": "unknown", "problems": [problem("not-a-disk-image", "a text file")]}
    )
    text = summary(samples.report(facts))

    assert "This is a text file, not a disk image." in text
    assert "1 requirement not met" in text
    assert " met," not in text


def test_the_next_command_keeps_what_was_asked_for():
    options = {
        "unpack": True,
        "strict": True,
        "fail_on": "warning",
        "allow": {"machine-id": "ours"},
    }

    command = summary(healthy(**options)).splitlines()[-1].removeprefix("next: ")

    assert shlex.split(command)[3:] == [
        *("--guest", "require", "--unpack", "--strict", "--fail-on", "warning"),
        *("--allow", "machine-id=ours"),
    ]


# --- the terminal --------------------------------------------------------------------------------


def test_the_summary_of_a_bad_image():
    text = summary(bad())

    assert text.startswith("disk.qcow2: rejected\n")
    for part in (
        "qcow2 (v3)",
        "200 GiB",
        "GPT with 1 partition",
        "✗ error The image needs a backing file  [backing-file]",
        "! warning",
        "✓ allowed",
        "agreed in case 4711",
        "next: imgprep explain backing-file",
    ):
        assert part in text
    # and nothing is fixed or judged in an image that goes no further
    assert "fix during conversion" not in text
    assert "not judged" not in text.split("what it is")[1]


def test_errors_come_before_warnings():
    text = summary(bad())

    assert text.index("✗ error") < text.index("! warning") < text.index("✓ allowed")


def test_the_summary_of_a_stored_image():
    text = summary(stored())

    assert text.startswith("disk.qcow2: accepted, stored\n")
    assert "file:///srv/out%20dir/disk.vhd" in text
    assert "VHD of 950 MiB" in text
    assert "source    900 MiB; the VHD is 1.1 \N{MULTIPLICATION SIGN} larger (2 MiB blocks)" in text
    assert "verified  all data was read back and compared" in text
    assert "next: imgprep check '/srv/out dir/disk.vhd'" in text


def test_the_summary_of_a_failure_and_of_an_inspection():
    assert "✗ the source cannot be used  [source-missing]" in summary(failed())
    assert "next: imgprep explain source-missing" in summary(failed())
    assert summary(inspected()).startswith("disk.qcow2: inspected\n")
    assert "next: imgprep check disk.qcow2" in summary(inspected())


def test_an_inspection_lists_what_is_on_the_disk():
    # given a guest that nobody looked into, and one that somebody did
    partition = {"number": 1, "start": 1 << 20, "size": 8 << 20, "content": "ext4"}
    volume = {
        "device": "/dev/vg/root",
        "type": "xfs",
        "size": 8 << 20,
        "label": "a\x1bb",
        "use": "/",
    }
    facts = samples.facts(guest={"filesystems": [volume]})
    facts["disk"] = {**facts["disk"], "partition_table": "mbr", "partitions": [partition]}

    closed = summary(replace(inspected(), facts={**facts, "guest": SKIPPED}))
    opened = summary(replace(inspected(), facts=facts))

    # then each file system is there, by what is known of it
    assert "on it     partition 1: ext4, 8 MiB" in closed
    assert r"/dev/vg/root: xfs 'a\\x1bb', 8 MiB, used as /" in opened


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("gzip", "unpacked  from gzip, 3 MiB"), ("ova", "unpacked  'web.vmdk' from an OVA of 3 MiB")],
)
def test_an_image_that_was_packed_says_so(kind, shown):
    packed = {"format": kind, "name": "web.vmdk", "size": 3 << 20}
    assert shown in summary(samples.report(samples.facts({"packed": packed}, of=samples.QCOW2)))


def test_a_system_that_could_not_be_told_is_not_called_absent():
    guest = {"os": None, "product_name": None, "unknown": {"os": "the system is encrypted"}}

    assert "guest     not known: the system is encrypted" in summary(
        samples.report(samples.facts(guest=guest))
    )


def test_a_conversion_tells_where_its_file_is_and_what_to_do_with_it():
    made = replace(
        samples.report(samples.facts(), options=Options(keep="out dir/disk.vhd")),
        artifact={"format": "vhd", "virtual_size": 1 << 30, "size": 1 << 20},
    )

    assert "written   out dir/disk.vhd" in " ".join(summary(made).split("\n")).replace(
        "  written", "written"
    )
    assert "next: imgprep check 'out dir/disk.vhd'" in summary(made)


def test_the_next_command_can_be_pasted_whatever_the_file_is_called():
    name = "a b'; rm -rf $HOME `x`.qcow2"
    report = samples.report(samples.facts(of=samples.QCOW2), source=name)

    command = summary(report).rstrip().splitlines()[-1].removeprefix("next: ")

    assert shlex.split(command)[:3] == ["imgprep", "run", name]


def test_lines_that_are_not_to_be_pasted_fit_the_width():
    for line in summary(bad()).splitlines():
        assert len(line) <= 112 or "://" in line or line.startswith("next")


SHOW = """
import json, sys
from pipeline import reports
reports.print_summary(json.load(open(sys.argv[1])), sys.stdout)
"""


@pytest.mark.parametrize("environment", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"FORCE_COLOR": "1"}])
def test_the_summary_on_other_terminals(tmp_path, environment):
    file = tmp_path / "report.json"
    file.write_text(json.dumps(to_json(bad())))
    environment = {
        "PYTHONPATH": ".",
        "PATH": "/usr/bin:/bin",
        "PYTHONCOERCECLOCALE": "0",
    } | environment

    run = subprocess.run(
        [sys.executable, "-c", SHOW, str(file)], capture_output=True, timeout=60, env=environment
    )

    assert run.returncode == 0, run.stderr
    assert b"backing-file" in run.stdout
    assert (b"\x1b[" in run.stdout) == ("FORCE_COLOR" in environment)


def test_no_color_is_honoured(tmp_path):
    file = tmp_path / "report.json"
    file.write_text(json.dumps(to_json(bad())))
    environment = {"PYTHONPATH": ".", "PATH": "/usr/bin", "FORCE_COLOR": "1", "NO_COLOR": "1"}

    run = subprocess.run(
        [sys.executable, "-c", SHOW, str(file)], capture_output=True, timeout=60, env=environment
    )

    assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", run.stdout)
