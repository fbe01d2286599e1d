"""Our judgement says what any validator says, over the cases of all requirements, alone and laid over
an image that is all right.  (Over the hostile files: ``tests/hostile/test_judged_facts.py``.)"""

import json

import pytest

from pipeline import profile
from pipeline.profile.requirements import SCHEMAS
from tests import samples
from tests.plain_schema import assert_same_answer

NAMES = ("rackspace-2014", "rackspace-2020")
REQUIREMENTS = sorted((SCHEMAS / "requirements").glob("*.json"))


def laid_over(facts):
    """A case's facts with everything else known and right."""
    whole = samples.facts()
    return {name: whole.get(name, {}) | facts.get(name, {}) for name in {**whole, **facts}}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_over_the_cases_of_every_requirement(name, path):
    cases = json.loads(path.read_bytes())["x-cases"]

    for facts in (*cases["pass"], *cases["fail"]):
        assert_same_answer(name, facts)
        assert_same_answer(name, laid_over(facts))


@pytest.mark.parametrize("name", NAMES)
def test_a_problem_counts_only_where_a_requirement_asks_for_it(name):
    for rule in profile.rules():
        assert_same_answer(name, samples.facts({"problems": [samples.problem(rule)]}), rule)
    assert assert_same_answer(
        name, samples.facts({"problems": [samples.problem("vhd-size-multiple")]})
    )
