"""``check`` with several profiles: one look, one document, one exit code."""

import json

import pytest

from pipeline import profile


@pytest.fixture
def image(tmp_path):
    """A raw disk of 50 GiB without anything on it: over the limit of 2014, under that of 2020."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as out:
        out.write(b"\x33\xc0" + bytes(508) + b"\x55\xaa")  # boot code, and an empty MBR
        out.truncate(50 << 30)
    return path


def check(imgprep, image, *options):
    return imgprep("check", image, "--guest=off", *options)


def test_several_profiles_give_an_array_and_the_first_code_in_the_order(imgprep, image):
    ended = check(imgprep, image, "--profile", "rackspace-2014", "--profile=rackspace", "--json")

    found = json.loads(ended.stdout)
    assert [item["profile"]["name"] for item in found] == ["rackspace-2014", "rackspace-2020"]
    assert [item["exit_code"] for item in found] == [1, 0]
    assert ended.code == 1


def test_any_is_content_with_one(imgprep, image):
    options = ("--profile", "rackspace-2014", "--profile", "rackspace", "--any")

    assert check(imgprep, image, *options).code == 0
    assert check(imgprep, image, "--profile", "rackspace-2014", "--any").code == 1


def test_all_is_every_cloud_s_newest(imgprep, image):
    ended = check(imgprep, image, "--profile", "all", "--json")

    found = [item["profile"]["name"] for item in json.loads(ended.stdout)]
    assert found == list(profile.newest())
    assert not {"rackspace", "rackspace-2014"} & set(found)


def test_a_profile_that_is_named_twice_judges_once(imgprep, image):
    ended = check(imgprep, image, "--profile", "rackspace", "--profile", "rackspace", "--json")

    assert isinstance(json.loads(ended.stdout), dict)


def test_a_wrong_name_among_several_ends_with_2_before_any_work(imgprep, image):
    ended = check(imgprep, image, "--profile", "rackspace", "--profile", "nosuch")

    assert ended.code == 2
    assert "there is no profile 'nosuch'" in ended.stderr
    assert "identify" not in ended.stderr


def test_facts_are_gathered_once_for_all_clouds(imgprep, image, tmp_path):
    events = tmp_path / "events.jsonl"

    check(imgprep, image, "--profile", "all", "--events", events)

    told = [json.loads(line) for line in events.read_text().splitlines()]
    started = [item["stage"] for item in told if item["event"] == "StageStarted"]
    looks = ("identify", "inspect_disk", "inspect_guest")
    assert [started.count(name) for name in looks] == [1, 1, 1]
    assert started.count("check") == len(profile.newest())
