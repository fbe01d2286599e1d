"""Options above IMGPREP_*, those above .imgprep.toml; waivers with an end; baselines."""

import json

import pytest

from tests.test_config import WHOLE

BROKEN = """
[[waiver]]
rule = "virtual-size-limit"
reason = "we resize it"
owner = "ops@example.org"
expires = {expires}
"""


@pytest.fixture
def image(tmp_path):
    """A raw disk of 200 GiB: above every limit of the default profile."""
    path = tmp_path / "work" / "disk.raw"
    path.parent.mkdir()
    with path.open("wb") as out:
        out.write(b"\x33\xc0" + bytes(508) + b"\x55\xaa")
        out.truncate(200 << 30)
    return path


def settings(imgprep, where, *options, **env):
    ended = imgprep("config", "--json", *options, cwd=where, **env)
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)["settings"]
    return {name: (item["value"], item["from"]) for name, item in found.items()}


def test_each_setting_tells_where_it_comes_from(imgprep, tmp_path):
    (tmp_path / ".imgprep.toml").write_text(WHOLE)

    told = settings(imgprep, tmp_path, IMGPREP_FAIL_ON="info")

    assert told["profile"] == (["rackspace"], ".imgprep.toml:2")
    assert told["fail-on"] == ("info", "IMGPREP_FAIL_ON")
    assert told["guest"] == ("auto", "default")


def test_config_tells_which_waivers_have_expired(imgprep, tmp_path):
    (tmp_path / "mine.toml").write_text(WHOLE)

    told = imgprep("config", "--config", "mine.toml", cwd=tmp_path).stdout

    assert "machine-id: cleared at first boot (images@example.org, until 2027-03-31)" in told
    assert "EXPIRED on 2026-01-31" in told
    assert "mine.toml:12" in told


def judged(imgprep, image, *options, **env):
    ended = imgprep("check", image, "--guest=off", "--json", *options, cwd=image.parent, **env)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended, json.loads(ended.stdout)


def test_options_come_above_variables_and_those_above_the_file(imgprep, image):
    (image.parent / ".imgprep.toml").write_text('profile = "rackspace-2014"\nfail-on = "never"\n')

    ended, report = judged(imgprep, image)
    assert (report["profile"]["name"], ended.code) == ("rackspace-2014", 0)

    ended, report = judged(imgprep, image, IMGPREP_PROFILE="rackspace-2020")
    assert (report["profile"]["name"], ended.code) == ("rackspace-2020", 0)

    ended, report = judged(
        imgprep, image, "--profile=rackspace-2014", "--fail-on=error", IMGPREP_PROFILE="rackspace"
    )
    assert (report["profile"]["name"], ended.code) == ("rackspace-2014", 1)


def test_a_destination_of_the_file_is_where_run_stores(imgprep, image):
    (image.parent / ".imgprep.toml").write_text('destination = "store"\n')

    ended = imgprep("run", image, "--guest=off", "--dry-run", "--fail-on=never", cwd=image.parent)

    assert ended.code in (0, 1), ended.stderr
    assert "Missing argument" not in ended.stderr


def test_a_waiver_holds_until_its_day_and_then_says_since_when(imgprep, image):
    config = image.parent / ".imgprep.toml"

    config.write_text(BROKEN.format(expires="2999-01-01"))
    ended, report = judged(imgprep, image)
    (waived,) = [item for item in report["findings"] if item["status"] == "waived"]
    assert ended.code == 0
    assert waived["reason"] == "we resize it (owner: ops@example.org, until 2999-01-01)"

    config.write_text(BROKEN.format(expires="2020-01-01"))
    ended, report = judged(imgprep, image)
    (failed,) = [
        item
        for item in report["findings"]
        if item["severity"] == "error" and item["status"] == "fail"
    ]
    assert ended.code == 1
    assert failed["message"].endswith("The waiver of ops@example.org expired on 2020-01-01.")


def test_a_file_beside_the_image_may_not_waive(imgprep, image, tmp_path):
    (image.parent / ".imgprep.toml").write_text(
        "strict = true\n" + BROKEN.format(expires="2999-01-01")
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    ended = imgprep("check", image, "--guest=off", "--json", cwd=elsewhere)
    assert ended.code == 1
    assert "tightens: strict; ignored: 1 waiver" in ended.stderr
    assert ended.report["job"]["options"]["strict"] is True

    named = imgprep(
        "check", image, "--guest=off", "--config", image.parent / ".imgprep.toml", cwd=elsewhere
    )
    assert named.code == 7  # the waiver holds, and strict still asks for the guest


def test_a_waiver_of_a_rule_that_no_cloud_has(imgprep, image):
    text = BROKEN.format(expires="2999-01-01").replace("virtual-size-limit", "no-such-rule")
    (image.parent / ".imgprep.toml").write_text(text)

    ended = imgprep("check", image, "--guest=off", cwd=image.parent)

    assert ended.code == 2
    assert "line 2: no-such-rule" in ended.stderr


def test_a_baseline_lets_pass_what_is_wrong_today(imgprep, image):
    before = imgprep("check", image, "--guest=off", "--write-baseline", "b.toml", cwd=image.parent)
    assert before.code == 1
    assert "1 waiver" in before.stderr

    after = imgprep("check", image, "--guest=off", "--config", "b.toml", cwd=image.parent)
    assert after.code == 0, after.stdout

    again = imgprep("check", image, "--guest=off", "--write-baseline", "b.toml", cwd=image.parent)
    assert again.code == 2
    assert "it exists" in again.stderr
