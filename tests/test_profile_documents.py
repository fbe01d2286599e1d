"""How a profile is put together from its documents: which of two listings counts, and whose words."""

import json
from pathlib import Path

import pytest

from pipeline import profile
from pipeline.errors import UsageError
from pipeline.model import Severity
from pipeline.profile import requirements
from pipeline.profile.requirements import SCHEMAS, Library
from tests import samples

HEAD = {"$schema": profile.DIALECT, "title": "My cloud", "description": "for a test only"}
TARGET = {"format": "raw", "suffix": ".img"}
GATES = "imgprep:profiles/safe-input.json"


def listed(rule, **words):
    found = {"$ref": f"imgprep:requirements/{rule}.json"}
    return found | ({"x-finding": words} if words else {})


@pytest.fixture
def write(tmp_path):
    def write(content, name="mine.json"):
        (tmp_path / name).write_text(json.dumps(HEAD | content))
        return str(tmp_path / name)

    return write


def loaded(write, *lists, **group):
    """A profile with these in its ``allOf``, the first of which is a group where one is given."""
    refs = [{"$ref": "group.json"}] if group else []
    if group:
        write(
            {"allOf": [listed("iso-image")]} | {k.replace("_", "-"): v for k, v in group.items()},
            "group.json",
        )
    return profile.load(write({"allOf": [*refs, *lists], "x-target": TARGET}))


def seen(found, rule):
    item = found.requirement(rule)
    return item.advice, item.position, item.template.vendor_code


# --- a rule that is listed twice -----------------------------------------------------------------


def test_the_same_again_changes_nothing(write):
    found = loaded(write, listed("uefi-only", vendor_code="1"), listed("uefi-only"))

    assert seen(found, "uefi-only") == (False, ("allOf", 0), "1")
    assert [item.order for item in found.requirements] == list(range(len(found.requirements)))


def test_the_last_words_count_and_the_place_in_the_report_is_the_first(write):
    again = listed("uefi-only", vendor_code="2")

    found = loaded(write, listed("uefi-only", vendor_code="1"), listed("boot-loader"), again)

    assert seen(found, "uefi-only") == (False, ("allOf", 2), "2")
    assert [item.rule for item in found.requirements][:2] == ["uefi-only", "boot-loader"]


def test_what_an_outer_list_says_of_a_group_goes_before_what_the_group_says(write):
    write({"allOf": [listed("uefi-only", vendor_code="G", severity="warning")]}, "group.json")
    outer = {"$ref": "group.json", "x-finding": {"vendor_code": "O"}}

    found = loaded(write, outer)

    assert seen(found, "uefi-only") == (False, ("allOf", 0, "allOf", 0), "O")
    assert found.requirement("uefi-only").template.severity is Severity.WARNING


def test_advice_does_not_weaken_what_decides(write):
    group = {"allOf": [listed("uefi-only", vendor_code="1")]}
    group["x-advice"] = [listed("uefi-only", vendor_code="2")]

    found = loaded(write, **group)

    assert seen(found, "uefi-only") == (False, ("allOf", 0, "allOf", 0), "1")


@pytest.mark.parametrize(("words", "code"), [({}, "1"), ({"vendor_code": "2"}, "2")])
def test_what_a_group_only_advises_decides_where_the_profile_lists_it_itself(write, words, code):
    """As any validator has it: the profile's own list is not met."""
    advised = [listed("uefi-only", vendor_code="1")]
    found = loaded(write, listed("uefi-only", **words), x_advice=advised)

    judgement = profile.judge(found, samples.facts(guest={"firmware": "uefi"}))

    assert seen(found, "uefi-only") == (False, ("allOf", 1), code)
    assert [(item.rule, item.severity) for item in judgement.findings] == [("uefi-only", "error")]
    assert profile.verdict(judgement) == ("rejected", 1)


