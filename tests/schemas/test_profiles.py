"""Every profile: its form, what it lists, and that any validator gives the same yes and no."""

import copy
import functools
import json
from pathlib import Path
from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pipeline import profile
from pipeline.model import Severity, Status
from pipeline.profile import schemas
from pipeline.profile.requirements import SCHEMAS
from tests import samples
from tests.plain_schema import bare

FILES = sorted((SCHEMAS / "profiles").glob("*.json"))
NAMES = ("rackspace-2014", "rackspace-2020")
CLOUDS = tuple(name for name in profile.newest() if not name.startswith("rackspace"))
"""The profiles of the others, and generic.  Rackspace's are older than the rule on inference."""


loaded = functools.cache(profile.load)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_profile_has_the_form_of_one(path):
    document = json.loads(path.read_bytes())

    Draft202012Validator.check_schema(document)

    assert schemas.problems("profile", document) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_errors_decide_and_only_lesser_ones_are_advice(path):
    document = json.loads(path.read_bytes())

    for key in ("allOf", "x-advice"):
        for entry in document.get(key, ()):
            target = Path(urljoin(path.as_uri(), entry["$ref"]).removeprefix("file://"))
            content = json.loads(target.read_bytes())
            if "x-finding" in content:
                severity = {**content["x-finding"], **entry.get("x-finding", {})}["severity"]
                assert (severity == "error") == (key == "allOf"), entry["$ref"]


@pytest.mark.parametrize("name", profile.names())
def test_a_profile_judges_the_safety_of_every_image(name):
    listed = json.loads((SCHEMAS / "profiles/safe-input.json").read_bytes())
    rules = {Path(entry["$ref"]).stem for key in ("allOf", "x-advice") for entry in listed[key]}

    found = {item.rule for item in profile.load(name).requirements}

    assert rules <= found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_value_has_its_source(path):
    document = json.loads(path.read_bytes())

    for name, value in document.get("$defs", {}).items():
        assert "x-source" in value, name


@pytest.mark.parametrize("name", CLOUDS)
def test_what_is_only_inferred_is_at_most_a_warning(name):
    for item in profile.load(name).requirements:
        if (item.template.source.note or "").startswith("inferred"):
            assert item.advice, item.rule


@pytest.mark.parametrize("name", CLOUDS)
def test_what_decides_does_not_rest_on_rackspace_s_texts(name):
    for item in profile.load(name).requirements:
        if not item.advice and not item.template.gate:
            assert "rackspace" not in item.template.source.address, item.rule
            assert "rackerlabs" not in item.template.source.address, item.rule


def test_all_is_every_cloud_s_newest_and_generic():
    assert set(profile.newest()) == {*CLOUDS, "rackspace-2020"}
    assert "generic" in profile.newest()


def test_every_requirement_stands_in_a_profile_or_among_the_operators_of_a_policy():
    listed = {item.rule for name in profile.names() for item in profile.load(name).requirements}
    policy = json.loads((SCHEMAS / "profiles/policy.json").read_bytes())
    operators = {Path(entry["$ref"]).stem for entry in policy["allOf"]}

    assert set(profile.rules()) == listed | operators
    assert not listed & operators


def test_the_alias_is_the_newest_rackspace_profile():
    newest = max(name for name in profile.names() if name.startswith("rackspace-"))

    found = profile.load("rackspace")

    assert (found.name, found.aliases) == (newest, ("rackspace",))
    assert found.digest == profile.load(newest).digest


@pytest.mark.parametrize("name", NAMES)
def test_the_target_is_the_vhd_that_xenserver_takes(name):
    target = profile.load(name).target

    assert (target.format, target.variant, target.creator) == ("vhd", "dynamic", "tap")
    assert (target.suffix, target.segment_size) == (".vhd", 128 << 20)


QEMU = samples.TAP_VHD["details"] | {"creator_code": "71656d75"}


