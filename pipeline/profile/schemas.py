"""JSON values against the schemas in ``schemas/``: reports, events, facts, profiles, requirements.

Nothing is fetched from anywhere: the schemas refer to one another by file name.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from pipeline.profile.requirements import SCHEMAS
from pipeline.text import clean

MOST_PROBLEMS = 50


@functools.cache
def validator(name: str) -> Any:
    """The compiled validator of ``schemas/NAME.schema.json``."""
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    documents = {
        path.as_uri(): json.loads(path.read_bytes()) for path in SCHEMAS.glob("*.schema.json")
    }
    registry: Any = Registry().with_resources(
        (address, DRAFT202012.create_resource(content)) for address, content in documents.items()
    )
    address = (SCHEMAS / f"{name}.schema.json").as_uri()
    return Draft202012Validator(
        {**documents[address], "$id": address},
        registry=registry,
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )


def problems(name: str, value: Any) -> list[str]:
    """All that is wrong with a JSON value by that schema, each with the place; empty: valid."""
    return [problem(error) for error in errors(name, value)]


def errors(name: str, value: Any) -> list[Any]:
    """The same as the validator's own errors, which know their place in the value."""
    found = sorted(validator(name).iter_errors(value), key=lambda error: str(error.json_path))
    return found[:MOST_PROBLEMS]


def problem(error: Any) -> str:
    """One validation error as one line: the place and what is wrong there."""
    return f"{error.json_path}: {clean(str(error.message), 200)}"
