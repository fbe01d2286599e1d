"""What holds of every cloud: nothing unread is passed, and what is made is what it takes.

Which findings real images have stands in ``tests/proof``.
"""

import pytest
from guest.guests import disk, facts

from pipeline import profile
from pipeline.model import Status
from tests import samples

GIB = 1 << 30
CLOUDS = profile.newest()
PROFILES = {name: profile.load(name) for name in CLOUDS}


def known(container):
    """All facts of a disk of 4 GiB with an MBR and a Debian on it, in this container."""
    return samples.facts(
        {"virtual_size": 4 * GIB} | container,
        {"partition_table": "mbr", "protective_mbr": None},
        of=samples.QCOW2,
    ) | {"guest": facts(disk())}


def format_findings(found):
    """Of the findings about a result, those about its format; a VHD of Rackspace has tests of its own."""
    about = ("image-format", "vmdk-variant", "vhd-fixed", "virtual-size-multiple", "vhd-format")
    said = {}
    for name in CLOUDS:
        judged = profile.judge(PROFILES[name], found, subject="result")
        rules = sorted({item.rule for item in judged.findings} & set(about))
        said.setdefault(" ".join(rules), []).append(name)
    return {rules: " ".join(names) for rules, names in said.items()}


@pytest.mark.parametrize("name", CLOUDS)
def test_nothing_that_was_not_read_is_passed(name):
    known_guest = profile.judge(PROFILES[name], known({}))
    skipped = {"status": "skipped", "reason": "nobody looked"}

    unread = profile.judge(PROFILES[name], known({}) | {"guest": skipped})

    asked = {
        item.rule
        for item in PROFILES[name].requirements
        if any(path.startswith("guest.") for path in item.template.needs)
    }
    assert not asked & {*unread.passed, *unread.not_applicable}
    unknown = {item.rule for item in unread.findings if item.status is Status.UNKNOWN}
    assert asked <= unknown
    assert asked <= {*known_guest.passed, *known_guest.not_applicable} | {
        item.rule for item in known_guest.findings
    }


@pytest.mark.parametrize(
    ("name", "unit"), [("azure-gen1", 1 << 20), ("azure-gen2", 1 << 20), ("gce", GIB)]
)
def test_where_a_size_has_to_be_whole_the_target_rounds_it_up(name, unit):
    target = PROFILES[name].target

    assert PROFILES[name].parameters["size-multiple"]["multipleOf"] == unit
    assert target.size_multiple == unit
    assert target.outcome(4 * GIB + 512)["virtual_size"] == 4 * GIB + unit


@pytest.mark.parametrize("name", CLOUDS)
def test_what_is_made_is_what_the_cloud_accepts(name):
    target = PROFILES[name].target
    made = {"format": target.format, "variant": target.variant, "details": {}, "creator": None}

    assert format_findings(known(made))[""].split().count(name) == 1
