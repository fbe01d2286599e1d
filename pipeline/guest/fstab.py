"""/etc/fstab: what a guest mounts, and whether it will find it (fstab(5), systemd.mount(5)).

A line is *required* when the start fails without it: a local file system without nofail, noauto or
x-systemd.automount.  Swap and network file systems only make the start wait: systemd wants them, it
does not require them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from pipeline.guest.survey import Survey, Volume
from pipeline.text import clean

BY_NAME = re.compile(
    r"/dev/(?:sd|hd|vd|xvd)[a-z]+\d*|/dev/nvme\d+n\d+(?:p\d+)?|/dev/mmcblk\d+(?:p\d+)?|"
    r"/dev/(?:loop|nbd)\d+(?:p\d+)?|/dev/dm-\d+|"  # as the machine had them where the image was built
    r"/dev/cciss/\S+|/dev/disk/by-(?:id|path|diskseq)/\S+"
)
"""Names that depend on the bus, the slot or the serial number of a disk: another machine has others.

by-id names of LVM, LUKS, RAID and device-mapper volumes come from what is on the disk, and stay.
"""
_STAYS = re.compile(r"/dev/disk/by-id/(?:lvm-pv-uuid|dm-uuid|dm-name|md-uuid|md-name)-")
_FIRST_DISK = re.compile(r"/dev/(?:(?:sd|hd|vd|xvd)a(\d*)|nvme0n1(?:p(\d+))?|mmcblk0(?:p(\d+))?)")
_COUNTED = re.compile(r"(PARTUUID=[\w-]+)/PARTNROFF=(-?\d{1,3})")
"""So many partitions behind another one: what the kernel's root= may say."""
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smbfs", "smb3", "ceph", "glusterfs", "fuse.sshfs", "9p", "virtiofs"}
    | {"vboxsf", "vmhgfs", "fuse.vmhgfs-fuse", "prl_fs", "afs", "ncp", "ncpfs", "davfs", "lustre"}
    | {"sshfs", "gfs", "gfs2", "ocfs2", "pvfs2", "fuse.davfs", "fuse.glusterfs", "fuse.ceph"}
)
_OPTIONAL = frozenset({"nofail", "noauto", "x-systemd.automount", "nobootwait"})
_BY_TAG = ("UUID", "LABEL", "PARTUUID", "PARTLABEL")
_REMOVABLE = re.compile(r"/dev/(?:sr\d+|scd\d+|cdrom\d*|dvd\w*|fd\d+|floppy\w*)")
MAX_LINES = 200


@dataclass(frozen=True)
class Line:
    """One line of fstab, quoting removed."""

    spec: str
    mountpoint: str
    type: str
    options: tuple[str, ...]

    @property
    def optional(self) -> bool:
        """Whether the first start goes on at once when it is not there."""
        return not _OPTIONAL.isdisjoint(self.options)

    @property
    def network(self) -> bool:
        """Whether it is mounted once there is a network."""
        return self.type in _NETWORK or "_netdev" in self.options

    @property
    def required(self) -> bool:
        """Whether the first start fails without it."""
        return not self.optional and not self.network and self.type != "swap"

    @property
    def label(self) -> str:
        """For a message."""
        return f"{clean(self.spec, 120)} on {clean(self.mountpoint, 120)}"


def parse(text: str) -> tuple[Line, ...]:
    """The lines that mount something."""
    found = []
    for row in text.splitlines():
        match row.split():
            case [spec, mountpoint, *rest] if not spec.startswith("#"):
                spec = _plain(spec).strip("\"'").replace('="', "=").rstrip('"')
                kind = rest[0] if rest else "auto"
                options = tuple(rest[1].split(",")) if len(rest) > 1 else ()
                found.append(Line(spec, _plain(mountpoint), kind, options))
    return tuple(found[:MAX_LINES])


