"""A profile written in a hurry, or by somebody else: a clear error at once, with its place."""

import json
import time

import pytest

from pipeline import profile
from pipeline.errors import UsageError
from pipeline.profile import patterns, positions

HEAD = {"$schema": profile.DIALECT, "title": "My cloud", "description": "for a test only"}
TARGET = {"format": "raw", "suffix": ".img"}
SOURCE = {"address": "https://example.org/rules", "date": "2026-01-02"}
FINDING = {
    "severity": "error",
    "needs": ["guest.distro"],
    "message": "The guest is {guest.distro}.",
    "expected": "anything else",
    "remedy": "Use another distribution.",
    "source": SOURCE,
}
CASES = {"pass": [{"guest": {"distro": "x"}}], "fail": [{"guest": {"distro": "y"}}]}


@pytest.fixture
def write(tmp_path):
    def write(content, name="mine.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
        return str(path)

    return write


def refused(path):
    with pytest.raises(UsageError) as error:
        profile.load(path)
    assert error.value.code == "profile-invalid"
    return error.value.message


def requirement(schema):
    return (
        HEAD
        | {"description": "A requirement of a test."}
        | schema
        | {
            "x-finding": FINDING,
            "x-cases": CASES,
        }
    )


def with_requirement(write, schema):
    write(requirement(schema), "requirements/own.json")
    return write(HEAD | {"allOf": [{"$ref": "requirements/own.json"}], "x-target": TARGET})


def test_each_mistake_has_its_line_and_column(write):
    path = write(
        '{\n  "$schema": "https://json-schema.org/draft/2020-12/schema",\n'
        '  "title": "My cloud", "descriptoin": "misspelt",\n'
        '  "description": "for a test only",\n'
        '  "allOf": [\n    {"$ref": "imgprep:requirements/uefi-only.json"},\n'
        '    {"$ref": "requirements/none.json"}\n  ],\n'
        '  "x-target": {"format": "zip", "suffix": ".x"}\n}\n'
    )

    message = refused(path)

    assert f"{path}:3:24: $: Additional properties are not allowed ('descriptoin'" in message
    assert f"{path}:7:6: " in message
    assert "none.json: there is no such file" in message
    assert f"{path}:9:16: $['x-target'].format: 'zip' is not one of" in message


@pytest.mark.parametrize(
    ("text", "place"), [("{", "1:2"), ('{"a": 1,\n "b" 2}', "2:6"), ('{"a": [1, }', "1:11")]
)
def test_what_is_no_json_has_the_place_of_the_mistake(write, text, place):
    assert f"mine.json:{place}: is not JSON" in refused(write(text))


@pytest.mark.parametrize(
    ("at", "place"),
    [
        ((), (1, 1)),
        (("a",), (2, 3)),
        (("a", 1), (2, 13)),
        (("b", "c\n", 0, "d"), (3, 22)),
        (("b", "absent"), (3, 3)),
        (("twice",), (4, 3)),
    ],
)
def test_positions_are_found_in_any_json(at, place):
    text = '{\n  "a": [1,  [2]],\n  "b" : { "c\\n" : [ {"d": null} ] },\n  "twice": 1, "x": {}}'

    assert positions.locate(text, at) == place


def test_profiles_that_list_one_another_are_a_cycle(write):
    write(HEAD | {"allOf": [{"$ref": "mine.json"}]}, "other.json")

    message = refused(write(HEAD | {"allOf": [{"$ref": "other.json"}], "x-target": TARGET}))

    assert "mine.json refers back to itself" in message


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"$ref": "#"}]},
        {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "allOf": [{"$ref": "#/$defs/a"}]},
        {
            "$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}},
            "allOf": [{"$ref": "#/$defs/b"}],
        },
        {"allOf": [{"$ref": "own.json"}]},
    ],
)
def test_a_schema_that_holds_itself_is_a_cycle(write, schema):
    assert "refers back to itself" in refused(with_requirement(write, schema))


def test_lists_that_double_at_each_level_end_early(write):
    for level in range(30):
        write(HEAD | {"allOf": [{"$ref": f"g{level + 1}.json"}] * 10}, f"g{level}.json")
    write(HEAD | {"allOf": [{"$ref": "imgprep:requirements/uefi-only.json"}]}, "g30.json")

    begin = time.process_time()
    message = refused(write(HEAD | {"allOf": [{"$ref": "g0.json"}], "x-target": TARGET}))

    assert "more than 2000 entries" in message
    assert time.process_time() - begin < 20


def test_what_is_nested_deeply_or_is_large_is_refused(write):
    deep = '{"a": ' * 500 + "1" + "}" * 500
    assert "nested deeper than 64" in refused(write(deep))
    assert "larger than" in refused(write('{"a": "' + "x" * (10 << 20) + '"}'))


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|aa)*b",
        "([a-z]+\\.)*x",
        "a*b*c*d",
        "(a{1,40}){1,40}x",
        "(.*)\\1",
        "(?=a+)b",
        "a" * 501,
    ],
)
def test_a_pattern_that_may_explode_is_refused(write, pattern):
    assert patterns.problem(pattern)
    schema = {"properties": {"guest": {"properties": {"distro": {"pattern": pattern}}}}}

    assert "the pattern" in refused(with_requirement(write, schema))


@pytest.mark.parametrize(
    "pattern",
    [
        "^debian$",
        "^/dev/(sd|hd|vd|xvd|nvme|cciss)",
        "(^| )console=ttyS0(,| |$)",
        "^1[0-9]+\\.[0-9]+$",
        "[a-z]{2,8}",
        "((",
    ],
)
def test_an_ordinary_pattern_is_not(pattern):
    assert patterns.problem(pattern) is None


def test_every_pattern_of_ours_is_ordinary():
    from pipeline.profile.requirements import SCHEMAS, keywords

    for path in (*SCHEMAS.glob("requirements/*.json"), *SCHEMAS.glob("profiles/*.json")):
        for _, key, value in keywords(json.loads(path.read_bytes())):
            if key == "pattern":
                assert patterns.problem(value) is None, path
