"""Sentences from facts: sizes, templates, and that nothing but a named fact gets in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.profile import templates


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB (1000 bytes)"),
        (160_000_000_000, "160 GB (149.01 GiB)"),
        (160 << 30, "160 GiB (171.8 GB)"),
        (160_000_000_512, "160 GB (149.01 GiB, 160,000,000,512 bytes)"),
        ((160 << 30) + 512, "171.8 GB (160 GiB, 171,798,692,352 bytes)"),
    ],
)
def test_a_size_is_shown_in_both_units_and_exactly_where_it_matters(count, shown):
    assert templates.size(count) == shown


@given(st.integers(1000, 1 << 60))
def test_two_sizes_that_look_the_same_are_the_same(count):
    assert templates.size(count) != templates.size(count + 1)


FACTS = {
    "container": {"virtual_size": 2048, "creator": "tap", "files": ["a", "b"], "uuid": None},
    "detail": "seen",
    "parameters": {"max-size": {"maximum": 1 << 30}},
}


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{container.virtual_size}", "2048"),
        ("{container.virtual_size:size}", "2 KiB (2.05 kB)"),
        ("{container.virtual_size:count}", "2,048"),
        ("{container.files:list}", "a, b"),
        ("{container.creator:quoted}", "'tap'"),
        ("{container.uuid}", "none"),
        ("{container.nothing}", "unknown"),
        ("{detail}", "seen"),
        ("{parameters.max-size.maximum:size}", "1 GiB (1.07 GB)"),
        ("no field", "no field"),
    ],
)
def test_a_template_is_filled(template, filled):
    assert templates.fill(template, FACTS) == filled


@pytest.mark.parametrize(
    "template", ["{0}", "{container.__class__}", "{container[creator]}", "{container.creator!r}"]
)
def test_a_template_reaches_nothing_but_facts(template):
    assert templates.fill(template, FACTS) in (template, "unknown")


@pytest.mark.parametrize(
    ("template", "said"), [("{a.b:hex}", "hex"), ("{a b}", "brace"), ("{", "brace"), ("}", "brace")]
)
def test_a_wrong_template_is_told(template, said):
    (problem, *_) = templates.template_problems(template)

    assert said in problem


@given(st.text())
def test_a_fact_s_text_never_becomes_a_template(text):
    filled = templates.fill("<{a.b}>", {"a": {"b": text}, "secret": {"x": "LEAK"}})

    assert "LEAK" not in filled
    assert filled.isprintable()


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=8))
def test_cleaning_keeps_the_shape(value):
    cleaned = templates.cleaned(value)

    assert isinstance(cleaned, type(value))
    assert templates.cleaned({"k": value}) == {"k": cleaned}


def test_a_template_keeps_the_place_of_what_is_not_known():
    template = "{detail}: {container.virtual_size:count} of {parameters.other.maximum:size}"

    assert templates.fill_known(template, FACTS) == "seen: 2,048 of <parameters.other.maximum>"
    assert templates.fields(template) == (
        "detail",
        "container.virtual_size",
        "parameters.other.maximum",
    )


def test_what_is_wrong_with_a_template_is_said_in_whole():
    assert templates.template_problems("{a.b:size} and {c}") == []
    known = ", ".join(sorted(templates.FORMATS))
    assert templates.template_problems("{a.b:hex} {c") == [
        f"{{a.b:hex}} names the unknown format 'hex' (known: {known})",
        "a brace in '{a.b:hex} {c' is not part of a {path} or {path:format}",
    ]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (1, "1 byte"),
        (-1, "-1 bytes"),
        (-1500, "-1.5 kB (-1.46 KiB)"),
        (1 << 10, "1 KiB (1.02 kB)"),
        (1_010_000, "1.01 MB (986.33 KiB)"),
        (1_001_000, "1 MB (977.54 KiB, 1,001,000 bytes)"),
        (10**18, "1 EB (888.18 PiB)"),
        (5 << 70, "5120 EiB (5902.96 EB)"),
    ],
)
def test_sizes_at_the_edges_of_units(count, shown):
    assert templates.size(count) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "none"),
        (True, "yes"),
        (False, "no"),
        ([], "none"),
        ([True, "a", None], "yes, a, none"),
        ({"a": 1}, '{"a": 1}'),
        (7, "7"),
    ],
)
def test_a_value_as_a_word(value, shown):
    assert templates.plain(value) == shown
    assert templates.FORMATS["size"](value) == (shown if value != 7 else "7 bytes")
    assert templates.FORMATS["count"](value) == shown
    assert templates.FORMATS["quoted"](value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "1970-01-01"),
        (1_767_312_000, "2026-01-02"),
        ("2026", "2026"),
        (None, "none"),
        (10**15, "1000000000000000"),  # a year of eight digits
        (10**18, "1000000000000000000"),
        (10**19, "10000000000000000000"),
        (float("inf"), "inf"),
    ],
)
def test_a_day_as_a_word_whatever_a_guest_calls_a_time(value, shown):
    assert templates.fill("{guest.time:day}", {"guest": {"time": value}}) == shown


def test_an_object_as_a_list():
    facts = {"a": {"b": {"one": 1, "two": [True, None]}, "c": "x", "d": {}}}

    assert templates.fill("{a.b:list}; {a.c:list}; {a.d:list}", facts) == (
        "one 1; two yes, none; x; none"
    )


def test_what_holds_commas_is_listed_with_semicolons():
    facts = {"files": ["/etc/a, line 3: x", "/etc/b, line 1: y"]}

    assert templates.fill("{files:list}", facts) == "/etc/a, line 3: x; /etc/b, line 1: y"


def test_every_text_in_a_value_is_cleaned():
    evil = "a\x1b[2Jb"
    shown = templates.plain(evil)

    assert templates.cleaned({evil: [evil, (evil, 1)], "n": 2.5}) == {
        shown: [shown, [shown, 1]],
        "n": 2.5,
    }
    assert shown != evil
