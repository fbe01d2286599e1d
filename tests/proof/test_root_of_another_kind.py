"""A root that only the appliance can read, and that Amazon's import does not take: exFAT."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import proof_images as images
import pytest

from pipeline import profile
from pipeline.engine import run_job
from pipeline.events import ignore
from pipeline.model import Job, Options, Status, to_json
from stages import for_inspect

sys.path.append(str(Path(images.ROOT) / "fixtures/guests"))
import guest_disks as disks

MIB = 1 << 20

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(900),
    pytest.mark.needs("mkfs.exfat", "sfdisk", "guestfish", "supermin", "qemu-system-x86_64"),
]


def archive(tree):
    """The files of a tree; exFAT has no links."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in tree.items():
            data = content.encode() if isinstance(content, str) else content
            if isinstance(data, bytes):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


@pytest.fixture
def image(tmp_path):
    """The sound guest on exFAT."""
    root, packed = tmp_path / "root", tmp_path / "tree.tar"
    release = {"etc/os-release": "ID=debian\nVERSION_ID=12\n"}
    packed.write_bytes(archive(images.VARIANTS.system({"etc/fstab": "", **release})))
    with root.open("wb") as file:
        file.truncate(160 * MIB)
    disks.tool("mkfs.exfat", root)
    pieces = [disks.Piece(1, 160, "83", root, bootable=True)]
    made = disks.disk(tmp_path / "exfat.img", 162, "dos", pieces, images.VARIANTS.GRUB)
    commands = f"run\nmount /dev/sda1 /\ntar-in {packed} /\n"
    own = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
    subprocess.run(
        ["guestfish", "--format=raw", "-a", made],
        input=commands,
        text=True,
        check=True,
        timeout=400,
        env={**os.environ, **own},
    )
    return made


def test_aws_does_not_take_a_root_on_exfat(image):
    report = run_job(
        Job(str(image), "aws", None, Options(guest="appliance")), for_inspect(), ignore
    )
    facts = to_json(report)["facts"]
    judged = profile.judge(profile.load("aws"), facts)

    assert facts["guest"]["root_file_system"]["type"] == "exfat", facts["guest"]["unknown"]
    failed = {item.rule for item in judged.findings if item.status is Status.FAIL}
    assert "root-file-system" in failed
    assert "guest-no-system" not in failed
