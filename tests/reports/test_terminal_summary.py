"""The terminal's summary: of every kind of end, on every kind of terminal."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from pipeline.model import (
    Options,
    to_json,
)
from tests import samples
from tests.made_reports import SKIPPED, bad, failed, inspected, stored, summary


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
        assert len(line) <= 112 or line.startswith("next")


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