def _plain(text: str) -> str:
    """Undo the octal escapes in which a space is written."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def is_by_name(spec: str) -> bool:
    """Whether a device is called by a name that another machine does not give it."""
    return BY_NAME.fullmatch(spec) is not None and _STAYS.match(spec) is None


# --------------------------------------------------------------------------------- which volume it is


def find(spec: str, volumes: Iterable[Volume]) -> Volume | None:
    """The volume that a line means: by UUID, label, partition, LVM name, or device name."""
    counted = _COUNTED.fullmatch(spec)
    if counted is not None:
        return _behind(counted[1], int(counted[2]), tuple(volumes))
    key, sign, value = _tag(spec).partition("=")
    disk = _FIRST_DISK.fullmatch(spec)
    path = _path_of(spec)
    for volume in volumes:
        if sign:
            if _same(key.upper(), value, volume):
                return volume
        elif disk and volume.partition is not None:
            if str(volume.partition) == (disk[1] or disk[2] or disk[3]):
                return volume
        elif spec.startswith("/dev/") and path == volume.device:
            return volume
    return None


def _behind(spec: str, count: int, volumes: Sequence[Volume]) -> Volume | None:
    """The volume of the partition that is ``count`` behind another one."""
    base = find(spec, volumes)
    if base is None or base.partition is None:
        return None
    wanted = base.partition + count
    return next((item for item in volumes if item.partition == wanted), None)


def _tag(spec: str) -> str:
    r"""``/dev/disk/by-uuid/X`` as ``UUID=X``; udev writes odd characters as ``\x20``."""
    match = re.fullmatch(r"/dev/disk/by-(uuid|label|partuuid|partlabel)/(.+)", spec)
    if match is None:
        return spec
    plain = re.sub(r"\\x([0-9a-fA-F]{2})", lambda code: chr(int(code[1], 16)), match[2])
    return f"{match[1].upper()}={plain}"


def _same(key: str, value: str, volume: Volume) -> bool:
    known = {
        "UUID": volume.uuid,
        "LABEL": volume.label,
        "PARTUUID": volume.partition_uuid,
        "PARTLABEL": volume.partition_label,
    }
    seen = known.get(key)
    if key in ("LABEL", "PARTLABEL"):
        return seen is not None and seen == value
    return seen is not None and seen.lower() == value.lower()


def _path_of(spec: str) -> str:
    """``/dev/mapper/vg-lv`` in the form that a survey uses."""
    if spec.startswith("/dev/mapper/"):
        # device-mapper doubles the hyphens within names and puts a single one between them
        parts = re.split(r"(?<!-)-(?!-)", spec.removeprefix("/dev/mapper/"), maxsplit=1)
        return "/dev/" + "/".join(part.replace("--", "-") for part in parts)
    return spec


# -------------------------------------------------------------------------- what a new machine lacks


def by_name(lines: Sequence[Line], missing: Collection[str] = ()) -> tuple[str, ...]:
    """Lines that name a device and that the guest cannot start without.

    Swap is left out: a guest starts without it.  So is what the disk does not hold (``missing``, labels
    as ``absent`` tells them): another name would not help there.
    """
    named = (line.label for line in lines if line.required and is_by_name(line.spec))
    return tuple(label for label in named if label not in missing)


def absent(lines: Sequence[Line], survey: Survey) -> tuple[str, ...] | None:
    """Required lines for what this disk does not hold; None: nobody can tell."""
    return _missing((line for line in lines if line.required), survey)


def slow(lines: Sequence[Line], survey: Survey) -> tuple[str, ...] | None:
    """Lines whose absence the first start only waits for: network file systems, swap elsewhere."""
    waiting = [line for line in lines if not line.optional and not line.required]
    network = tuple(line.label for line in waiting if line.type in _NETWORK)
    local = _missing((line for line in waiting if line.type not in _NETWORK), survey)
    return None if local is None else (*local, *network)


def _missing(lines: Iterable[Line], survey: Survey) -> tuple[str, ...] | None:
    missing = [line for line in lines if on_disk(line.spec, survey) is False]
    if missing and hides_something(survey):
        return None
    return tuple(line.label for line in missing)


def on_disk(spec: str, survey: Survey) -> bool | None:
    """Whether the disk holds what a spec means; None: it means no device, or nobody can tell."""
    tag = _tag(spec)
    key = tag.partition("=")[0].upper()
    if "=" in tag and key in _BY_TAG:
        return find(spec, survey.volumes) is not None
    if not spec.startswith("/dev/") or spec.startswith(("/dev/cciss", "/dev/zram")):
        return None
    if _REMOVABLE.fullmatch(spec):
        return False
    if is_by_name(spec):
        if spec.startswith(("/dev/disk/", "/dev/loop", "/dev/nbd", "/dev/dm-")):
            return None  # it may be this disk's old name: that is said as a device name
        return _FIRST_DISK.fullmatch(spec) is not None and find(spec, survey.volumes) is not None
    if spec.startswith(("/dev/mapper/", "/dev/md")) or spec.count("/") == 3:
        return find(spec, survey.volumes) is not None
    return None


def hides_something(survey: Survey) -> bool:
    """Whether a volume's UUID may lie where the host cannot look."""
    return (
        survey.truncated
        or bool(survey.encrypted)
        or any(volume.opaque or volume.pieces is None for volume in survey.volumes)
    )
