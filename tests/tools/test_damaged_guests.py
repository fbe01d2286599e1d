"""File systems with flipped metadata: no crash beyond the child, no hang, no answer that nobody else gives.

What the direct reader says about a damaged file system must be what the kernel says about it, or what
was there before the damage; else it must say that it cannot tell.  So the kernel is asked only about
variants of which something else is said.  ``make fuzz`` sets DAMAGES to more.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from damaged import KINDS, Variants, changes, make, written
from side_by_side import asked_again, both, differences, everything, gather

from pipeline.errors import ToolError
from pipeline.guest.tree import TreeError
from pipeline.source import Source
from pipeline.tools.reader import child, client
from pipeline.tools.reader.child import UnableError

TOOLS = ("mke2fs", "mkfs.xfs", "mkfs.vfat", "mcopy", "mkntfs", "ntfs-3g", "fusermount")
pytestmark = pytest.mark.needs("setpriv", "prlimit", *TOOLS)
VARIANTS = int(os.environ.get("DAMAGES", "150"))  # of each kind
MANY = 1000
MANY_SEED = os.environ.get("DAMAGES_SEED", "many")
AT_ONCE = 50  # variants that one child reads
BESIDE_THE_KERNEL = 50  # variants of a kind, of which those are shown to it that say something new
LARGEST_DISK = 100  # variants; one appliance has at most 128 partitions

Patches = dict[int, bytes]
Told = dict[str, object]


def told(source, kind, patches) -> Iterator[Told]:
    """What is said about each variant; nothing about one that is refused whole."""
    variants = Variants(source, patches)
    with client.open_reader(variants) as reader:
        for volume in variants.volumes(kind):
            try:
                yield everything(reader.mount(volume))
            except UnableError:
                yield {}
        assert reader._starts <= client.MAX_STARTS


def all_told(path: Path, kind: str, seed: str, count: int) -> Iterator[tuple[Patches, Told]]:
    """The variants of a file system, each with what is said about it."""
    found = changes(path, seed, count)
    with Source.open(path) as source:
        while patches := list(itertools.islice(found, AT_ONCE)):
            yield from zip(patches, told(source, kind, patches), strict=True)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    monkeypatch.setattr(child, "QUESTION_S", 20.0)
    monkeypatch.setattr(client, "MAX_STARTS", AT_ONCE)


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("damaged")
@pytest.mark.parametrize("kind", KINDS)
def test_damages_crash_nothing_and_hang_nowhere(kind, tmp_path):
    path = make(kind, tmp_path / "sound")

    answered = sum(bool(said) for _, said in all_told(path, kind, "kept", VARIANTS))

    assert answered > VARIANTS // 4  # most damage lies where it does not matter


# ------------------------------------------------------------------------------ beside the kernel


def suspects(path: Path, kind: str, seed: str, count: int) -> list[tuple[Patches, Told]]:
    """The variants of which something else is said than of the sound file system, and that."""
    with Source.open(path) as source:
        [before] = told(source, kind, [{}])
    found = []
    for patches, said in all_told(path, kind, seed, count):
        new = [line.split(": ")[0] for line in differences(said, before)]
        if new:
            found.append((patches, {question: said[question] for question in new}))
    return found


def invented(opened, volume, said) -> list[str]:
    """What only the direct reader says of a damaged volume, not the kernel.

    Raises ``ToolError`` when the kernel died of it.
    """
    try:
        theirs = asked_again(opened.appliance.mount(volume.device, volume.type), said)
    except TreeError:
        return []
    return differences(said, theirs)


BESIDE = (
    pytest.mark.appliance,
    pytest.mark.slow,
    pytest.mark.xdist_group("truth"),
    pytest.mark.needs("qemu-nbd", "qemu-system-x86_64", "supermin", "sfdisk"),
)


@pytest.fixture(scope="module")
def beside_the_kernel(tmp_path_factory):
    """Suspect variants of every kind on one disk, in one appliance and in the direct reader."""
    directory = tmp_path_factory.mktemp("damaged")
    contents, new = {}, {}
    for kind in KINDS:
        path = make(kind, directory / kind)
        found = suspects(path, kind, "kernel", BESIDE_THE_KERNEL)
        for number, (patches, said) in enumerate(found[: LARGEST_DISK // len(KINDS)]):
            name = f"{kind}-{number}"
            contents[name] = written(path, patches, directory / name)
            new[name] = said
    volumes = gather(directory / "disk", contents)
    with both(directory / "disk", volumes, tmp_path_factory.mktemp("scratch")) as opened:
        yield opened, new


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=BESIDE) for kind in KINDS])
@pytest.mark.timeout(900)
def test_nothing_is_said_that_neither_the_kernel_says_nor_the_disk_held(kind, beside_the_kernel):
    opened, new = beside_the_kernel
    wrong = {
        name: found
        for name, volume in opened.volumes.items()
        if name.split("-")[0] == kind and volume.type is not None
        if (found := invented(opened, volume, new[name]))
    }

    assert wrong == {}


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=BESIDE) for kind in KINDS])
def test_a_thousand_damages_of_each_kind_invent_nothing(kind, tmp_path):
    path = make(kind, tmp_path / "sound")
    left = suspects(path, kind, MANY_SEED, MANY)
    died, wrong = 0, []
    while left:
        shown, left = left[:LARGEST_DISK], left[LARGEST_DISK:]
        files = {f"{n}": written(path, it, tmp_path / f"{n}") for n, (it, _) in enumerate(shown)}
        volumes = gather(tmp_path / "disk", files)
        with both(tmp_path / "disk", volumes, tmp_path) as opened:
            for number, volume in enumerate(volumes.values()):
                try:
                    wrong += invented(opened, volume, shown[number][1]) if volume.type else []
                except ToolError:  # errors=panic, for example: the others meet a new kernel
                    died += 1
                    left = shown[number + 1 :] + left
                    break

    assert wrong == []
    assert died < MANY // 20
