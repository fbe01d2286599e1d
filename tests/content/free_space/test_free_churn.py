"""Any life of a file system: what is left of it holds every file, and nothing that was deleted.

hypothesis draws the life (``churn``), and the tools that people use live it: fuse2fs and debugfs (ext),
ntfs-3g, mtools (FAT).  ``test_free_kernel`` does the same with Linux' own drivers.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import churn
import file_systems as made
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_free_by_tools import by_dumpe2fs, by_fsck_fat, by_ntfsinfo, free_of
from test_free_left import by_debugfs, by_mtools, left_of, tree

MIB = 1 << 20
pytestmark = [
    pytest.mark.needs("mke2fs", "debugfs", "dumpe2fs", "e2fsck", "fuse2fs", "mkntfs", "ntfs-3g"),
    pytest.mark.needs("ntfsfix", "ntfsinfo", "mkfs.fat", "fsck.fat", "mcopy", "mdel", "mmove"),
]
FAT = {
    "FAT12": ("-F", "12", "-s", "2", "2"),
    "FAT16": ("-F", "16", "-s", "1", "16"),
    "FAT32": ("-F", "32", "-s", "1", "40"),
}
"""Options and MiB."""


@dataclass(frozen=True)
class Way:
    """How a file system of some kind lives, is checked, counted and read."""

    kinds: Mapping[str, Callable[[Path], object]]
    can: frozenset[str]
    live: Callable[[Path, list[churn.Step]], None]
    check: tuple[str, ...]
    free: Callable[[Path], int]
    read: Callable[[Path], dict[str, object]]


def ext(options: tuple[str, ...]) -> Callable[[Path], object]:
    return lambda path: made.run("mke2fs", "-F", "-q", *options, made.empty(path, 24 * MIB))


def ntfs(options: tuple[str, ...]) -> Callable[[Path], object]:
    return lambda path: made.run("mkntfs", "-F", "-q", *options, made.empty(path, 20 * MIB))


def fat(options: tuple[str, ...], size: str) -> Callable[[Path], object]:
    return lambda path: made.run("mkfs.fat", *options, made.empty(path, int(size) * MIB))


def lived(
    mounted: Callable[[Path], AbstractContextManager[Path]],
) -> Callable[[Path, list[churn.Step]], None]:
    def live(path: Path, steps: list[churn.Step]) -> None:
        with mounted(path) as root:
            churn.live_mounted(root, steps)

    return live


def seen(
    mounted: Callable[[Path], AbstractContextManager[Path]],
) -> Callable[[Path], dict[str, object]]:
    def read(path: Path) -> dict[str, object]:
        with mounted(path) as root:
            return tree(root)

    return read


def ext_free(path: Path) -> int:
    return sum(high - low for low, high in by_dumpe2fs(path))


WAYS = {  # an ext2 of 1995 has no attributes
    "fuse2fs": Way(
        {name: ext(options) for name, options in made.EXT.items() if "1995" not in name},
        churn.EVERYTHING, lived(made.mounted_ext), ("e2fsck", "-fn"), ext_free, seen(made.mounted_ext),
    ),
    "debugfs": Way(
        {name: ext(options) for name, options in made.EXT.items()},
        churn.BY_DEBUGFS, churn.by_debugfs, ("e2fsck", "-fn"), ext_free, by_debugfs,
    ),
    "ntfs-3g": Way(
        {name: ntfs(options) for name, options in made.NTFS.items()},
        churn.EVERYTHING, lived(made.mounted_ntfs), ("ntfsfix", "-n"), by_ntfsinfo, seen(made.mounted_ntfs),
    ),
    "mtools": Way(
        {name: fat(options[:-1], options[-1]) for name, options in FAT.items()},
        churn.BY_MTOOLS, churn.by_mtools, ("fsck.fat", "-n"), by_fsck_fat, by_mtools,
    ),
}  # fmt: skip
LIVES = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def live_and_compare(way: Way, kind: str, operations: list[churn.Operation], path: Path) -> None:
    way.kinds[kind](path)
    way.live(path, churn.plan(operations, way.can))
    assert made.MARKER in path.read_bytes()

    result = left_of(path)

    assert churn.keeps_ends(kind) or made.MARKER not in result.read_bytes()
    made.run(*way.check, result)
    files = way.read(path)
    assert "kept-last" in files
    assert way.read(result) == files
    assert free_of(result)[1].free == free_of(path)[1].free == way.free(result)
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=3, **LIVES)
@given(operations=churn.OPERATIONS, data=st.data())
def test_a_life(name, operations, data, tmp_path_factory):
    kind = data.draw(st.sampled_from(sorted(WAYS[name].kinds)))

    live_and_compare(WAYS[name], kind, operations, tmp_path_factory.mktemp("life") / "fs")


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=60, phases=[Phase.explicit, Phase.generate], **LIVES)
@given(operations=churn.OPERATIONS, data=st.data())
def test_many_lives(name, operations, data, tmp_path_factory):
    kind = data.draw(st.sampled_from(sorted(WAYS[name].kinds)))

    live_and_compare(WAYS[name], kind, operations, tmp_path_factory.mktemp("life") / "fs")
