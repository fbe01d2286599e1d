"""/etc/fstab: what a guest mounts, and whether it will find it (fstab(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.guest.survey import Survey, Volume
from pipeline.text import clean

BY_NAME = re.compile(r"/dev/(?:sd|hd|vd|xvd)[a-z]+\d*|/dev/nvme\d+n\d+(?:p\d+)?|/dev/cciss/\S+")
"""Names that depend on the bus of a disk: another hypervisor gives others."""

_FIRST_DISK = re.compile(r"/dev/(?:(?:sd|hd|vd|xvd)a(\d*)|nvme0n1(?:p(\d+))?)")
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smbfs", "smb3", "ceph", "glusterfs", "fuse.sshfs", "9p", "virtiofs"}
    | {"vboxsf", "vmhgfs", "fuse.vmhgfs-fuse", "prl_fs"}
)
_OPTIONAL = frozenset({"nofail", "noauto", "_netdev"})
MAX_LINES = 200


@dataclass(frozen=True)
class Line:
    """One line of fstab, quoting removed."""

    spec: str
    mountpoint: str
    type: str
    options: tuple[str, ...]

    @property
    def required(self) -> bool:
        """Whether the first start waits for it."""
        return not _OPTIONAL.intersection(self.options)

    @property
    def words(self) -> str:
        """For a message."""
        return f"{clean(self.spec, 120)} on {clean(self.mountpoint, 120)}"


def parse(text: str) -> tuple[Line, ...]:
    """The lines that mount something."""
    found = []
    for row in text.splitlines():
        parts = row.split()
        if len(parts) < 2 or parts[0].startswith("#"):
            continue
        spec, mountpoint = _plain(parts[0]).strip("\"'"), _plain(parts[1])
        kind = parts[2] if len(parts) > 2 else "auto"
        options = tuple(parts[3].split(",")) if len(parts) > 3 else ()
        found.append(Line(spec.replace('="', "=").rstrip('"'), mountpoint, kind, options))
    return tuple(found[:MAX_LINES])


def _plain(text: str) -> str:
    """Undo the octal escapes in which a space is written."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def find(spec: str, volumes: Iterable[Volume]) -> Volume | None:
    """The volume that a line means: by UUID, label, partition UUID, LVM name, or device name."""
    key, sign, value = spec.partition("=")
    disk = _FIRST_DISK.fullmatch(spec)
    for volume in volumes:
        if sign and _same(key.upper(), value, volume):
            return volume
        if disk and volume.partition is not None:
            if str(volume.partition) == (disk[1] or disk[2]):
                return volume
        elif spec.startswith("/dev/") and _path_of(spec) == volume.device:
            return volume
    return None


def _same(key: str, value: str, volume: Volume) -> bool:
    known = {"UUID": volume.uuid, "LABEL": volume.label, "PARTUUID": volume.partition_uuid}
    seen = known.get(key)
    if key == "LABEL":
        return seen == value
    return seen is not None and seen.lower() == value.lower()


def _path_of(spec: str) -> str:
    """``/dev/mapper/vg-lv`` and ``/dev/disk/by-…`` in the form that a survey uses."""
    if spec.startswith("/dev/mapper/"):
        # device-mapper doubles the hyphens within names and puts a single one between them
        parts = re.split(r"(?<!-)-(?!-)", spec.removeprefix("/dev/mapper/"), maxsplit=1)
        return "/dev/" + "/".join(part.replace("--", "-") for part in parts)
    return spec


def by_name(lines: Sequence[Line]) -> list[str]:
    """Lines that name a device and that the guest cannot start without.

    Swap is left out: a guest starts without it.
    """
    return [
        line.words
        for line in lines
        if line.required and line.type != "swap" and BY_NAME.fullmatch(line.spec)
    ]


def absent(lines: Sequence[Line], survey: Survey) -> list[str] | None:
    """Lines that the first start waits for, but that this disk does not hold; None: cannot tell."""
    found = [line for line in lines if line.required and line.type in _NETWORK]
    wanted = [line for line in lines if line.required and line.type not in _NETWORK]
    missing = [line for line in wanted if _elsewhere(line.spec, survey)]
    if missing and _hides_something(survey):
        return None
    return [line.words for line in (*missing, *found)]


def _elsewhere(spec: str, survey: Survey) -> bool:
    key = spec.partition("=")[0].upper()
    if key in ("UUID", "LABEL", "PARTUUID"):
        return find(spec, survey.volumes) is None
    if BY_NAME.fullmatch(spec) and not spec.startswith("/dev/cciss"):
        return _FIRST_DISK.fullmatch(spec) is None or find(spec, survey.volumes) is None
    return False


def _hides_something(survey: Survey) -> bool:
    """Whether a volume's UUID may lie where the host cannot look."""
    return (
        survey.truncated
        or bool(survey.encrypted)
        or any(volume.opaque or volume.offset is None for volume in survey.volumes)
    )
