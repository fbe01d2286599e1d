"""What the direct reader says equals what the appliance says: one launch, every fixture, every feature.

The kernel's own drivers in the appliance are the reference.  "Unable" is no answer, so it is not wrong;
which file systems may be answered so is listed here.
"""

import itertools

import pytest
from phony import builder
from side_by_side import both, differences, everything, gather, sections

from pipeline.tools.reader.child import UnableError

pytestmark = [
    pytest.mark.appliance,
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # against hangs alone: on a busy machine all of it takes long
    pytest.mark.needs(
        *("qemu-nbd", "qemu-system-x86_64", "supermin", "mke2fs", "debugfs", "zstd", "sfdisk"),
        *("mkfs.xfs", "mkfs.vfat", "mcopy", "mkfs.btrfs", "mkswap", "cryptsetup"),
        *("mkntfs", "ntfs-3g", "fusermount", "module:hivex", "module:pyfsext"),
    ),
    pytest.mark.xdist_group("truth"),
]

LEFT_TO_THE_APPLIANCE = {
    "ext2-revision-0",
    "ext4-casefold",
    "ext4-encrypt",
    "ext4-inline-data",
    "ext4-large-dir",
    "ext4-mmp",
    "ext4-sparse-super2",
    "ext4-stable-inodes",
    "ntfs-8k",
    "ntfs-16k",
    "ntfs-32k",
    "ntfs-64k",
}
FILE_SYSTEMS = builder("guest_filesystems").FILE_SYSTEMS
LEFT = ("inks/long", "eft to the appliance/", "ower case")
GUESTS = (
    "debian",
    "fedora-uefi",
    "lvm",
    "lvm-pieces",
    "windows-dc",
    "windows-loops",
    "data-only",
    "two-systems",
    "separate",
    "hostile",
)


def left(question: str) -> bool:
    """Whether a question is about what the direct reader leaves to the appliance."""
    return question.partition(" /l")[2].startswith(LEFT)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every file system, and every guest's disk."""
    directory = tmp_path_factory.mktemp("truth")
    found = {name: make(directory / name) for name, make in FILE_SYSTEMS.items()}
    guests = {name: builder().build(name, directory / "guests") for name in GUESTS}
    return directory, found, guests


@pytest.fixture(scope="module")
def side_by_side(made, tmp_path_factory):
    """All of it on one disk, in one appliance and in a direct reader."""
    directory, found, guests = made
    contents = dict(found)
    names = {}
    for guest, image in guests.items():
        names[guest] = {}
        for number, part in _partitions(image, directory):
            contents[f"{guest}-{number}"] = part
            names[guest][f"/dev/sda{number}"] = f"{guest}-{number}"
    volumes = gather(directory / "disk", contents)
    with both(directory / "disk", volumes, tmp_path_factory.mktemp("scratch")) as opened:
        yield (
            opened,
            {
                guest: {device: volumes[name].device for device, name in devices.items()}
                for guest, devices in names.items()
            },
        )


def _partitions(image, directory):
    """Number and content of each partition of a guest's disk, as files of their own."""
    from pipeline.content import partitions
    from pipeline.source import Source

    with Source.open(image) as source:
        for part in partitions.parse(source).partitions:
            path = directory / f"{image.stem}-{part.number}"
            path.touch()
            builder("guest_disks").tool(
                *("dd", f"if={image}", f"of={path}", "bs=1M", f"skip={part.start}"),
                *("iflag=skip_bytes,count_bytes", f"count={part.size}", "conv=sparse"),
                "status=none",
            )
            with open(path, "r+b") as file:
                file.truncate(part.size)
            yield part.number, path


@pytest.mark.parametrize("name", FILE_SYSTEMS)
def test_a_file_system_is_read_as_the_kernel_reads_it(name, side_by_side):
    opened, _ = side_by_side
    volume = opened.volumes[name]
    reference = everything(opened.appliance.mount(volume.device, volume.type))

    if name in LEFT_TO_THE_APPLIANCE:
        with pytest.raises(UnableError):
            opened.direct.mount(volume)
        return
    told = everything(opened.direct.mount(volume))

    assert differences(told, reference) == []
    unable = [question for question, said in told.items() if str(said).startswith("unable")]
    assert all(map(left, unable))
    asked = [item for item in reference if not left(item)]
    assert len(told) > len(asked) - 3


@pytest.mark.parametrize("name", GUESTS)
def test_every_fact_about_a_guest_is_the_same(name, made, side_by_side):
    opened, devices = side_by_side
    names = {
        **devices[name],
        **{f"/dev/{group}/{volume}": f"/dev/{group}/{volume}" for group, volume in LOGICAL},
    }
    ours, theirs = sections(made[2][name], opened, names)

    assert ours == theirs
    assert ours["unknown"] == theirs["unknown"]


LOGICAL = tuple(itertools.product(("vg", "cut"), ("root", "swap")))
