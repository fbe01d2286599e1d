"""Read by Linux' own drivers, in the appliance: the result holds every file of the source.

Linux writes, deletes by pattern and unmounts; afterwards it mounts source and
result read-only and is asked for every name, attribute and checksum in both.
"""

from pathlib import Path

import file_systems as made
import pytest
from test_free_left import left_of

from pipeline.content import free_space
from pipeline.source import Source

MIB = 1 << 20
pytestmark = [
    pytest.mark.appliance,
    pytest.mark.slow,
    pytest.mark.nightly,
    pytest.mark.needs("module:guestfs", "qemu-system-x86_64", "supermin", "mkfs.xfs", "mke2fs"),
    pytest.mark.timeout(1200),
]
KINDS = {"xfs": 400, "ext4": 64, "ext3": 64, "ext2": 64}  # MiB
KINDS_MADE = {
    "xfs": ("mkfs.xfs", "-q"),
    **{name: ("mke2fs", "-F", "-q", "-t", name) for name in ("ext4", "ext3", "ext2")},
}

CHURN = """
cd /sysroot
mkdir -p d/e/f
i=0
while [ $i -lt 60 ]; do
  head -c $((i * 3977 % 90000 + 1)) /dev/urandom > d/keep$i
  yes 'MARKER' | head -c $((i * 3331 % 200000 + 100)) > d/e/gone$i
  i=$((i + 1))
done
ln -s ../d/keep7 d/e/link
ln d/keep9 d/e/f/hard
chmod 4711 d/keep11
rm -f d/e/gone*
sync
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


def everything(handle, device: str) -> list[object]:
    """Names, attributes, link targets and checksums."""
    unplayed = {"xfs": ",norecovery", "ext2": ""}.get(handle.vfs_type(device), ",noload")
    handle.mount_options(f"ro{unplayed}", device, "/")
    names = sorted(handle.find("/"))
    stats = [handle.lstatns(f"/{name}") for name in names]
    found: list[object] = [
        (
            name,
            stat["st_mode"],
            stat["st_size"],
            stat["st_nlink"],
            stat["st_mtime_sec"],
            stat["st_uid"],
        )
        for name, stat in zip(names, stats, strict=True)
    ]
    found += [
        (name, handle.checksum("sha256", f"/{name}"))
        for name, stat in zip(names, stats, strict=True)
        if stat["st_mode"] & 0o170000 == 0o100000
    ]
    handle.umount("/")
    return found


def test_every_file_is_what_it_was(tmp_path):
    paths = {kind: made.empty(tmp_path / kind, size * MIB) for kind, size in KINDS.items()}
    for kind, path in paths.items():
        made.run(*KINDS_MADE[kind], path)
    marker = made.MARKER.decode().strip()
    handle = started(*((path, False) for path in paths.values()))
    for device in handle.list_devices():
        handle.mount_options("", device, "/")
        handle.debug("sh", [CHURN.replace("MARKER", marker)])
        handle.umount("/")
    handle.shutdown()
    handle.close()

    results = {}
    for kind, path in paths.items():
        with Source.open(path) as source:
            (area,) = free_space.survey(source).areas
            assert area.reason is None, (kind, area.reason)
        results[kind] = left_of(path)
        assert marker.encode() in path.read_bytes(), kind
        assert marker.encode() not in results[kind].read_bytes(), kind

    both = [path for kind in paths for path in (paths[kind], results[kind])]
    handle = started(*((path, True) for path in both))
    devices = handle.list_devices()
    for number, kind in enumerate(paths):
        pair = devices[2 * number : 2 * number + 2]
        source, result = (everything(handle, device) for device in pair)
        assert len(source) > 120, kind
        assert source == result, kind
    handle.close()
