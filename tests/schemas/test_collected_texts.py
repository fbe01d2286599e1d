"""What vendors' texts and importers ask, fact by fact, and what of ours answers it: nothing is forgotten.

``vendor_facts.json``   258 facts of 21 entries: a requirement, the target, the import, a note, or why none
``guest_checks.json``   57 checks on a guest: facts and requirements, or why no requirement
"""

import functools
import json
from pathlib import Path

import pytest

from pipeline import profile
from pipeline.profile.requirements import SCHEMAS

HERE = Path(__file__).parent
ENTRIES = json.loads((HERE / "vendor_facts.json").read_bytes())["entries"]
CHECKS = json.loads((HERE / "guest_checks.json").read_bytes())["checks"]
FACTS = json.loads((SCHEMAS / "facts.schema.json").read_bytes())["$defs"]

loaded = functools.cache(profile.load)


def answers():
    """Profile, kind and name of each answer."""
    for entry in ENTRIES.values():
        for field, given in entry["facts"]:
            for answer in given:
                kind, _, name = answer.partition(": ")
                yield pytest.param(entry["profile"], kind, name, id=f"{field}-{answer[:30]}")


def is_there(cloud, kind, name):
    if kind == "none":
        return len(name) > 10
    found = loaded(cloud)
    if kind == "rule":
        return found.requirement(name) is not None
    if kind == "note":
        return name in {note.title for note in found.notes}
    if kind == "import":
        return name in found.imports
    return kind == "target" and getattr(found.target, name) is not None


@pytest.mark.parametrize(("cloud", "kind", "name"), list(answers()))
def test_what_answers_a_vendor_s_fact_is_there(cloud, kind, name):
    assert is_there(cloud, kind, name)


def test_each_of_the_facts_has_an_answer():
    given = [answer for entry in ENTRIES.values() for _, answer in entry["facts"]]

    assert (len(ENTRIES), len(given)) == (21, 258)
    assert all(given)


def test_every_cloud_s_newest_profile_answers_an_entry():
    asked = {entry["profile"] for entry in ENTRIES.values()}

    assert set(profile.newest()) - {"generic"} <= asked


def test_all_checks_on_a_guest_are_answered():
    assert len(CHECKS) == 57
    assert all(check["rules"] or check["why"] for check in CHECKS.values())


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_what_answers_a_check_on_a_guest_is_there(check):
    assert set(check["rules"]) <= set(profile.rules())
    for path in check["facts"]:
        assert _is_fact(path), path


def _is_fact(path):
    """Whether the schema of the facts has it."""
    section, *steps = path.split(".")
    here = FACTS[f"read-{section}"]
    for step in steps:
        here = here.get("properties", {}).get(step)
        if here is None:
            return False
    return True
