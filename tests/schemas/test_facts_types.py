"""The typed sections of facts and ``facts.schema.json`` say the same."""

import json
from pathlib import Path
from typing import is_typeddict

import pytest

from pipeline import facts

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "schemas" / "facts.schema.json").read_text(encoding="utf-8")
)
SECTIONS = {
    "read-container": facts.ContainerFacts,
    "read-disk": facts.DiskFacts,
    "problem": facts.ProblemFacts,
    "not-read": facts.NotRead,
}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_typed_section_has_exactly_the_facts_of_the_schema(name):
    kind, schema = SECTIONS[name], SCHEMA["$defs"][name]

    assert is_typeddict(kind)
    assert set(kind.__annotations__) - {"code"} == set(schema["properties"])
    assert set(schema["required"]) <= set(kind.__required_keys__)


def test_a_partition_has_exactly_the_facts_of_the_schema():
    schema = SCHEMA["$defs"]["read-disk"]["properties"]["partitions"]["items"]

    assert set(facts.PartitionFacts.__annotations__) == set(schema["properties"])
