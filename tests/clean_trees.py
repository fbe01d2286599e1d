"""A Debian with nothing on it, in a directory of its own: what ``make setup`` meets on a new machine.

    tmp/trixie/               what mmdebstrap makes, with make and certificates
    tmp/trixie/opt/imgprep    this checkout: the last commit, as ``git archive`` gives it

Commands run in name spaces of their own, and the tree is made their root by pivot_root(2): in a mere
chroot(2) the kernel lets nobody make user name spaces (clone(2), EPERM), which imgprep confines with.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
COPY = "/opt/imgprep"

_ENTER = """
mount --bind "$0" "$0"
cd "$0"
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
pivot_root . mnt
umount -l /mnt
cd /
exec bash -ec "$1"
"""
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "PIP_CERT": CERTIFICATES,
    "SSL_CERT_FILE": CERTIFICATES,
}


@dataclass(frozen=True)
class CleanTree:
    """One tree; needs root."""

    path: Path

    def run(self, script: str, timeout_s: float = 1800) -> None:
        """Run a script of bash as root in it, with the machine's network."""
        spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        subprocess.run(
            [*spaces, "bash", "-ec", _ENTER, self.path, script],
            check=True,
            timeout=timeout_s,
            env=_ENVIRONMENT,
        )


def make(directory: Path, release: str) -> CleanTree:
    """Make the tree of a Debian release, with this checkout in it."""
    tree = directory / release
    subprocess.run(
        ["mmdebstrap", "--variant=minbase", "--include=ca-certificates,make", release, tree],
        check=True,
        timeout=900,
    )
    copy = tree / COPY.lstrip("/")
    copy.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True, timeout=60
    )
    subprocess.run(["tar", "-x"], cwd=copy, input=archive.stdout, check=True, timeout=60)
    # a network has names of its own, and behind a proxy certificates too
    for path in ("/etc/resolv.conf", CERTIFICATES):
        subprocess.run(["cp", "-L", path, f"{tree}{path}"], check=True)
    return CleanTree(tree)


def container_steps() -> list[str]:
    """The commands of the Containerfile's RUN lines."""
    lines = (ROOT / "Containerfile").read_text().splitlines()
    return [line.removeprefix("RUN ") for line in lines if line.startswith("RUN ")]
