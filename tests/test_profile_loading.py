"""A profile of the user's own: what it may refer to, and that all its mistakes are told at once."""

import json
import subprocess
import sys

import pytest

from pipeline import profile
from pipeline.errors import UsageError
from pipeline.model import Severity
from pipeline.profile.requirements import SCHEMAS
from tests import samples

HEAD = {"$schema": profile.DIALECT, "title": "My cloud", "description": "for a test only"}
TARGET = {"format": "raw", "suffix": ".img"}


@pytest.fixture
def write(tmp_path):
    def write(content, name="mine.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def refused(name):
    with pytest.raises(UsageError) as error:
        profile.load(name)
    assert error.value.exit_code == 2
    assert error.value.hint
    return error.value


def test_a_profile_of_one_s_own_refers_to_built_in_ones_by_name(write):
    mine = write(
        HEAD
        | {
            "allOf": [
                {"$ref": "requirements/virtual-size-limit.json", "x-finding": {"vendor_code": "E7"}}
            ],
            "$defs": {"max-virtual-size": {"$dynamicAnchor": "max-virtual-size", "maximum": 10}},
            "x-target": TARGET,
        }
    )

    found = profile.load(mine)
    judgement = profile.judge(found, samples.facts())

    assert (found.name, found.target.suffix) == ("mine", ".img")
    assert [item.vendor_code for item in judgement.findings] == ["E7"]
    assert "backing-file" in judgement.passed  # safe-input comes with every profile


def test_a_profile_may_build_on_another_and_change_words_and_limits(write):
    mine = write(
        HEAD
        | {
            "allOf": [
                {"$ref": "profiles/rackspace-2020.json"},
                {"$ref": "requirements/uefi-only.json", "x-finding": {"vendor_code": "UEFI"}},
            ],
            "$defs": {"max-virtual-size": {"$dynamicAnchor": "max-virtual-size", "maximum": 10}},
        }
    )

    found = profile.load(mine)

    judgement = profile.judge(found, samples.facts(guest={"firmware": "uefi"}))
    assert found.target.creator == "tap"
    told = {item.rule: item.vendor_code for item in judgement.findings}
    assert told == {"virtual-size-limit": "413", "uefi-only": "UEFI"}


def test_a_requirement_of_one_s_own_lies_beside_the_profile(write):
    source = {"address": "https://example.org/rules", "date": "2026-01-02"}
    write(
        {
            **HEAD,
            "description": "This cloud knows no machine that is named debian.",
            "properties": {"guest": {"properties": {"distro": {"not": {"const": "debian"}}}}},
            "x-finding": {
                "severity": "error",
                "needs": ["guest.distro"],
                "path": "guest.distro",
                "message": "The guest is {guest.distro}.",
                "expected": "anything else",
                "remedy": "Use another distribution.",
                "source": source,
            },
            "x-cases": {
                "pass": [{"guest": {"distro": "x"}}],
                "fail": [{"guest": {"distro": "debian"}}],
            },
        },
        "requirements/no-debian.json",
    )
    mine = write(HEAD | {"allOf": [{"$ref": "requirements/no-debian.json"}], "x-target": TARGET})

    (finding,) = profile.judge(profile.load(mine), samples.facts()).findings

    assert (finding.rule, finding.message) == ("no-debian", "The guest is debian.")
    assert finding.severity is Severity.ERROR


def test_an_unknown_name_is_answered_with_the_nearest():
    error = refused("rackspce")

    assert error.code == "profile-unknown"
    assert "rackspace" in error.hint


def test_a_group_is_no_profile():
    assert refused("safe-input").code == "profile-unknown"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "required property"),
        (
            HEAD | {"allOf": [{"$ref": "requirements/nothing.json"}], "x-target": TARGET},
            "no such file",
        ),
        (HEAD | {"allOf": [{"$ref": "https://example.org/x.json"}], "x-target": TARGET}, "network"),
        (HEAD | {"allOf": [{"$ref": "mine.json"}], "x-target": TARGET}, "back to itself"),
        (HEAD | {"allOf": [{"$ref": "requirements/uefi-only.json"}]}, "no x-target"),
        (HEAD | {"allOf": 7, "x-target": TARGET}, "is not of type 'array'"),
        (HEAD | {"allOf": [7], "x-target": TARGET}, "is not of type 'object'"),
        (
            HEAD
            | {
                "allOf": [{"$ref": "requirements/uefi-only.json"}],
                "x-target": TARGET | {"size": 1},
            },
            "'size' was unexpected",
        ),
        (
            HEAD
            | {
                "allOf": [
                    {"$ref": "requirements/backing-file.json", "x-finding": {"severity": "info"}}
                ],
                "x-target": TARGET,
            },
            "its severity stays error",
        ),
        (
            HEAD
            | {
                "allOf": [{"$ref": "requirements/uefi-only.json"}],
                "$defs": {"a": {"$dynamicAnchor": "a", "maximum": "many"}},
                "x-target": TARGET,
            },
            "'many' is not",
        ),
        (
            HEAD
            | {
                "allOf": [{"$ref": "requirements/virtual-size-limit.json"}],
                "$defs": {"max-virtual-sise": {"$dynamicAnchor": "max-virtual-sise", "maximum": 1}},
                "x-target": TARGET,
            },
            "did you mean max-virtual-size?",
        ),
        (
            HEAD
            | {
                "allOf": [{"$ref": "requirements/virtual-size-limit.json"}],
                "$defs": {
                    "max-virtual-size": {"$dynamicAnchor": "max-virtual-size", "pattern": "(("}
                },
                "x-target": TARGET,
            },
            "is not a 'regex'",
        ),
    ],
)
def test_a_mistake_is_named(write, content, said):
    error = refused(write(content))

    assert error.code == "profile-invalid"
    assert said in error.message