@pytest.mark.parametrize(
    ("words", "severity"),
    [({}, "warning"), ({"severity": "error"}, "warning"), ({"severity": "info"}, "info")],
)
def test_advice_is_a_warning_at_most(write, words, severity):
    found = loaded(write, x_advice=[listed("uefi-only", **words)])

    (told,) = profile.judge(found, samples.facts(guest={"firmware": "uefi"})).findings

    assert (told.rule, told.severity) == ("uefi-only", severity)
    assert seen(found, "uefi-only") == (True, ("allOf", 0, "x-advice", 0), None)


# --- what comes with every profile ---------------------------------------------------------------


@pytest.mark.parametrize("where", [[], [{"$ref": GATES}]])
def test_safe_input_is_judged_once_whether_it_is_listed_or_not(write, where):
    found = loaded(write, listed("uefi-only"), *where)

    refs = [entry["$ref"] for entry in found.schema["allOf"]]
    assert sum("safe-input.json" in ref for ref in refs) == 1
    assert found.requirement("backing-file").template.gate


@pytest.mark.parametrize(("format_", "held"), [("vhd", True), ("vhdx", False), ("raw", False)])
def test_what_a_vhd_can_hold_is_judged_where_one_is_made(write, format_, held):
    mine = write({"allOf": [listed("uefi-only")], "x-target": TARGET | {"format": format_}})

    found = profile.load(mine)

    assert (found.requirement("vhd-max-size") is not None) is held


def test_that_is_judged_once_where_it_is_listed(write):
    lists = [listed("vhd-max-size", vendor_code="9")]
    mine = write({"allOf": lists, "x-target": TARGET | {"format": "vhd"}})

    found = profile.load(mine)

    assert seen(found, "vhd-max-size") == (False, ("allOf", 0), "9")
    assert len(found.schema["allOf"]) == 2  # that and safe-input


def test_the_safety_group_is_a_profile_of_the_gates_and_their_advice():
    found = profile.safety()

    document = json.loads((SCHEMAS / "profiles" / "safe-input.json").read_bytes())
    rules = [Path(e["$ref"]).stem for key in ("allOf", "x-advice") for e in document.get(key, ())]
    assert [item.rule for item in found.requirements] == rules
    assert (found.name, found.title) == ("safe-input", document["title"])
    assert found.description == document["description"]
    assert set(found.documents) == {found.address, *(r.address for r in found.requirements)}


def test_a_gate_may_be_listed_as_what_it_is(write):
    found = loaded(write, listed("backing-file", severity="error", vendor_code="7"))

    assert seen(found, "backing-file") == (False, ("allOf", 0), "7")


@pytest.mark.parametrize("name", ["a.json", "z.json"])
def test_a_requirement_may_have_any_name(write, name):
    words = json.loads((SCHEMAS / "requirements" / "uefi-only.json").read_text())
    write(words, name)
    mine = write({"allOf": [{"$ref": name}], "x-target": TARGET})

    assert profile.lint(mine) == ()
    assert profile.load(mine).requirement(name.removesuffix(".json")) is not None


# --- an alias of one's own -----------------------------------------------------------------------


def test_a_profile_that_is_one_reference_is_another_name_of_that_one(write):
    mine = write({"$ref": "imgprep:profiles/oracle.json"}, "ours.json")

    found = profile.load(mine)

    assert (found.name, found.aliases) == ("oracle", (mine,))
    assert found.digest == profile.load("oracle").digest
    assert profile.lint(mine) == ()


@pytest.mark.parametrize(
    "more", [{"allOf": [listed("uefi-only")], "x-target": TARGET}, {"x-target": TARGET}]
)
def test_a_reference_beside_something_else_would_be_judged_by_nobody(write, more):
    mine = write({"$ref": "imgprep:profiles/oracle.json"} | more)
    column = Path(mine).read_text().index('"$ref"') + 1
    told = f"{mine}:1:{column}: $ref: only a profile that is nothing but another name has one"

    assert [line.partition(";")[0] for line in profile.lint(mine)] == [told]


