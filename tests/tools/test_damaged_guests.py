"""File systems with flipped metadata: no crash beyond the child, no hang, no answer that nobody else gives.

What the direct reader says about a damaged file system must be what the kernel says about it, or what
was there before the damage; else it must say that it cannot tell.  ``make fuzz`` sets DAMAGES to more.
"""

import itertools
import os
from collections.abc import Iterator

import pytest
from damaged import KINDS, Variants, changes, make, written
from side_by_side import both, differences, everything, gather

from pipeline.guest.tree import TreeError
from pipeline.source import Source
from pipeline.tools.reader import child, client
from pipeline.tools.reader.child import UnableError

TOOLS = ("mke2fs", "mkfs.xfs", "mkfs.vfat", "mcopy", "mkntfs", "ntfs-3g", "fusermount")
pytestmark = pytest.mark.needs("setpriv", "prlimit", *TOOLS)
VARIANTS = int(os.environ.get("DAMAGES", "150"))  # of each kind
AT_ONCE = 50  # variants that one child reads
BESIDE_THE_KERNEL = 20  # variants of a kind; one appliance has at most 128 partitions


@pytest.fixture(scope="module", params=KINDS)
def sound(request, tmp_path_factory):
    """A kind, and an undamaged file system of it."""
    return request.param, make(request.param, tmp_path_factory.mktemp(request.param) / "sound")


def told(source, kind, patches) -> Iterator[dict]:
    """What is said about each variant; nothing about one that is refused whole."""
    variants = Variants(source, patches)
    with client.open_reader(variants) as reader:
        for volume in variants.volumes(kind):
            try:
                yield everything(reader.mount(volume))
            except UnableError:
                yield {}
        assert reader._starts <= client.MAX_STARTS


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("damaged")
def test_damages_crash_nothing_and_hang_nowhere(sound, monkeypatch):
    monkeypatch.setattr(child, "QUESTION_S", 20.0)
    monkeypatch.setattr(client, "MAX_STARTS", AT_ONCE)
    kind, path = sound
    found = changes(path, "kept", VARIANTS)
    answered = 0
    with Source.open(path) as source:
        while patches := list(itertools.islice(found, AT_ONCE)):
            answered += sum(bool(item) for item in told(source, kind, patches))

    assert answered > VARIANTS // 4  # most damage lies where it does not matter


@pytest.fixture(scope="module")
def beside_the_kernel(tmp_path_factory):
    """Variants of every kind on one disk, in one appliance and in the direct reader."""
    directory = tmp_path_factory.mktemp("damaged")
    contents, before = {}, {}
    for kind in KINDS:
        path = make(kind, directory / kind)
        with Source.open(path) as source:
            [before[kind]] = told(source, kind, [{}])
        for number, patches in enumerate(changes(path, "kernel", BESIDE_THE_KERNEL)):
            name = f"{kind}-{number}"
            contents[name] = written(path, patches, directory / name)
    volumes = gather(directory / "disk", contents)
    with both(directory / "disk", volumes, tmp_path_factory.mktemp("scratch")) as opened:
        yield opened, before


@pytest.mark.appliance
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("truth")
@pytest.mark.needs("qemu-nbd", "qemu-system-x86_64", "supermin", "sfdisk")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_that_neither_the_kernel_says_nor_the_disk_held(kind, beside_the_kernel):
    opened, before = beside_the_kernel
    invented = {}
    for name, volume in opened.volumes.items():
        if name.split("-")[0] != kind or volume.type is None:
            continue
        try:
            ours = everything(opened.direct.mount(volume))
            theirs = everything(opened.appliance.mount(volume.device, volume.type))
        except (UnableError, TreeError):
            continue
        as_before = {line.split(": ")[0] for line in differences(ours, before[kind])}
        wrong = [line for line in differences(ours, theirs) if line.split(": ")[0] in as_before]
        if wrong:
            invented[name] = wrong

    assert invented == {}
