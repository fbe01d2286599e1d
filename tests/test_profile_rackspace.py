"""What the Rackspace profiles say about images, rule by rule."""

import pytest

from pipeline import profile
from pipeline.model import Severity, Status, Verdict
from tests import samples
from tests.samples import GIB, QCOW2, WINDOWS, problem

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
NULL_UUID = "00000000-0000-0000-0000-000000000000"


def judged(facts, name="rackspace", **options):
    return profile.judge(profile.load(name), facts, **options)


def told(judgement):
    """Rule, severity and vendor's code of what does not hold."""
    return {
        item.rule: (item.severity, item.vendor_code)
        for item in judgement.findings
        if item.status is Status.FAIL
    }


def test_a_good_vhd_is_accepted_without_a_word():
    judgement = judged(samples.facts())

    assert judgement.findings == ()
    assert profile.verdict(judgement) == (Verdict.ACCEPTED, 0)
    assert {"vhd-creator", "virtual-size-limit", "iso-image"} <= set(judgement.passed)
    assert "windows-domain-controller" in judgement.not_applicable


def test_a_qcow2_will_be_converted():
    judgement = judged(samples.facts({"virtual_size": 40 * GIB}, of=QCOW2))

    assert told(judgement) == {"vhd-format": (INFO, "396")}
    assert judgement.findings[0].message == "The format is qcow2, not VHD."
    assert profile.verdict(judgement) == (Verdict.ACCEPTED, 0)
    assert profile.verdict(judgement, fail_on="info") == (Verdict.ACCEPTED, 0)


def test_the_same_on_a_result_is_an_error():
    judgement = judged(samples.facts(of=QCOW2), subject="result")

    assert told(judgement) == {"vhd-format": (ERROR, "396")}
    assert profile.verdict(judgement) == (Verdict.REJECTED, 1)


SIZES = [
    ("rackspace-2020", 159_999_066_112, {}),
    ("rackspace-2020", 160_000_000_000, {}),
    ("rackspace-2020", 160_000_000_001, {"virtual-size-ambiguous": (WARNING, "413")}),
    ("rackspace-2020", 160 * GIB, {"virtual-size-ambiguous": (WARNING, "413")}),
    ("rackspace-2020", 160 * GIB + 1, {"virtual-size-limit": (ERROR, "413")}),
    ("rackspace-2020", 200_000_000_000, {"virtual-size-limit": (ERROR, "413")}),
    ("rackspace-2014", 40_000_000_000, {}),
    ("rackspace-2014", 40 * GIB, {"virtual-size-ambiguous": (WARNING, "413")}),
    ("rackspace-2014", 40 * GIB + 1, {"virtual-size-limit": (ERROR, "413")}),
]


@pytest.mark.parametrize(("name", "size", "expected"), SIZES)
def test_the_limit_of_the_virtual_size(name, size, expected):
    judgement = judged(samples.facts({"virtual_size": size}, of=QCOW2), name)

    found = told(judgement)
    assert found.pop("vhd-format") == (INFO, "396")
    assert found == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (40_000_000_000, {}),
        (40_000_000_001, {"file-size-ambiguous": (INFO, "609")}),
        (160 * GIB + 1, {"file-size-limit": (ERROR, "609")}),
    ],
)
def test_the_limit_of_the_file(size, expected):
    assert told(judged(samples.facts({"file_size": size}), subject="result")) == expected


DETAILS = samples.TAP_VHD["details"]
SOURCES = [
    ("null UUID", {"uuid": NULL_UUID}, {"vhd-uuid": (INFO, "614")}),
    ("fixed", {"variant": "fixed"}, {"vhd-dynamic": (INFO, None)}),
    ("odd size", {"virtual_size": 10 * GIB + 512}, {"vhd-size-multiple": (INFO, None)}),
    ("parent", {"problems": [problem("vhd-parent")]}, {"vhd-parent": (ERROR, "721")}),
    ("type", {"details": DETAILS | {"disk_type": 6}}, {"vhd-type": (ERROR, "523")}),
    ("footer", {"problems": [problem("vhd-footer")]}, {"vhd-footer": (ERROR, "396")}),
    ("table", {"problems": [problem("vhd-bat")]}, {"vhd-bat": (ERROR, "111")}),
    ("backing file", {"problems": [problem("backing-file")]}, {"backing-file": (ERROR, None)}),
    ("several files", {"external_references": ["a.vmdk"]}, {"single-file": (ERROR, None)}),
]


@pytest.mark.parametrize(
    ("container", "expected"), [s[1:] for s in SOURCES], ids=[s[0] for s in SOURCES]
)
def test_what_is_wrong_with_a_container(container, expected):
    assert told(judged(samples.facts(container))) == expected


@pytest.mark.parametrize("place", ["container", "disk"])
def test_an_optical_disc_is_refused_wherever_it_was_seen(place):
    facts = samples.facts(**{place: {"problems": [problem("iso-image", "'DEBIAN 12' at 0x8001")]}})

    judgement = judged(facts)

    assert told(judgement) == {"iso-image": (ERROR, "396")}
    assert "DEBIAN 12" in judgement.findings[0].message
    assert [item.rule for item in profile.gate(facts)] == ["iso-image"]


GUESTS = [
    ({"firmware": "uefi"}, {"uefi-only": (ERROR, None)}),
    ({"firmware": "both"}, {}),
    ({"databases": ["PostgreSQL (/var/lib/postgresql)"]}, {"database-in-image": (WARNING, None)}),
    ({"systems": 2}, {"guest-several-systems": (ERROR, None)}),
    ({"arch": "aarch64"}, {"guest-architecture": (ERROR, None)}),
    ({"sudo_users": []}, {"sudo-user-missing": (WARNING, None)}),
    ({"boot_root": "/dev/vda1"}, {"root-device-name": (ERROR, None)}),
]


@pytest.mark.parametrize(("guest", "expected"), GUESTS)
def test_what_is_wrong_with_a_guest(guest, expected):
    assert told(judged(samples.facts(guest=guest))) == expected


def test_a_windows_guest_is_refused_with_all_findings():
    facts = samples.facts(
        {"virtual_size": 170_000_000_000},
        guest={"windows": {"product_type": "LanmanNT", "hibernated": True}},
        of=QCOW2,
        system=WINDOWS,
    )

    found = told(judged(facts))

    assert found == {
        "windows-guest": (ERROR, None),
        "windows-domain-controller": (ERROR, None),
        "windows-disk-size": (ERROR, None),
        "windows-hibernated": (ERROR, None),
        "virtual-size-ambiguous": (WARNING, "413"),
        "vhd-format": (INFO, "396"),
    }


def test_old_texts_take_any_creator_and_advise_tap():
    facts = samples.facts({"variant": "fixed"})

    old = told(judged(facts, "rackspace-2014", subject="result"))
    new = told(judged(facts, "rackspace-2020", subject="result"))

    assert old == {"vhd-dynamic": (WARNING, None)}
    assert new == {"vhd-dynamic": (ERROR, None)}


def test_every_finding_names_its_dated_source():
    for name in ("rackspace-2014", "rackspace-2020"):
        for item in profile.load(name).requirements:
            assert item.template.source.address.startswith("https://")
            assert len(item.template.source.date) == len("2020-06-09")


def test_the_vendor_codes_are_all_predicted():
    codes = {item.template.vendor_code for item in profile.load("rackspace").requirements}

    assert {"111", "396", "413", "523", "609", "614", "721"} == codes - {None}
