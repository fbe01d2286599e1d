"""LVM2 metadata: our builder's (which LVM in the appliance accepts), and broken ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phony import builder

from pipeline.content import filesystems, lvm
from pipeline.source import Source

MIB = 1 << 20


@pytest.fixture
def volume(tmp_path):
    for name, size in (("a", 8), ("b", 4)):
        (tmp_path / name).write_bytes(bytes([size]) * size * MIB)
    return builder("guest_disks").lvm(
        tmp_path / "pv", "my-vg", {"root": tmp_path / "a", "swap_1": tmp_path / "b"}
    )


def test_logical_volumes_and_where_they_begin(volume):
    with Source.open(volume) as source:
        group = lvm.parse(source, 0)

        assert filesystems.signature(source) == "LVM2_member"
        assert group is not None
        assert (group.name, group.physical_volumes) == ("my-vg", 1)
        assert [(item.name, item.size) for item in group.logical_volumes] == [
            ("root", 8 * MIB),
            ("swap_1", 4 * MIB),
        ]
        for item, byte in zip(group.logical_volumes, (8, 4), strict=True):
            [piece] = item.pieces
            [place] = item.places
            assert (place.physical, place.length) == (lvm.identifier(source, 0), item.size)
            assert piece == (place.offset, place.length)
            assert source.read(place.offset, 4) == bytes([byte]) * 4


def changed(volume, before: bytes, after: bytes):
    data = volume.read_bytes()
    assert before in data
    volume.write_bytes(data.replace(before, after.ljust(len(before))))
    with Source.open(volume) as source:
        return lvm.parse(source, 0)


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'"striped"', b'"raid1"'), (b'stripe_count = 1\nstripes = [\n"pv0", 0\n', b"stripes = [")],
    ids=["another type", "no stripes"],
)
def test_a_volume_that_is_not_linear_has_no_pieces(volume, before, after):
    group = changed(volume, before, after)

    assert group is not None
    assert group.logical_volumes[0].pieces is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"extent_size = 8192", b"extent_size = -8"),
        (b"extent_size = 8192", b"extent_size = {"),
        (b"my-vg {", b"../x {"),
        (b"physical_volumes {", b"physical_volumes = "),
        (b" LVM2 x[5A%r0N*>", b""),
    ],
)
def test_damaged_metadata_is_no_group(volume, before, after):
    assert changed(volume, before, after) is None


@given(st.text(alphabet='ab{}[]=,"#\n 1\\', max_size=200))
def test_the_text_parser_ends_for_any_text(text):
    try:
        tree = lvm._parse(text)
    except (ValueError, TypeError, IndexError, AttributeError):
        return
    assert isinstance(tree, dict)


def test_a_file_of_comment_signs_takes_no_time():
    assert lvm._parse("#" * lvm.MAX_TEXT) == {}