def test_all_mistakes_are_told_at_once(write):
    write({**HEAD, "x-finding": {"severity": "bad", "colour": 1}}, "requirements/broken.json")
    mine = write(
        HEAD
        | {
            "alOf": [],
            "allOf": [{"$ref": "requirements/broken.json"}, {"$ref": "requirements/none.json"}],
            "x-target": {"format": "zip", "suffix": "x"},
        }
    )

    message = refused(mine).message

    for part in ("'alOf' was unexpected", "none.json", "'zip'", "'bad'", "colour"):
        assert part in message


def test_a_file_that_cannot_be_read(write, tmp_path):
    assert "no such file" in refused(str(tmp_path / "absent.json")).message
    assert "no such file" in refused(f"{tmp_path}/").message
    (tmp_path / "large.json").write_bytes(b" " * (4 << 20) + b"{}")
    assert "larger than" in refused(str(tmp_path / "large.json")).message


def test_the_digest_is_of_the_content_not_of_the_place(write):
    content = HEAD | {"allOf": [{"$ref": "requirements/uefi-only.json"}], "x-target": TARGET}

    one = profile.load(write(content, "a/mine.json"))
    same = profile.load(write(content, "b/mine.json"))
    other = profile.load(write(content | {"title": "Another"}, "c/mine.json"))

    assert one.digest == same.digest != other.digest


def test_an_unknown_rule_is_answered_with_the_nearest():
    assert profile.find_requirement("iso-image").template.gate
    with pytest.raises(UsageError) as error:
        profile.find_requirement("iso-imgae")
    assert "iso-image" in error.value.hint


def test_loading_and_judging_are_quick():
    code = (
        "import sys, time; from pipeline import profile; from tests import samples\n"
        "facts = samples.facts(of=samples.QCOW2); best = 9\n"
        "for _ in range(3):\n"
        "    begin = time.process_time(); found = profile.load('rackspace')\n"
        "    profile.gate(facts); profile.judge(found, facts)\n"
        "    best = min(best, time.process_time() - begin)\n"
        "print(best)"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert float(run.stdout) < 0.15, run.stderr


def test_built_in_documents_have_an_address_that_holds_anywhere(write):
    mine = write(
        HEAD
        | {
            "allOf": [
                {"$ref": "imgprep:profiles/generic.json"},
                {"$ref": "imgprep:requirements/uefi-only.json"},
            ],
            "x-target": TARGET,
        },
        "deep/in/a/folder/mine.json",
    )

    found = profile.load(mine)

    assert {"uefi-only", "boot-loader", "backing-file"} <= {
        item.rule for item in found.requirements
    }


@pytest.mark.parametrize(
    "reference",
    ["imgprep:requirements/none.json", "imgprep:../pyproject.json", "imgprep:errors.json"],
)
def test_such_an_address_leads_to_requirements_and_profiles_only(write, reference):
    error = refused(write(HEAD | {"allOf": [{"$ref": reference}], "x-target": TARGET}))

    assert error.code == "profile-invalid"


@pytest.mark.parametrize("name", profile.names())
def test_a_copy_of_a_built_in_profile_works_anywhere(write, name):
    original = SCHEMAS / "profiles" / f"{name}.json"

    copied = profile.load(write(original.read_text(), "elsewhere/copy.json"))

    judged = profile.judge(copied, samples.facts())
    assert judged == profile.judge(profile.load(name), samples.facts())


def test_a_path_that_does_not_exist_is_not_taken_for_a_built_in_name(write, tmp_path):
    assert refused(str(tmp_path / "aws.json")).code == "profile-missing"


def test_what_extends_a_profile_has_its_limits_in_decisions_advice_and_words(write):
    mine = write(HEAD | {"allOf": [{"$ref": "imgprep:profiles/oracle.json"}]})
    between = samples.facts({"virtual_size": 400_000_000_512}, of=samples.QCOW2)

    found = profile.load(mine)
    told = {item.rule: item for item in profile.judge(found, between).findings}

    assert found.target.format == "qcow2"
    assert told["virtual-size-ambiguous"].severity is Severity.WARNING
    assert "400 GB" in told["virtual-size-ambiguous"].message
    assert "400 GiB" in told["virtual-size-ambiguous"].message


def test_a_value_brings_its_own_source_and_two_texts_are_both_named(write):
    one = {"address": "https://example.org/one", "date": "2026-01-01"}
    two = {"address": "https://example.org/two", "date": "2026-02-02", "note": "newer"}
    mine = write(
        HEAD
        | {
            "allOf": [{"$ref": "imgprep:requirements/virtual-size-limit.json"}],
            "x-advice": [{"$ref": "imgprep:requirements/virtual-size-ambiguous.json"}],
            "$defs": {
                "stated-virtual-size": {
                    "$dynamicAnchor": "stated-virtual-size",
                    "maximum": 10,
                    "x-source": one,
                },
                "max-virtual-size": {
                    "$dynamicAnchor": "max-virtual-size",
                    "maximum": 20,
                    "x-source": two,
                },
            },
            "x-target": TARGET,
        }
    )

    found = profile.load(mine)

    assert found.requirement("virtual-size-limit").template.source.address == two["address"]
    both = found.requirement("virtual-size-ambiguous").template.source
    assert both.address == one["address"]
    assert "https://example.org/two (2026-02-02)" in both.note
