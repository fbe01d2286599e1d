"""Hundreds of small guests in two file system images: what the direct reader brings is what was put there.

    /0000/etc/fstab …    a Debian without its os-release
    /0001/etc/fstab …    the same with an empty one, …

The image is a real one, made by mke2fs or mkfs.xfs; each directory in it is mounted as a guest of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from phony import Memory, builder

from pipeline.content.partitions import PartitionTable
from pipeline.guest.facts import collect
from pipeline.guest.survey import Survey, Volume, survey
from pipeline.source import Source
from pipeline.tools.reader import client

trees, disks = builder("guest_trees"), builder("guest_disks")
ROOT = "11111111-2222-4333-8444-555555555555"
VOLUME = Volume("/dev/sda1", 1 << 20, 20 << 30, "ext4", 1, "12345678-01", ROOT, "root", clean=True)
pytestmark = pytest.mark.needs(
    *("setpriv", "prlimit", "module:pyfsext", "module:pyregf", "mke2fs", "mkfs.xfs", "zstd")
)


def otherwise(tree: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tree, and without each of its files; with an empty one, a directory or a dead link instead."""
    yield "as it is", dict(tree)
    for name, content in tree.items():
        yield f"{name} gone", {other: tree[other] for other in tree if other != name}
        yield f"{name} dead", {**tree, name: disks.Link("/nowhere")}
        if isinstance(content, str | bytes):
            yield f"{name} empty", {**tree, name: b""}
            yield f"{name} directory", {**tree, name: None}


GUESTS = {
    "ext4": dict(otherwise(trees.debian(ROOT))),
    "xfs": dict(otherwise(trees.legacy())),
}


class Below:
    """A directory of a tree as a tree of its own."""

    def __init__(self, tree: Any, top: str) -> None:
        self._tree, self._top = tree, top

    def stat(self, directory: str, names: Sequence[str]) -> Any:
        return self._tree.stat(f"{self._top}{directory}".rstrip("/"), names)

    def names(self, directory: str) -> Any:
        return self._tree.names(f"{self._top}{directory}".rstrip("/"))

    def readlink(self, path: str) -> str:
        return str(self._tree.readlink(f"{self._top}{path}"))

    def read(self, path: str, offset: int, length: int) -> bytes:
        return bytes(self._tree.read(f"{self._top}{path}", offset, length))

    def free(self) -> Any:
        return self._tree.free()

    def hive(self, path: str, wanted: Any) -> Any:
        return self._tree.hive(f"{self._top}{path}", wanted)


class Mounter:
    """Brings one tree, whatever the device."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree

    def mount(self, _device: str, _kind: str) -> Any:
        return self._tree

    def kind(self, _device: str) -> None:
        return None

    def inspect(self) -> list[Any]:
        return []


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """Both images, each in a direct reader."""
    directory = tmp_path_factory.mktemp("images")
    packed = {
        kind: {
            f"{at:04}/{name}": content
            for at, tree in enumerate(guests.values())
            for name, content in tree.items()
        }
        for kind, guests in GUESTS.items()
    }
    images = {
        "ext4": disks.ext4(
            directory / "ext4", 128, packed["ext4"], ROOT, options=("-b", "1024", "-N", "30000")
        ),
        "xfs": disks.xfs(directory / "xfs", 304, packed["xfs"], ROOT),
    }
    with (
        Source.open(images["ext4"]) as ext4,
        Source.open(images["xfs"]) as xfs,
        client.open_reader(ext4) as one,
        client.open_reader(xfs) as two,
    ):
        yield {"ext4": one.mount(survey(ext4).volumes[0]), "xfs": two.mount(survey(xfs).volumes[0])}


def facts(tree: Any) -> dict[str, Any]:
    """The section, without what only a real file system has: times, and room."""
    table = PartitionTable("mbr", boot_code="grub")
    found: dict[str, Any] = dict(
        collect(Survey(table, (VOLUME,), (), (), truncated=False), Mounter(tree))
    )
    for name in ("ages", "root_free", "root_file_system"):
        found.pop(name)
    return found


@pytest.mark.xdist_group("guests-in-one-image")
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, guests in GUESTS.items() for name in guests]
)
def test_a_guest_is_the_same_through_the_direct_reader(
    kind: str, name: str, mounted: Mapping[str, Any]
) -> None:
    top = f"/{list(GUESTS[kind]).index(name):04}"

    assert facts(Below(mounted[kind], top)) == facts(Memory(GUESTS[kind][name]))