def changes():
    return [
        ("good", {}, {}, {}),
        ("160 GB", {"virtual_size": 159_999_066_112}, {}, {}),
        ("160 GiB", {"virtual_size": 160 << 30}, {}, {}),
        ("over 160 GiB", {"virtual_size": (160 << 30) + (2 << 20)}, {}, {}),
        ("over 40 GB", {"virtual_size": 42 << 30}, {}, {}),
        ("large file", {"file_size": (160 << 30) + 1}, {}, {}),
        ("qcow2", {"format": "qcow2"}, {}, {}),
        ("fixed", {"variant": "fixed"}, {}, {}),
        ("creator", {"creator": "qemu", "details": QEMU}, {}, {}),
        ("null uuid", {"uuid": "00000000-0000-0000-0000-000000000000"}, {}, {}),
        ("parent", {"problems": [samples.problem("vhd-parent")]}, {}, {}),
        ("iso", {}, {"problems": [samples.problem("iso-image")]}, {}),
        (
            "windows",
            {},
            {},
            {
                "os": "windows",
                "windows": samples.WINDOWS["windows"] | {"product_type": "LanmanNT"},
            },
        ),
        ("uefi", {}, {}, {"firmware": "uefi", "efi_fallback": True}),
        ("advice only", {}, {}, {"databases": ["mysql"], "machine_id": "set"}),
    ]


@pytest.mark.parametrize("name", [*NAMES, *CLOUDS])
@pytest.mark.parametrize("case", changes(), ids=lambda case: case[0])
def test_any_validator_gives_the_same_yes_or_no(name, case):
    _, container, disk, guest = case
    facts = samples.facts(container, disk, guest)

    judgement = profile.judge(loaded(name), facts, subject="result")

    assert decides(judgement) == bare(name).is_valid(facts)


def decides(judgement) -> bool:
    """Our yes, from the findings alone."""
    return not any(
        item.severity is Severity.ERROR and item.status is Status.FAIL
        for item in judgement.findings
    )


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 1 << 40),
    st.sampled_from(["vhd", "raw", "fixed", "dynamic", "windows", "linux", "uefi", "bios", "tap"]),
    st.just([]),
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_validator_gives_the_same_for_any_known_facts(data):
    facts = samples.facts()
    for _ in range(data.draw(st.integers(1, 3))):
        section = data.draw(st.sampled_from(sorted(facts)))
        key = data.draw(
            st.sampled_from(sorted(set(facts[section]) - {"unknown", "problems", "status"}))
        )
        facts[section][key] = data.draw(VALUES)
    judgement = profile.judge(PROFILE, facts, subject="result")

    if not any(item.status is Status.UNKNOWN for item in judgement.findings):
        assert decides(judgement) == BARE.is_valid(facts)


PROFILE = profile.load("rackspace-2020")
BARE = bare("rackspace-2020")


def test_a_parameter_of_the_profile_reaches_a_requirement_through_a_group(tmp_path):
    # given a group that lists the limit, and a profile that sets it
    for file, content in {
        "group.json": {"allOf": [{"$ref": "requirements/virtual-size-limit.json"}]},
        "mine.json": {
            "allOf": [{"$ref": "group.json"}],
            "$defs": {"max-virtual-size": {"$dynamicAnchor": "max-virtual-size", "maximum": 1000}},
            "x-target": {"format": "raw", "suffix": ".img"},
        },
    }.items():
        head = {"$schema": profile.DIALECT, "title": "A test", "description": "for a test only"}
        (tmp_path / file).write_text(json.dumps(head | content))
    mine = profile.load(str(tmp_path / "mine.json"))

    # when two sizes are judged
    small = profile.judge(mine, samples.facts({"virtual_size": 1000}))
    large = profile.judge(mine, samples.facts({"virtual_size": 1001}))

    # then the profile's number decides, and stands in the sentence
    assert "virtual-size-limit" in small.passed
    (finding,) = [item for item in large.findings if item.rule == "virtual-size-limit"]
    assert "at most 1 kB" in finding.message


def test_facts_are_not_changed_by_judging():
    facts = samples.facts({"problems": [samples.problem("vhd-creator")]})
    before = copy.deepcopy(facts)

    profile.judge(PROFILE, facts)

    assert facts == before
