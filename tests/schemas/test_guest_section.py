"""The type ``GuestFacts`` and the schema say the same, name by name."""

import json
import types
import typing

import pytest

from pipeline.guest import section
from pipeline.profile.requirements import SCHEMAS

SCHEMA = json.loads((SCHEMAS / "facts.schema.json").read_bytes())["$defs"]


def resolved(schema):
    """The schema with what its reference says put in."""
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return {**SCHEMA[name], **schema} if name else schema


def differences(kind, schema, path):
    """Where a type and a schema do not allow the same values."""
    schema = resolved(schema)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.NotRequired:
        yield from differences(parts[0], schema, path)
    elif origin in (typing.Union, types.UnionType):
        if not may_be_null(schema):
            yield f"{path}: the schema has no null"
        (inner,) = (part for part in parts if part is not type(None))
        yield from differences(inner, without_null(schema), path)
    elif may_be_null(schema):
        yield f"{path}: the type has no None"
    elif typing.is_typeddict(kind):
        yield from records(kind, schema, path)
    elif origin is list:
        yield from differences(parts[0], schema["items"], f"{path}[]")
    elif origin is typing.Literal:
        allowed = schema.get("enum", [schema.get("const")])
        if set(allowed) != set(parts):
            yield f"{path}: {allowed} and {parts}"
    else:
        known = {str: "string", int: "integer", bool: "boolean"}
        wanted = known.get(kind, "object")
        if schema.get("type", "string" if "enum" in schema else None) != wanted:
            yield f"{path}: {schema.get('type')} and {kind}"


def records(kind, schema, path):
    hints = typing.get_type_hints(kind, include_extras=True)
    listed = schema["properties"]
    if path != "guest.xen_drivers" and set(hints) != set(listed):
        yield f"{path}: only one has {sorted(set(hints) ^ set(listed))}"
    for name in set(hints) & set(listed):
        yield from differences(hints[name], listed[name], f"{path}.{name}")


def may_be_null(schema):
    return "null" in schema.get("type", ()) or None in schema.get("enum", ())


def without_null(schema):
    plain = dict(schema)
    if isinstance(plain.get("type"), list):
        (plain["type"],) = (each for each in plain["type"] if each != "null")
    if "enum" in plain:
        plain["enum"] = [each for each in plain["enum"] if each is not None]
    return plain


def test_the_guest_section_s_type_is_its_schema():
    assert list(differences(section.GuestFacts, SCHEMA["read-guest"], "guest")) == []


class One(typing.TypedDict):
    name: str
    sizes: list[int]


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"name": {"type": "string"}}, "only one has ['sizes']"),
        (
            {"name": {"type": ["string", "null"]}, "sizes": {"items": {"type": "integer"}}},
            "no None",
        ),
        ({"name": {"type": "integer"}, "sizes": {"items": {"type": "integer"}}}, "integer and"),
        ({"name": {"type": "string"}, "sizes": {"items": {"type": "string"}}}, "x.sizes[]"),
    ],
)
def test_a_difference_is_seen(properties, words):
    (found,) = differences(One, {"properties": properties}, "x")

    assert words in found
