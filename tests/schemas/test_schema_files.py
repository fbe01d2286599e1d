"""The schemas of what imgprep writes: each is valid, and takes and refuses what it should."""

import json

import pytest
from jsonschema import Draft202012Validator

from pipeline import events
from pipeline.model import Options, StageStatus, field_names, to_json
from pipeline.profile import schemas
from pipeline.profile.requirements import SCHEMAS
from tests import samples

FILES = sorted(SCHEMAS.glob("*.schema.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_schema_is_valid_and_says_what_it_is_for(path):
    document = json.loads(path.read_bytes())

    Draft202012Validator.check_schema(document)

    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["title"]
    assert document["description"]


def event(found):
    return {"event": type(found).__name__, "time": 1.5} | to_json(found)


EVENTS = [
    events.JobStarted("ab12", "disk.qcow2", ("identify", "check")),
    events.StageStarted("identify"),
    events.Progress("upload", 5, None, "segment 1"),
    events.Note("convert", "a fallback was taken", "warning"),
    events.StageFinished("identify", StageStatus.DONE, 0.1),
    events.StageFinished("identify", StageStatus.FAILED, 0.1, "no space"),
    events.JobFinished(samples.report(samples.facts())),
]


@pytest.mark.parametrize("found", EVENTS, ids=lambda found: type(found).__name__)
def test_an_event_fits_its_schema(found):
    assert schemas.problems("event", event(found)) == []


@pytest.mark.parametrize("found", EVENTS, ids=lambda found: type(found).__name__)
def test_an_event_with_a_strange_key_does_not(found):
    assert schemas.problems("event", event(found) | {"colour": "red"})


def test_the_job_s_options_are_those_of_the_model():
    schema = json.loads((SCHEMAS / "job.schema.json").read_bytes())

    assert set(schema["$defs"]["options"]["properties"]) == set(field_names(Options))


def test_good_facts_fit_and_a_skipped_section_needs_its_reason():
    facts = samples.facts()

    assert schemas.problems("facts", facts) == []
    skipped = facts | {"guest": {"status": "skipped", "reason": "--guest=off"}}
    assert schemas.problems("facts", skipped) == []
    assert schemas.problems("facts", facts | {"guest": {"status": "skipped"}})


@pytest.mark.parametrize(
    "facts",
    [
        samples.facts({"virtual_size": -1}),
        samples.facts({"virtual_size": "10 GB"}),
        samples.facts({"problems": [{"detail": "no rule"}]}),
        samples.facts({"external_references": "base.vhd"}),
        samples.facts(disk={"partition_table": "apm"}),
        samples.facts(guest={"firmware": "coreboot"}),
        samples.facts(guest={"unknown": {"arch": None}}),
        samples.facts() | {"weather": {}},
    ],
    ids=range(8),
)
def test_facts_of_another_shape_do_not_fit(facts):
    assert schemas.problems("facts", facts)
