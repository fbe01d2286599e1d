"""Real images and clouds: exactly these findings, and for every requirement one image of each kind.

``findings.json``: image by image, each finding and who says it.  A word is a rule, with ``!`` for an
error and ``?`` where nobody can tell; "all" are the profiles below.  A wrong finding more fails as one
that is missing.  What a conversion mends is judged on the containers, as what is uploaded unchanged.
Of a guest or disk that could not be read, what nobody can tell is not listed: it is exactly what asks
for it.
"""

import functools
import json
from pathlib import Path

import proof_images as images
import pytest

from pipeline import profile
from pipeline.model import Status
from pipeline.profile.judging import fact_paths

pytestmark = pytest.mark.needs(
    *(
        "mke2fs",
        "debugfs",
        "sfdisk",
        "mkfs.xfs",
        "mkfs.vfat",
        "mcopy",
        "mkswap",
        "cryptsetup",
        "zstd",
    ),
    *("mkntfs", "ntfs-3g", "fusermount", "module:hivex", "module:pyfsext", "module:pyregf"),
    *("qemu-img", "qemu-nbd", "mkudffs", "genisoimage"),
)

HERE = Path(__file__).parent
POLICY = str(HERE / "policy.json")
PROFILES = {name: profile.load(name) for name in (*profile.newest(), "rackspace-2014", POLICY)}
NAMES = {name: "policy" if name == POLICY else name for name in PROFILES}
TABLE = json.loads((HERE / "findings.json").read_bytes())
GATES = {item.rule for item in PROFILES["generic"].requirements if item.template.gate}

UNSEEN = {
    "single-file": "each image that refers to another file breaks one of OTHER_FILES, which says it",
}
"""Requirements without a real image that fails, and why."""


OTHER_FILES = {"backing-file", "external-data-file", "parent-image", "vhd-parent", "vmdk-extents"}
SLOW = {*images.HOSTILE, "packed-and-not-smaller"}


def found(seen):
    """What each profile says of an image: word -> the profiles, in words."""
    said = {}
    for key, item in _findings(seen):
        if item.status is Status.UNKNOWN and _asked(key, item.rule) & seen.closed:
            continue
        unknown, error = item.status is Status.UNKNOWN, item.severity == "error"
        word = f"{item.rule}{'?' * unknown}{'!' * error}"
        said.setdefault(word, set()).add(NAMES[key])
    return {word: _who(said[word]) for word in sorted(said)}


@functools.cache
def _findings(seen):
    return tuple(
        (key, item)
        for key, chosen in PROFILES.items()
        for item in profile.judge(chosen, seen.facts, subject=seen.subject).findings
        if not (item.fixed_by and item.severity == "info")
    )


def _asked(key, rule):
    """The sections that a requirement asks for."""
    item = PROFILES[key].requirement(rule)
    paths = (*item.template.needs, *fact_paths(item.schema.get("if", {})))
    return {path.partition(".")[0] for path in paths}


def _who(names):
    others = set(NAMES.values()) - names
    if not others:
        return "all"
    if len(others) < len(names):
        return f"all but {' '.join(sorted(others))}"
    return " ".join(sorted(names))


def _named(who):
    """The profiles that the words mean."""
    if who.startswith("all"):
        return set(NAMES.values()) - set(who.split()[2:])
    return set(who.split())


def test_the_table_has_a_row_for_each_image():
    assert set(TABLE) == set(images.NAMES)


@pytest.mark.parametrize(
    "name",
    [
        # the corpus is judged by the command itself in tests/hostile, in every run
        pytest.param(name, marks=pytest.mark.nightly if name in SLOW else ())
        for name in images.NAMES
    ],
)
def test_an_image_has_exactly_these_findings(name):
    seen = images.seen(name)

    assert found(seen) == TABLE[name]
    if seen.facts["container"]["external_references"]:
        assert OTHER_FILES & {item["rule"] for item in seen.facts["container"]["problems"]}
    if any(item.status is Status.UNKNOWN for _, item in _findings(seen)):
        assert seen.unread or seen.facts["container"]["problems"]  # what was read is judged


def failing():
    """Profile and rule of everything that fails in the table, whatever its severity."""
    return {
        (name, word.rstrip("!"))
        for row in TABLE.values()
        for word, who in row.items()
        if "?" not in word
        for name in _named(who)
    }


def test_every_requirement_of_every_profile_fails_on_a_real_image():
    asked = {
        (NAMES[name], item.rule)
        for name, chosen in PROFILES.items()
        for item in chosen.requirements
    }

    without = asked - failing()

    assert {rule for _, rule in without} == {*UNSEEN, "root-file-system"}
    # what the direct reader cannot read as a root, AWS does not take: see test_root_of_another_kind
    assert {name for name, rule in without if rule == "root-file-system"} == {"aws"}


SOUND = (
    *(
        "good",
        "good-gpt",
        "uefi",
        "windows-server",
        "windows-for-aws",
        "cloud-init-for-a-seed",
        "of-a-policy",
    ),
    *("xenserver-vhd", "raw-of-1-gib", "fixed-vhd", "qcow2", "unpack-gz", "vmdk-stream-optimized"),
    *("disk-of-1050-gb", "no-table"),
)


def test_every_requirement_of_every_profile_is_passed_by_a_real_image():
    asked = {(name, item.rule) for name, chosen in PROFILES.items() for item in chosen.requirements}
    passed = {
        (name, rule)
        for image in SOUND
        for seen in [images.seen(image)]
        for name, chosen in PROFILES.items()
        for rule in profile.judge(chosen, seen.facts, subject=seen.subject).passed
    }

    assert asked - passed == set()
