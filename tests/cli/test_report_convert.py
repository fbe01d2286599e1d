"""An old report, shown anew: everything that was written on that day, and nothing else."""

import json

import pytest

from pipeline import reports
from pipeline.model import to_json
from tests import made_reports as made


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(to_json(made.bad())))
    return path


@pytest.mark.parametrize("kind", reports.KINDS)
def test_each_kind_is_made_from_the_file(imgprep, stored, kind):
    ended = imgprep("report", "convert", stored, "--report", f"{kind}=-")

    assert ended.code == 0, ended.stderr
    assert ended.stdout.rstrip() == reports.render(kind, made.bad()).rstrip()


def test_without_a_kind_it_is_the_summary(imgprep, stored):
    ended = imgprep("report", "convert", stored)

    assert ended.stdout.startswith("disk.qcow2: rejected\n")


def test_an_array_of_reports(imgprep, tmp_path):
    path = tmp_path / "all.json"
    path.write_text(json.dumps([to_json(made.bad()), to_json(made.good())]))

    assert "takes 1 of 2" in imgprep("report", "convert", path).stdout


@pytest.mark.parametrize("text", ["{}", "[]", "no json", "[" * 100_000, '{"report_version": 1}'])
def test_what_is_no_report(imgprep, tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)

    ended = imgprep("report", "convert", path)

    assert ended.code == 2, ended.stderr
    assert "report-invalid" in ended.stderr


def test_it_is_not_written_over(imgprep, stored):
    before = stored.read_bytes()

    ended = imgprep("report", "convert", stored, "--report", f"html={stored}")

    assert ended.code == 2
    assert stored.read_bytes() == before
