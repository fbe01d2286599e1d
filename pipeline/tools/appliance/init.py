"""An init for the appliance that does what reading a disk needs: under emulation each step takes its time.

    supermin.d/  base.tar.gz  daemon.tar.gz  packages  …      links to those of the installed libguestfs
                 init.tar.gz                                  its one file, /init, with fewer lines

supermin makes an appliance of such a directory, and makes it anew when packages or these files change.
Left out are nodes and directories that nobody opens, the loopback interface, and what looks for Linux
MD arrays and Windows dynamic disks: a disk that has any gets the stock init.  LVM is looked for unless the
kernel's command line says that there is none.  udev is asked about disks and virtio ports, not about
every device.  A script that is not understood is left alone.

Measured under TCG with Debian's cloud kernel, CPU time of a launch: 10.0 s stock, 7.2 s so.
https://libguestfs.org/supermin.1.html
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.tools.appliance.cache import NOTE

_NAME = "init.tar.gz"
_LARGEST = 1 << 20  # bytes of the script; it has 7 KiB
_TRIGGER = "udevadm trigger"
NO_LVM = "imgprep_lvm=0"  # on the kernel's command line
_UNLESS = f"[[ $cmdline == *{NO_LVM}* ]] ||"
_REPLACED = {
    _TRIGGER: f"{_TRIGGER} --subsystem-match=block --subsystem-match=virtio-ports",
    **{
        line: f"{_UNLESS} {line}"
        for line in ("modprobe dm_mod ||:", "lvm pvscan --cache --activate ay")
    },
}
_LEFT_OUT = frozenset(
    {
        "kmod static-nodes --format=tmpfiles --output=/run/tmpfiles.d/kmod.conf",
        "systemd-tmpfiles --prefix=/dev --prefix=/run --prefix=/var/run --create --boot",
        "ip addr add 127.0.0.1/8 brd + dev lo scope host",
        "ip link set dev lo up",
        "machine_id=$(dd if=/dev/urandom bs=16 count=1 status=none | od -x -A n)",
        'echo "${machine_id// /}" > /etc/machine-id',
        "mdadm -As --auto=yes --no-degraded",
        "mdadm -As --auto=yes --run",
        "ldmtool create all",
        "lvmetad",
    }
)


@dataclass(frozen=True)
class QuickInit:
    """A directory in which libguestfs finds an appliance with a shorter init."""

    path: Path

    @property
    def directory(self) -> Path:
        """Where it is kept."""
        return self.path

    @property
    def environment(self) -> Mapping[str, str]:
        """For the worker."""
        return {"LIBGUESTFS_PATH": str(self.path)}

    def give_up(self) -> None:
        """Note that it does not work here."""
        with contextlib.suppress(OSError):
            _note(self.path).touch()


def quick(stock: Path, cache: Path) -> QuickInit | None:
    """An appliance's description with a shorter init, made when it is not there; None where there is none.

    ``stock``: libguestfs' ``supermin.d``.  ``cache``: a directory of the user's, which is made.
    """
    try:
        seen = (stock / _NAME).stat()
        rules = "".join(sorted(_LEFT_OUT)) + "".join(_REPLACED.values())
        words = f"{stock} {seen.st_size} {seen.st_mtime_ns} {rules}"
        path = cache / hashlib.sha256(words.encode()).hexdigest()[:16]
        if _note(path).exists():
            return None
        if not (path / "supermin.d").is_dir():
            _make(stock, path)
    except (OSError, ValueError, tarfile.TarError, EOFError):
        return None
    return QuickInit(path)


def _note(path: Path) -> Path:
    return path / NOTE


def _make(stock: Path, path: Path) -> None:
    """Put it together under another name, so that nobody meets a half."""
    script = shortened(_script(stock / _NAME))
    path.mkdir(parents=True, exist_ok=True)
    if script is None:
        _note(path).touch()
        raise ValueError("the init script is not understood")
    partial = path / f"supermin.d.{os.getpid()}"
    partial.mkdir()
    for item in stock.iterdir():
        if item.name != _NAME:
            (partial / item.name).symlink_to(item)
    (partial / _NAME).write_bytes(_archive(script.encode()))
    partial.rename(path / "supermin.d")


def _script(archive: Path) -> str:
    with tarfile.open(archive) as tar:
        file = tar.extractfile("init")
        if file is None:
            raise ValueError("there is no init")
        return file.read(_LARGEST).decode()


def _archive(script: bytes) -> bytes:
    made = io.BytesIO()
    entry = tarfile.TarInfo("init")
    entry.mode, entry.size = 0o755, len(script)
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        tar.addfile(entry, io.BytesIO(script))
    return made.getvalue()


def shortened(script: str) -> str | None:
    """An init script without the lines that reading needs not; None when it is none that is known here."""
    lines = script.split("\n")
    if lines.count(_TRIGGER) != 1 or not any("guestfsd" in line for line in lines):
        return None
    return "\n".join(_REPLACED.get(line, line) for line in lines if line not in _LEFT_OUT)
