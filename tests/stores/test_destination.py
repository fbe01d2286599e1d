"""Destinations and names: what is taken, and what is refused before anything is contacted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.stores.destination import Destination, object_name, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("swift://images", Destination("swift", "images")),
        ("swift://images/", Destination("swift", "images")),
        ("swift://images/a/b", Destination("swift", "images", "a/b/")),
        ("swift://images/a/b/", Destination("swift", "images", "a/b/")),
        ("SWIFT://Images/ü 1", Destination("swift", "Images", "ü 1/")),
        ("s3://bucket/x", Destination("s3", "bucket", "x/")),
        ("file:///srv/images/", Destination("file", "/srv/images")),
        ("file:///srv/my%20images", Destination("file", "/srv/my images")),
        ("/srv/images", Destination("file", "/srv/images")),
    ],
)
def test_destinations(text: str, expected: Destination):
    assert parse(text) == expected
    assert parse(expected.url) == expected


@pytest.mark.parametrize(
    "text",
    ["", "swift://", "swift:///x", "s3://", "s3://a", "s3://Ab_/", "s3://user:pw@bucket/",
     "swift://user@host/c", "swift://c/../d", "swift://c/a//b", "swift://c/a\nb", "file://host/dir",
     "file:///a/../b", "ftp://host/dir", "swift://" + "c" * 257, "swift://c/" + "x" * 1000,
     "swift://c/\udcff"],
)  # fmt: skip
def test_malformed_destinations(text: str):
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.code == "destination-malformed"
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert "pw" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "..", "../up", "a/../b", ".", "a\nb", "x" * 2000, "a\udcffb"]
)
@pytest.mark.parametrize("where", ["swift://c/p/", "s3://bucket", "/srv"])
def test_malformed_names(where: str, name: str):
    with pytest.raises(UsageError) as caught:
        object_name(parse(where), "disk.qcow2", ".vhd", name=name)
    assert caught.value.code == "name-malformed"
    assert len(caught.value.message) < 300


def test_the_name_comes_from_the_source():
    assert object_name(parse("swift://c"), "my disk.v2.qcow2", ".vhd") == "my disk.v2.vhd"
    assert object_name(parse("swift://c"), "a.qcow2", ".vhd", name="dir/b") == "dir/b"


@given(st.text(max_size=60))
def test_whatever_is_taken_stays_below_its_place(name: str):
    destination = parse("swift://container/prefix/")
    try:
        chosen = object_name(destination, "disk.qcow2", ".vhd", name=name)
    except UsageError:
        return
    key = destination.key(chosen)
    assert key == f"prefix/{name}"
    assert not {"", ".", ".."} & set(key.split("/"))
    assert key.isprintable() or all(c.isprintable() or not c.isascii() for c in key)


@given(st.text(max_size=60))
def test_any_text_is_a_destination_or_a_usage_error(text: str):
    try:
        found = parse(text)
    except UsageError:
        return
    assert found.scheme in ("file", "swift", "s3")
    assert ".." not in found.prefix.split("/")
