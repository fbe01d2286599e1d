"""Real guests of four Debian releases, each way of starting: exactly these findings, and what the guest says.

A wrong extra finding fails as a missing one does.  What is judged is ``tests/guest/portable.json``: all that
every cloud asks of a guest.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import debians
import pytest
from debians import ROOT_UUID, VARIANTS

PROFILE = Path(__file__).resolve().parents[1] / "guest/portable.json"
SUITES = ("bullseye", "bookworm", "trixie", "sid")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.needs(
        *("mmdebstrap", "tar", "chroot", "mount", "losetup", "sfdisk", "mke2fs", "mkfs.xfs"),
        *("mkfs.btrfs", "btrfs", "fstrim", "mkfs.vfat", "mcopy", "grub-mkimage"),
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount and use chroot"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def report(request, tmp_path_factory):
    """What imgprep says of one guest; its disk is gone then."""
    suite, name = request.param
    work = tmp_path_factory.mktemp(f"{suite}-{name}")
    variant = {**VARIANTS, "careless": debians.CARELESS}[name]
    path = debians.make(suite, variant, work)
    rung = "auto" if variant.root == "btrfs" else "direct"
    argv = ["-m", "pipeline.cli.main", "check", "--guest", rung]
    argv += ["--profile", PROFILE, "--json", path]
    done = subprocess.run(
        [sys.executable, *map(str, argv)], capture_output=True, text=True, timeout=900
    )
    path.unlink()
    return variant, json.loads(done.stdout)


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(
            (suite, name),
            id=f"{suite}-{name}",
            marks=[pytest.mark.appliance] if VARIANTS[name].root == "btrfs" else [],
        )
        for suite in SUITES
        for name in VARIANTS
    ],
    indirect=True,
)
def test_a_guest_as_it_should_be_has_no_finding(report):
    variant, found = report
    guest = found["facts"]["guest"]

    assert {(item["rule"], item["status"]) for item in found["findings"]} == set()
    assert guest["unknown"] == {}
    assert guest["firmware"] == ("uefi" if variant.uefi else "bios")
    assert guest["boot"]["loader"] == {"grub": "grub2", "uki": "systemd-boot"}.get(
        variant.loader, variant.loader
    )
    assert guest["boot_root"] == ("/dev/mapper/vg-root" if variant.lvm else f"UUID={ROOT_UUID}")
    assert guest["boot"]["root_on_disk"] is True
    assert guest["root_file_system"]["type"] == variant.root
    assert guest["lvm"]["root"] == variant.lvm
    (kernel,) = guest["kernels"]
    assert kernel["default"]
    assert {kernel["drivers"][name] for name in ("virtio_blk", "xen-blkfront")} <= {
        "initramfs",
        "built-in",
    }


@pytest.mark.parametrize(
    "report", [pytest.param((suite, "careless"), id=suite) for suite in SUITES], indirect=True
)
def test_a_guest_that_was_built_and_tried_without_care_has_just_these_findings(report):
    _, found = report

    assert {item["rule"] for item in found["findings"]} == {
        "root-device-name",
        "machine-id",
        "ssh-host-keys",
        "ssh-server-disabled",
        "boot-other-entries",
        "fstab-absent-disks",
        "static-address",
    }
