"""A profile written in a hurry, or by somebody else: a clear error at once, with its place."""

import json
import time
from pathlib import Path

import pytest

from pipeline import profile
from pipeline.errors import UsageError
from pipeline.profile import patterns, positions, requirements, templates

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
        (("absent", "a"), (1, 1)),
    ],
)
def test_positions_are_found_in_any_json(at, place):
    text = '{\n  "a": [1,  [2]],\n  "b" : { "c\\n" : [ {"d": null} ] },\n  "twice": 1, "x": {}}'

    assert positions.locate(text, at) == place


@pytest.mark.parametrize(
    ("at", "place"),
    [
        ((), (2, 1)),
        (("a", 1, 0), (2, 10)),
        (("b", "c"), (2, 19)),
        (("b", "d"), (2, 26)),
        (("e",), (3, 1)),
    ],
)
def test_positions_are_found_where_there_is_no_space(at, place):
    text = '\n{"a":[1,[2]],"b":{"c":{},"d":[]},\n"e":""}'

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


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("requirements/uefi-onyl.json", "; did you mean uefi-only?"),
        ("requirements/none.json", ""),
    ],
)
def test_an_unknown_built_in_is_named_with_the_nearest(write, name, near):
    path = write(HEAD | {"allOf": [{"$ref": f"imgprep:{name}"}], "x-target": TARGET})

    assert f"imgprep:{name}: nothing built in has that name{near}" in refused(path)


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

    message = refused(with_requirement(write, schema))

    assert "the pattern" in message
    assert repr(pattern)[:60] in message  # which one


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


# --- lint: all that is wrong, each with its place, and nothing else --------------------------------


def lines(write, content):
    path = write(content)
    return [line.removeprefix(f"{path}:") for line in profile.lint(path)]


def test_lint_says_nothing_of_what_is_right(write):
    schema = {"properties": {"guest": {"properties": {"distro": {"not": {"const": "y"}}}}}}

    assert profile.lint(with_requirement(write, schema)) == ()


def test_lint_tells_each_case_that_comes_out_wrong(write, tmp_path):
    schema = {"properties": {"guest": {"properties": {"distro": {"const": "y"}}}}}

    found = profile.lint(with_requirement(write, schema))

    own = tmp_path / "requirements" / "own.json"
    assert [line.removeprefix(f"{own}:") for line in found] == [
        "29:7: x-cases: this case shall pass, and does not",
        "36:7: x-cases: this case shall fail, and does not",
    ]


def test_lint_tells_what_is_wrong_with_a_sentence(write):
    schema = {"properties": {"guest": {"properties": {"distro": {"not": {"const": "y"}}}}}}
    words = FINDING | {"message": "It is {guest.distro:hex}.", "remedy": "Use { another."}
    mine = with_requirement(write, schema)
    own = write(requirement(schema) | {"x-finding": words}, "requirements/own.json")

    found = [line.removeprefix(f"{own}:").partition(": ")[2] for line in profile.lint(mine)]

    known = ", ".join(sorted(templates.FORMATS))
    assert found == [
        f"x-finding.message: {{guest.distro:hex}} names the unknown format 'hex' (known: {known})",
        "x-finding.remedy: a brace in 'Use { another.' is not part of a {path} or {path:format}",
    ]


def test_lint_tells_no_case_while_something_else_is_wrong(write):
    write(requirement({"properties": {"guest": {"const": 1}}}), "requirements/own.json")
    mine = HEAD | {"allOf": [{"$ref": "requirements/own.json"}], "x-targte": TARGET}

    assert not [line for line in profile.lint(write(mine)) if "x-cases" in line]


def test_lint_of_no_file_is_an_error(tmp_path):
    with pytest.raises(UsageError) as error:
        profile.lint(str(tmp_path / "none.json"))

    assert error.value.code == "profile-missing"


def test_only_a_key_that_should_not_be_there_is_a_place_of_its_own(write):
    text = (
        '{\n  "$schema": "https://json-schema.org/draft/2020-12/schema", "odd": 1, "odder": 2,\n'
        '  "description": "for a test only", "allOf": [],\n'
        '  "x-target": {"format": "raw", "suffix": ".img"}\n}'
    )

    assert lines(write, text) == [
        "1:1: $: 'title' is a required property",
        "2:62: $: Additional properties are not allowed ('odd', 'odder' were unexpected)",
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("imgprep:requirements/uefi-only.txt", "only files can be referred to"),
        ("imgprep:requirements/deep/uefi-only.json", "only files can be referred to"),
        ("imgprep:examples/uefi-only.json", "only files can be referred to"),
        ("imgprep:uefi-only.json", "only files can be referred to"),
        (
            "imgprep:requirements/none.json",
            "imgprep:requirements/none.json: nothing built in has that name",
        ),
        ("http://localhost/x.json", "http://localhost/x.json: only files can be referred to"),
        ("file://elsewhere/x.json", "file://elsewhere/x.json: only files can be referred to"),
        ("profiles/uefi-only.json", "uefi-only.json: there is no such file"),
        ("fruits/uefi-only.json", "uefi-only.json: there is no such file"),
    ],
)
def test_a_reference_that_leads_nowhere(write, entry, said):
    mine = HEAD | {"allOf": [{"$ref": entry}], "x-target": TARGET}
    text = json.dumps(mine)
    column = text.index('"$ref"') + 1

    (line,) = dict.fromkeys(lines(write, text))

    assert line.startswith(f"1:{column}: ")
    assert said in line


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file_of_this_machine_by_its_address(write, tmp_path, host):
    write(requirement({"properties": {"guest": {"minProperties": 1}}}), "own.json")
    mine = {"allOf": [{"$ref": f"file://{host}{tmp_path}/own.json"}], "x-target": TARGET}

    (own,) = [r for r in profile.load(write(HEAD | mine)).requirements if r.rule == "own"]

    assert own.title == "My cloud"


