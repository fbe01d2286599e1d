"""A stock JSON Schema validator on a profile as its files lie there: what our judgement must agree with.

our no (an error that fails)          ⇒  the validator's no
the validator's no                    ⇒  our no, or something unknown that could be one
nothing unknown                       ⇒  the same answer
"""

from __future__ import annotations

import functools
import json
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from pipeline import profile
from pipeline.model import Severity, Status
from pipeline.profile.requirements import SCHEMAS


@functools.cache
def bare(name: str) -> Draft202012Validator:
    """Nothing of ours is involved but the documents."""

    resources = (
        (path.as_uri(), DRAFT202012.create_resource(json.loads(path.read_bytes())))
        for folder in ("profiles", "requirements")
        for path in (SCHEMAS / folder).glob("*.json")
    )
    registry: Any = Registry().with_resources(resources).crawl()
    address = (SCHEMAS / "profiles" / f"{name}.json").as_uri()
    return Draft202012Validator({"$ref": address}, registry=registry)


def assert_same_answer(name: str, facts: dict[str, Any], about: object = "") -> bool:
    """Hold our judgement of facts against the validator's; returns its answer."""
    found = profile.judge(profile.load(name), facts, subject="result").findings
    errors = [item for item in found if item.severity is Severity.ERROR]
    failed = {item.rule for item in errors if item.status is Status.FAIL}
    theirs = bool(bare(name).is_valid(facts))
    if any(item.status is Status.UNKNOWN for item in errors):
        assert not failed or not theirs, (about, failed)
    else:
        assert (not failed) == theirs, (about, failed)
    return theirs
