"""Destinations and names: what is taken, and that everything else is one clear usage error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.stores.destination import object_name, parse
from pipeline.stores.location import Destination


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("swift://images", Destination("swift", "images", "")),
        ("swift://images/", Destination("swift", "images", "")),
        ("swift://images/2026/11", Destination("swift", "images", "2026/11/")),
        ("swift://my images/a b/", Destination("swift", "my images", "a b/")),
        ("S3://bucket.name/x/", Destination("s3", "bucket.name", "x/")),
        ("file:///srv/images/", Destination("file", "/srv/images", "")),
        ("file:///srv/a%20b", Destination("file", "/srv/a b", "")),
        ("file://localhost/srv", Destination("file", "/srv", "")),
        ("/srv/../srv/images", Destination("file", "/srv/images", "")),
    ],
)
def test_what_is_a_destination(text: str, expected: Destination):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "swift://",
        "swift:///prefix",
        "swift://c/../other/",
        "swift://c/a//b",
        "swift://c/a\nb",
        "swift://"
        + "c" * 248,  # its container of segments would have a longer name than Swift takes
        "swift://c/" + "p" * 2000,
        "s3://ab",
        "s3://under score!/",
        "s3://b/\udcff",
        "file://host/dir",
        "file://dir",
        "file:///a/../b",
        "file:///a%00b",
        "https://example.com/x",
        "a\0b",
    ],
)
def test_what_is_none(text: str):
    with pytest.raises(UsageError) as caught:
        parse(text)

    assert caught.value.code == "destination-malformed"
    assert caught.value.exit_code == 2
    assert all(character.isprintable() for character in caught.value.message)
    assert len(caught.value.message) < 300


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        parse("swift://user:Secret123@container/")

    assert "Secret123" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "name", ["", "..", "a/../b", "/a", "a/", "a//b", "a\nb", "\udcff", "n" * 2000, "ü" * 500]
)
def test_names_that_are_refused(name: str):
    with pytest.raises(UsageError) as caught:
        object_name(parse("swift://c/p/"), "/x/disk.qcow2", ".vhd", name=name)

    assert caught.value.code == "name-malformed"


def test_a_file_name_has_no_slash_but_an_object_s_may():
    assert object_name(parse("s3://bucket/"), "d.qcow2", ".vhd", name="a/b.vhd") == "a/b.vhd"
    with pytest.raises(UsageError):
        object_name(parse("/tmp"), "d.qcow2", ".vhd", name="a/b.vhd")


def test_the_usual_name_is_the_source_s_stem_and_the_target_s_suffix():
    assert object_name(parse("/tmp"), "/x/my disk.v2.qcow2", ".vhd") == "my disk.v2.vhd"


@given(st.text(max_size=60))
def test_any_text_is_a_destination_or_a_usage_error(text: str):
    for form in (text, "swift://" + text, "s3://" + text, "file://" + text):
        try:
            place = parse(form)
        except UsageError:
            continue
        assert ".." not in place.prefix.split("/")
        assert parse(place.url) == place or place.scheme == "file"