def test_so_would_a_group_that_is_one_reference(write):
    group = write({"$ref": "imgprep:profiles/clean-guest.json"}, "group.json")
    mine = write({"allOf": [{"$ref": "group.json"}], "x-target": TARGET})

    (line,) = profile.lint(mine)

    assert line.startswith(f"{group}:")
    assert "$ref: only a profile" in line


def test_the_names_of_profiles_and_the_newest_of_each_cloud():
    groups = "bootable-guest clean-guest policy portable-guest safe-input windows-clone"
    groups += " azure-vhd xenserver-vhd"
    files = {path.stem for path in (SCHEMAS / "profiles").glob("*.json")}

    assert profile.names() == tuple(
        sorted(files - set(groups.split()), key=lambda name: f"{name}.json")
    )
    assert profile.newest() == tuple(
        name for name in profile.names() if name not in ("rackspace", "rackspace-2014")
    )
    assert profile.rules() == tuple(
        sorted(path.stem for path in (SCHEMAS / "requirements").glob("*.json"))
    )


# --- what is told of what is wrong ---------------------------------------------------------------


def test_three_nearest_names_at_most():
    said = requirements._nearest(SCHEMAS / "requirements" / "cloud-init-datasourc.json")

    assert said == (
        "; did you mean cloud-init-datasource or cloud-init-datasource-only "
        "or cloud-init-datasource-order?"
    )
    with pytest.raises(UsageError) as error:
        profile.find_requirement("cloud-init-unit")
    assert error.value.hint.count(" or ") == 2


def test_a_name_like_no_other_is_answered_with_where_the_names_are():
    with pytest.raises(UsageError) as rule:
        profile.find_requirement("qqq")
    with pytest.raises(UsageError) as name:
        profile.load("qqq")

    assert rule.value.hint == "imgprep profiles NAME lists a profile's requirements"
    assert name.value.hint.startswith("for a profile of your own give its file's path")
    assert (
        name.value.message == f"there is no profile 'qqq'; there are: {', '.join(profile.names())}"
    )


def test_one_problem_is_not_counted_and_two_are(write):
    one = {"allOf": [listed("uefi-only")]}
    messages = []
    for content in (one, one | {"titel": "x"}):
        with pytest.raises(UsageError) as error:
            profile.load(write(content))
        messages.append(error.value.message)

    assert "cannot be used: /" in messages[0]
    assert "cannot be used: 2 problems: /" in messages[1]


def test_what_cannot_be_located_is_at_the_beginning(tmp_path):
    (tmp_path / "cut.json").write_text("{")
    library = Library()

    library.note("file:///none/at/all.json", ("a",), "gone")
    library.note("https://example.org/x.json", ("a",), "far")
    library.note((tmp_path / "cut.json").as_uri(), ("a", 1), "cut")

    assert library.problems[:2] == [
        "/none/at/all.json:1:1: gone",
        "https://example.org/x.json:1:1: far",
    ]
    assert library.problems[2].endswith("/cut.json:1:1: cut")


def test_the_first_place_where_a_text_is_missing_is_told_for_each_that_asks(write):
    mine = write({"allOf": [{"$ref": "a.json"}, {"$ref": "a.json"}], "x-target": TARGET})

    (line, other) = profile.lint(mine)

    text = Path(mine).read_text()
    columns = [text.index('"$ref"') + 1, text.rindex('"$ref"') + 1]
    for said, column in zip((line, other), columns, strict=True):
        assert said.startswith(f"{mine}:1:{column}: ")
        assert said.endswith("/a.json: there is no such file, and nothing built in of that name")


def test_a_text_that_a_group_misses_is_told_at_its_place_in_the_group(write):
    lists = [listed("uefi-only"), {"$ref": "a.json"}]
    group = write({"allOf": lists, "x-advice": [{"$ref": "b.json"}]}, "group.json")
    mine = write({"allOf": [listed("iso-image"), {"$ref": "group.json"}], "x-target": TARGET})

    told = profile.lint(mine)

    text = Path(group).read_text()
    for line, name in zip(told, ("a", "b"), strict=True):
        column = text.index(f'"$ref": "{name}.json"') + 1
        assert line.startswith(f"{group}:1:{column}: ")


