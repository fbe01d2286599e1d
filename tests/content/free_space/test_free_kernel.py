"""Lived and read by Linux' own drivers, in the appliance: the result holds every file of the source.

    hypothesis ──a life for each──▶ appliance: mounts, writes, deletes, unmounts
                                        │
    source, result ◀── what is left ────┘──▶ a second appliance, read-only: every name, attribute, sha256

What XFS forgets, only Linux can bring about; NTFS is driven by ntfs-3g there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import churn
import file_systems as made
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_free_by_tools import by_dumpe2fs, by_fsck_fat, by_ntfsinfo, by_xfs_db, free_of
from test_free_left import left_of

MIB = 1 << 20
pytestmark = [
    pytest.mark.appliance,
    pytest.mark.slow,
    pytest.mark.nightly,
    pytest.mark.needs("module:guestfs", "qemu-system-x86_64", "supermin", "mke2fs", "e2fsck"),
    pytest.mark.needs("mkfs.xfs", "xfs_repair", "xfs_db", "mkntfs", "ntfsfix", "mkfs.fat", "fsck.fat"),
    pytest.mark.timeout(3600),
]  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """How a file system is made, checked and counted."""

    make: tuple[str, ...]
    size: int  # MiB
    check: tuple[str, ...]
    free: Callable[[Path], int]
    can: frozenset[str] = churn.EVERYTHING
    unplayed: str = ""  # the mount option with which nothing is written


def ext_free(path: Path) -> int:
    return sum(high - low for low, high in by_dumpe2fs(path))


def xfs_free(path: Path) -> int:
    spans, listed = by_xfs_db(path)
    return sum(high - low for low, high in spans) - listed


def ext(*options: str, unplayed: str = ",noload") -> Kind:
    make = ("mke2fs", "-F", "-q", *options)
    return Kind(make, 48, ("e2fsck", "-fn"), ext_free, unplayed=unplayed)


def xfs(*options: str) -> Kind:
    make = ("mkfs.xfs", "-q", "-f", *options)
    return Kind(make, 320, ("xfs_repair", "-n"), xfs_free, unplayed=",norecovery")


WITHOUT_LINKS = churn.EVERYTHING - {"symlink", "link", "chmod"}
KINDS: Mapping[str, Kind] = {
    "xfs": xfs("-m", "rmapbt=1,reflink=1"),
    "xfs version 4": xfs("-m", "crc=0"),
    "ext4": ext("-t", "ext4"),
    "ext4 of bigalloc": ext("-t", "ext4", "-O", "bigalloc", "-C", "16384"),
    "ext3": ext("-t", "ext3"),
    "ext2": ext("-t", "ext2", unplayed=""),
    "fat": Kind(("mkfs.fat", "-F", "32", "-s", "1"), 40, ("fsck.fat", "-n"), by_fsck_fat, WITHOUT_LINKS),
    "ntfs": Kind(("mkntfs", "-F", "-q"), 24, ("ntfsfix", "-n"), by_ntfsinfo),
}  # fmt: skip
LIVES = st.fixed_dictionaries(dict.fromkeys(KINDS, churn.OPERATIONS))
LISTED = """
cd /sysroot
find . -printf '%P %y %m %U:%G %n %s %T@ %l\\n' | sort
find . -type f -exec sha256sum {} + | sort -k 2
lsattr -R . 2>/dev/null || true
"""


def started(*drives: tuple[Path, bool]):
    import guestfs

    handle = guestfs.GuestFS(python_return_dict=True)
    handle.set_backend("direct")
    handle.set_backend_settings(["force_tcg"])  # works everywhere
    for path, read_only in drives:
        handle.add_drive_opts(str(path), format="raw", readonly=read_only)
    handle.launch()
    return handle


def live(paths: Mapping[str, Path], lives: Mapping[str, list[churn.Operation]]) -> None:
    handle = started(*((path, False) for path in paths.values()))
    try:
        for kind, device in zip(paths, handle.list_devices(), strict=True):
            handle.mount_options("", device, "/")
            steps = churn.plan(lives[kind], KINDS[kind].can)
            handle.debug("sh", [churn.as_script(steps, "/sysroot")])
            if kind.startswith(("xfs", "ext")):
                handle.setxattr("user.note", "kept", 4, "/kept-last")
            handle.umount("/")
        handle.shutdown()
    finally:
        handle.close()


def everything(handle, kind: str, device: str) -> str:
    """Names, attributes, link targets and checksums."""
    handle.mount_options(f"ro{KINDS[kind].unplayed}", device, "/")
    found: str = handle.debug("sh", [LISTED])
    if kind.startswith(("xfs", "ext")):
        found += str(handle.getxattrs("/kept-last"))
    handle.umount("/")
    return found


@settings(
    deadline=None, max_examples=3, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(lives=LIVES)
def test_every_file_is_what_it_was(lives, tmp_path_factory):
    directory = tmp_path_factory.mktemp("kernel")
    paths = {}
    for number, (name, kind) in enumerate(KINDS.items()):
        paths[name] = made.empty(directory / f"fs{number}", kind.size * MIB)
        made.run(*kind.make, paths[name])
    live(paths, lives)

    results = {kind: left_of(path) for kind, path in paths.items()}

    for kind, path in paths.items():
        assert made.MARKER in path.read_bytes(), kind
        assert churn.keeps_ends(kind) or made.MARKER not in results[kind].read_bytes(), kind
        made.run(*KINDS[kind].check, results[kind])
        assert free_of(results[kind])[1].free == KINDS[kind].free(results[kind]), kind
        assert free_of(path)[1].free == KINDS[kind].free(path), kind
    pairs = [path for kind in paths for path in (paths[kind], results[kind])]
    handle = started(*((path, True) for path in pairs))
    try:
        devices = handle.list_devices()
        for number, kind in enumerate(paths):
            source, result = (everything(handle, kind, devices[2 * number + at]) for at in (0, 1))
            assert "kept-last" in source, kind
            assert source == result, kind
    finally:
        handle.close()
    for path in pairs:
        path.unlink()