@pytest.mark.parametrize("count", [1999, 2000])
def test_two_thousand_entries_are_read_and_one_more_is_not(write, count):
    many = [{"$ref": "requirements/uefi-only.json"}] * count
    path = write(
        HEAD | {"allOf": many, "x-target": TARGET}
    )  # and the safe-input group, of some dozen

    found = requirements.Collector(library := requirements.Library())
    address = Path(path).as_uri()
    found.collect(address, library.open(address))

    assert library.problems == []
    for more in (many[:1] * 2001, many * 2 + many[:1]):
        longer = Path(write(HEAD | {"allOf": more, "x-target": TARGET})).as_uri()
        second = requirements.Collector(library := requirements.Library())
        second.collect(longer, library.open(longer))
        assert library.problems == [f"{path}:1:1: its lists have more than 2000 entries"]


def test_a_document_of_four_mebibytes_is_read_and_one_byte_more_is_not(write):
    text = json.dumps(HEAD | {"allOf": [], "x-target": TARGET})
    most = 4 << 20

    assert profile.load(write(text + " " * (most - len(text)))).title == "My cloud"
    assert f"larger than {most} bytes" in refused(write(text + " " * (most + 1 - len(text))))


@pytest.mark.parametrize("depth", [64, 65])
def test_sixty_four_levels_are_read_and_one_more_is_not(write, depth):
    text = '{"a": ' * (depth - 1) + "[]" + "}" * (depth - 1)

    assert ("nested deeper than 64" in refused(write(text))) is (depth == 65)


def test_the_names_of_patterns_are_patterns_and_other_names_are_not(write):
    name = "(a+)+"

    for key in ("properties", "$defs", "dependentSchemas"):
        schema = {"properties": {"guest": {key: {name: {"maxLength": 3}}}}}
        assert profile.load(with_requirement(write, schema))
    schema = {"properties": {"guest": {"patternProperties": {"^b": {}, name: {}}}}}
    said = refused(with_requirement(write, schema))
    assert said.count("the pattern repeats what repeats or chooses itself") == 1


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a" * 500, None),
        ("a" * 501, "longer than 500"),
        ("a*b*", None),
        ("a*b*c*", "more than 2 repetitions"),
        ("(a{1,32}){1,32}", None),
        ("(a{1,33}){1,33}", "repeats what repeats"),
        ("(a{1,8}){1,8}", None),
        ("(ab|cd)*", "chooses itself"),
        ("(ab|cd)", None),
        ("(?=a)", "looks ahead"),
        ("(?!a)", "looks ahead"),
        ("(a)(?(1)b|c)", "refers back"),
        ("(a)\\1", "refers back"),
        ("(?>a*)b*", None),
        ("(?>a*b*)c*", "more than 2 repetitions"),
        ("(?:a*?)*", "repeats what repeats"),
        ("(?:a*+b)*", "repeats what repeats"),
        ("((?:x(?:a*)))+", "repeats what repeats"),
    ],
)
def test_why_a_pattern_is_refused(pattern, said):
    wrong = patterns.problem(pattern)

    assert wrong is None if said is None else said in wrong


def test_a_reference_into_a_document_that_has_no_such_place(write):
    said = refused(with_requirement(write, {"allOf": [{"$ref": "#/$defs/none"}]}))

    assert "'#/$defs/none' refers to nothing" in said


@pytest.mark.parametrize(
    "schema",
    [
        {
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {}, "c": {"$ref": "#/$defs/b"}},
            "not": {"minProperties": 99},
        },
        {"$defs": {"b": {"$ref": "#/$defs/a"}, "a": {}}, "not": {"minProperties": 99}},
        {
            "$defs": {"x": {"$dynamicAnchor": "x"}},
            "not": {"$dynamicRef": "#x", "minProperties": 99},
        },
    ],
)
def test_what_refers_to_what_is_beside_it_is_no_cycle(write, schema):
    assert profile.load(with_requirement(write, schema))


def test_only_patterns_are_asked_whether_they_are_good_ones(write):
    texts = {"const": "(a+)+", "title": "(a+)+b", "$comment": "a*b*c*", "default": "(a|b)*"}

    assert profile.load(with_requirement(write, {"properties": {"guest": {"not": texts}}}))


def test_two_branches_that_refer_to_the_same_are_no_cycle(write):
    both = {"$defs": {"a/b": {"not": {}}, "c": {}}}
    schema = both | {
        "anyOf": [{"$ref": "#/$defs/a~1b"}, {"$ref": "#/$defs/c"}],
        "not": {"$ref": "#/$defs/c"},
    }

    assert profile.load(with_requirement(write, schema))
