"""``imgprep explain`` and ``imgprep profiles``: every name can be explained."""

import json

import pytest

from pipeline import explain, profile, profile_text
from pipeline.errors import UsageError


@pytest.mark.parametrize("rule", profile.rules())
def test_a_rule_is_explained_with_its_source_and_its_cases(rule):
    (found,) = explain.explain(rule)

    text = explain.text(found)
    words = found.template

    assert text.startswith(f"{rule}: ")
    for part in (words.source.address, words.source.date, "expected", "to do", "needs"):
        assert part in text
    assert found.passes
    assert found.fails
    assert "Facts that make it fail" in text
    assert '{"' not in text  # phrases, no raw JSON
    assert "{" not in "".join((words.message, words.expected))


def test_the_limit_is_that_of_the_default_profile():
    (found,) = explain.explain("virtual-size-limit")

    assert "160 GiB" in found.template.expected
    assert {"rackspace-2014", "rackspace-2020", "aws"} <= {use.profile for use in found.profiles}
    assert "413" in explain.text(found)


def test_each_profile_s_own_limit_is_told():
    (found,) = explain.explain("virtual-size-limit")

    told = {use.profile: use.limits for use in found.profiles}
    assert told["rackspace-2014"] == ("max-virtual-size: at most 40 GiB (42.95 GB)",)
    assert "160 GiB (171.8 GB)" in told["rackspace-2020"][0]
    assert "which profiles replace" in " ".join(explain.text(found).split())


def test_a_vendor_s_code_leads_to_its_rules():
    assert [item.name for item in explain.explain("614")] == ["vhd-uuid"]
    assert len(explain.explain("111")) > 3


def test_a_note_is_explained_by_its_title():
    (found,) = explain.explain("boot-from-volume")

    text = explain.text(found)
    assert "127 GB" in text
    assert found.note.source.address in text
    assert "rackspace-2020" in text


def test_an_error_s_code_is_explained():
    (found,) = explain.explain("source-changed")

    assert found.exit_code == 3
    assert "exit code 3" in explain.text(found)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError) as error:
        explain.explain("source-chnged")

    assert error.value.code == "name-unknown"
    assert "source-changed" in error.value.hint


@pytest.mark.parametrize(
    ("asked", "meant"), [("ISO-IMAG", "iso-image"), ("iso", "iso-image"), ("uuid", "vhd-uuid")]
)
def test_what_a_person_may_type_is_answered_with_the_name(asked, meant):
    with pytest.raises(UsageError) as error:
        explain.explain(asked)

    assert meant in error.value.hint


def test_a_name_may_be_written_in_capitals():
    assert explain.explain("ISO-IMAGE") == explain.explain("iso-image")


def test_every_explanation_keeps_to_the_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    for name in (*profile.rules(), *explain.error_catalogue()):
        for found in explain.explain(name):
            lines = explain.text(found).splitlines()
            wide = [line for line in lines if len(line) > 80 and max(map(len, line.split())) < 60]
            assert wide == []


def test_without_a_name_everything_is_listed():
    text = explain.index_text()

    for name in ("iso-image", "source-missing", "boot-from-volume"):
        assert f"  {name} " in text


def test_the_list_of_profiles_tells_the_alias():
    found = {item.name: item.alias_of for item in profile_text.profiles() if item.alias_of}

    assert found == {"rackspace": "rackspace-2020"}
    assert "the same as rackspace-2020" in profile_text.profiles_text()


@pytest.mark.parametrize("name", profile.names())
def test_a_profile_is_shown_whole(name):
    text = profile_text.profile_text(name)
    data = profile_text.profile_data(name)

    for requirement in data["requirements"]:
        assert f"  {requirement['rule']} " in text
    for title in (note["title"] for note in data["notes"]):
        assert title in text
    assert json.loads(json.dumps(data)) == data
    assert all(len(line) <= 130 or "://" in line for line in text.splitlines())
