"""Loops, crowds and bombs asked of both rungs: the direct reader says what the appliance says, or nothing."""

import pytest
from phony import builder
from side_by_side import both, differences, everything, gather, sections

from pipeline.content import partitions
from pipeline.errors import ToolError
from pipeline.source import Source
from pipeline.tools.reader.child import UnableError

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.nightly,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("truth"),
    pytest.mark.needs(
        *("qemu-nbd", "qemu-system-x86_64", "supermin", "mke2fs", "debugfs", "zstd", "sfdisk"),
        *("mkntfs", "ntfs-3g", "fusermount"),
    ),
]
TRAPS = builder("guest_traps").TRAPS
# What the direct reader does not answer of each, and why.
LEFT = {
    "million-names": {"names /many": "more than 100000 entries"},
    "mft-loops": {
        "stat /self/first": "attribute list of record",
        "stat /other/first": "is not one of record",
    },
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """All traps, and the system whose initramfs is a bomb, on one disk."""
    directory = tmp_path_factory.mktemp("traps")
    contents = {name: make(directory / name) for name, make in TRAPS.items()}
    image = builder().build("bomb", directory / "guest")
    with Source.open(image) as source:
        [part] = partitions.parse(source).partitions
        (directory / "bomb").write_bytes(source.read(part.start, part.size))
    volumes = gather(directory / "disk", {**contents, "bomb": directory / "bomb"})
    with both(directory / "disk", volumes, tmp_path_factory.mktemp("scratch")) as found:
        yield found, image


@pytest.mark.parametrize("name", LEFT)
def test_a_trap_is_answered_as_by_the_appliance_or_left_to_it(name, opened):
    volume = opened[0].volumes[name]

    told = everything(opened[0].direct.mount(volume))
    reference = everything(opened[0].appliance.mount(volume.device, volume.type))

    assert differences(told, reference) == []
    for question, why in LEFT[name].items():
        assert why in told[question]
    assert opened[0].direct._starts == 1  # neither a crash nor a hang


def test_a_bomb_is_given_up_alike(opened):
    found, image = opened
    ours, theirs = sections(image, found, {"/dev/sda1": found.volumes["bomb"].device})

    assert ours == theirs
    assert "more than 1073741824 bytes come out of it" in ours["unknown"]["drivers"]


def test_an_index_that_leads_in_circles_costs_no_more_than_the_appliance_s_limit(opened):
    volume = opened[0].volumes["ntfs-loops"]

    with pytest.raises(UnableError):
        opened[0].direct.mount(volume)
    tree = opened[0].appliance.mount(volume.device, volume.type)
    assert "small" in tree.names("/")
    opened[0].appliance._channel.allow(20)
    with pytest.raises(ToolError, match="did not answer in time"):
        tree.stat("/", ["x" * 255])  # ntfs-3g looks for it for ever


def test_every_trap_is_asked_about():
    assert set(TRAPS) == {*LEFT, "ntfs-loops"}