def test_targets_imports_and_notes_of_another_shape_are_each_told(write):
    content = {
        "allOf": [listed("uefi-only")],
        "x-target": {"format": "raw"},
        "x-import": {"s3": {"command": 7}},
        "x-explain": [{"title": "t"}],
    }

    told = "\n".join(profile.lint(write(content)))

    for words in (
        "x-target: Object missing required field `suffix`",
        "x-import: Expected `str`, got `int` - at `$[...].command`",
        "x-explain: Object missing required field `text` - at `$[0]`",
    ):
        assert words in told


def test_keys_that_an_import_or_a_note_does_not_have_are_told(write):
    source = {"address": "https://example.org/one", "date": "2026-01-01"}
    content = {
        "allOf": [listed("uefi-only")],
        "x-target": TARGET,
        "x-import": {"s3": {"command": "import {path}", "source": source, "colour": 1}},
        "x-explain": [{"title": "A title", "text": "Ten letters.", "source": source, "taste": 1}],
    }

    told = "\n".join(profile.lint(write(content)))

    assert "x-import: Object contains unknown field `colour` - at `$[...]`" in told
    assert "x-explain: Object contains unknown field `taste` - at `$[0]`" in told


# --- whose source a value brings -----------------------------------------------------------------

ONE = {"address": "https://example.org/one", "date": "2026-01-01"}
TWO = {"address": "https://example.org/two", "date": "2026-02-02"}


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ((None, None), {}),
        ((ONE, None), {"source": ONE}),
        ((None, TWO), {"source": TWO}),
        ((ONE, ONE | {"date": "2027-01-01"}), {"source": ONE}),
        (
            (ONE, TWO),
            {"source": ONE | {"note": "the other text: https://example.org/two (2026-02-02)"}},
        ),
        (
            (ONE | {"note": "as read"}, TWO),
            {
                "source": ONE
                | {"note": "as read; the other text: https://example.org/two (2026-02-02)"}
            },
        ),
        (({"date": "2026-01-01"}, TWO), {"source": TWO}),
    ],
)
def test_where_a_value_is_from(sources, expected):
    values = {
        name: {"maximum": 1} | ({"x-source": json.loads(json.dumps(source))} if source else {})
        for name, source in zip("ab", sources, strict=True)
    }

    assert (
        requirements._source_of_values({"$defs": {"a": {}, "b": {}, "c": {}}}, values) == expected
    )
    assert requirements._source_of_values({"$defs": 7}, values) == {}
    assert requirements._source_of_values({}, values) == {}


def test_every_reference_and_where_it_stands():
    document = {
        "allOf": [{"$ref": "a"}, {"x-finding": {"$ref": "no"}, "$dynamicRef": "#b"}],
        "$ref": 7,
        "const": {"$ref": "no"},
        "properties": {"p": {"items": [{"$ref": "c"}]}},
    }

    assert list(requirements.references(document)) == [
        (("allOf", 0, "$ref"), "a"),
        (("allOf", 1, "$dynamicRef"), "#b"),
        (("properties", "p", "items", 0, "$ref"), "c"),
    ]


def test_only_references_become_addresses():
    ours = "imgprep:requirements/uefi-only.json"
    address = (SCHEMAS / "requirements" / "uefi-only.json").as_uri()
    document = {"$comment": ours, "$ref": ours, "title": ours, "allOf": [{"$ref": ours}, ours, 7]}

    assert requirements._with_addresses(document) == {
        "$comment": ours,
        "$ref": address,
        "title": ours,
        "allOf": [{"$ref": address}, ours, 7],
    }
    assert requirements._with_addresses({"$ref": 7}) == {"$ref": 7}
