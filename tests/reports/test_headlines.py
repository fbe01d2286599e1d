"""What a report says first: what was done, what was fixed, allowed and not judged, and what to do next."""

import re
import shlex
from dataclasses import replace

import pytest

from pipeline import reports
from pipeline.model import ErrorRecord, Options, StageRecord, StageStatus
from tests import samples
from tests.made_reports import bad, good, healthy, summary
from tests.samples import problem


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


@pytest.mark.parametrize(
    ("destination", "stages", "expected"),
    [
        ("out", ("check",), "imgprep run disk.qcow2 out"),
        ("s3://images/", ("check",), "imgprep run disk.qcow2 s3://images/ --create"),
        ("out", ("check", "adopt"), "imgprep upload disk.qcow2 out"),
    ],
)
def test_after_a_dry_run_the_same_without_it_comes_next(destination, stages, expected):
    options = Options(dry_run=True, create=True, guest="off" if "adopt" in stages else "auto")
    found = samples.report(samples.facts(of=samples.QCOW2), options=options)
    planned = replace(
        found,
        job={**found.job, "source": "disk.qcow2", "destination": destination},
        stages=tuple(StageRecord(name, StageStatus.DONE, 0.1) for name in stages),
    )

    assert summary(planned).splitlines()[-1] == f"next: {expected}"


@pytest.mark.parametrize("kind", ["github", "markdown", "html", "terminal"])
def test_of_what_goes_no_further_the_rest_is_not_told(kind):
    text = summary(bad()) if kind == "terminal" else reports.render(kind, bad())

    assert any(item.status == "unknown" for item in bad().findings)
    assert "not judged" not in text.lower()


def test_what_was_not_stored_was_not_fixed():
    made = {"format": "vhd", "virtual_size": 10 << 30, "size": 1 << 20}
    error = ErrorRecord("object-differs", "the store failed", "it is another", "choose")
    found = replace(healthy(), artifact=made, error=error)

    assert "will fix" in summary(replace(found, job={**found.job, "destination": "out"}))
