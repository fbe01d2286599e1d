"""Facts and reports of images that are all right, to be changed in one place by a test."""

from __future__ import annotations

import copy
from typing import Any

from pipeline import profile
from pipeline.model import (
    JudgedBy,
    Judgement,
    Options,
    Report,
    StageRecord,
    StageStatus,
    to_json,
)

GIB = 1 << 30

LINUX: dict[str, Any] = {
    "status": "done",
    "os": "linux",
    "distro": "debian",
    "version": "12",
    "arch": "x86_64",
    "product_name": "Debian GNU/Linux 12 (bookworm)",
    "firmware": "bios",
    "systems": 1,
    "encrypted": [],
    "kernels": [{"version": "6.1.0-1-amd64", "initramfs": "/boot/initrd.img", "default": True}],
    "boot_root": "UUID=0a3407de-014b-458b-b5c1-848e92a327a3",
    "fstab": [],
    "fstab_by_name": [],
    "fstab_absent": [],
    "fstab_slow": [],
    "boot": {
        "loader": "grub2",
        "config": "/boot/grub/grub.cfg",
        "entries": [{"title": "Debian", "kernel": "/boot/vmlinuz-6.1.0-1-amd64"}],
        "default": 0,
        "missing": [],
        "other_problems": [],
        "root_on_disk": True,
    },
    "filesystems": [],
    "network": {
        "hardware_addresses": [],
        "persistent_rules": [],
        "static_addresses": [],
        "dhcp": ["/etc/network/interfaces"],
    },
    "lvm": {"root": False, "devices_file": False},
    "drivers": dict.fromkeys(
        (
            *("virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net", "nvme", "ena"),
            *("hv_vmbus", "hv_storvsc", "hv_netvsc", "udf", "vfat"),
        ),
        "initramfs",
    ),
    "agents": [],
    "xen_drivers": {"xen-blkfront": "initramfs", "xen-netfront": "module"},
    "cloud_init": {
        "installed": True,
        "disabled": False,
        "datasource_list": None,
        "instance_state": [],
        "modules": {"init": [], "config": [], "final": ["scripts_vendor"]},
        "units": dict.fromkeys(
            (
                *("cloud-init-local.service", "cloud-init.service"),
                *("cloud-config.service", "cloud-final.service"),
            ),
            "enabled",
        ),
    },
    "ssh": {"server": True, "enabled": True, "authorized_keys": [], "host_keys": []},
    "sudo_users": ["admin"],
    "users": {
        "with_password": ["admin"],
        "empty_password": [],
        "root_password": "locked",
        "private_keys": [],
        "histories": [],
    },
    "leftovers": {
        "cloud_credentials": [],
        "certificates": [],
        "random_seeds": [],
        "first_boot_prompts": [],
    },
    "root_file_system": {"last_on_disk": True, "growpart": True},
    "command_line": None,
    "machine_id": "empty",
    "root_free": 4 * GIB,
    "unclean": [],
    "databases": [],
    "windows": None,
    "unknown": {},
}
WINDOWS: dict[str, Any] = {
    **LINUX,
    "os": "windows",
    "distro": "windows",
    "version": "10.0",
    "product_name": "Windows Server 2019 Standard",
    "windows": {
        "product_type": "ServerNT",
        "hibernated": False,
        "drivers": {"viostor": "boot", "netkvm": "demand"},
        "remote_desktop": True,
        "pending_reboot": [],
        "page_files": ["C:\\pagefile.sys"],
        "clock_is_utc": True,
        "automatic_logon": False,
    },
}
TAP_VHD: dict[str, Any] = {
    "format": "vhd",
    "variant": "dynamic",
    "creator": "tap",
    "virtual_size": 10 * GIB,
    "file_size": 900 << 20,
    "allocated_size": 900 << 20,
    "external_references": [],
    "encrypted": False,
    "snapshots": 0,
    "uuid": "12345678-1234-4234-8234-123456789abc",
    "suffix": ".vhd",
    "matches": ["vhd"],
    "problems": [],
    "details": {
        "creator_code": "74617000",
        "creator_version": "1.3",
        "hidden": 0,
        "saved_state": 0,
        "block_size": 2 << 20,
        "disk_type": 3,
        "geometry": [20805, 16, 63],
        "geometry_fits": True,
        "timestamp": "2026-01-01T00:00:00Z",
        "timestamp_ahead": 0,
        "bat_entries": 5120,
        "bat_spare": 0,
        "batmap": {"offset": 22016, "sectors": 2, "full_blocks": 400},
    },
    "packed": None,
    "unknown": {},
}
QCOW2: dict[str, Any] = {
    **TAP_VHD,
    "format": "qcow2",
    "variant": "v3",
    "creator": None,
    "uuid": None,
    "suffix": ".qcow2",
    "matches": ["qcow2"],
    "details": {},
}
DISK: dict[str, Any] = {
    "virtual_size": 10 * GIB,
    "partition_table": "gpt",
    "partitions": [{"number": 1, "start": 1 << 20, "size": 9 * GIB, "type": "Linux"}],
    "optical": None,
    "nested_format": None,
    "content": None,
    "free_space": {"free": 4 * GIB, "runs": 40, "deleted": 0, "areas": []},
    "problems": [],
    "unknown": {},
}


def facts(
    container: dict[str, Any] | None = None,
    disk: dict[str, Any] | None = None,
    guest: dict[str, Any] | None = None,
    *,
    of: dict[str, Any] = TAP_VHD,
    system: dict[str, Any] = LINUX,
) -> dict[str, Any]:
    """All facts of a good image, with these changed."""
    return copy.deepcopy(
        {
            "container": of | (container or {}),
            "disk": DISK | (disk or {}),
            "guest": system | (guest or {}),
        }
    )


def problem(rule: str, detail: str = "something was seen", **where: int) -> dict[str, Any]:
    return {"rule": rule, "detail": detail, **where}


def report(found: dict[str, Any], source: str = "disk.qcow2", **changes: Any) -> Report:
    """The report of a check of these facts, made by the real judgement."""
    options = changes.pop("options", Options())
    judged_by = profile.load(changes.pop("by", "rackspace"))
    judgement: Judgement = profile.judge(judged_by, found, waivers=options.allow)
    verdict, code = profile.verdict(judgement, fail_on=options.fail_on, strict=options.strict)
    values: dict[str, Any] = {
        "imgprep_version": "1.0",
        "job": {
            "id": "0123456789abcdef",
            "source": source,
            "profile": "rackspace",
            "destination": None,
            "options": to_json(options),
        },
        "verdict": verdict,
        "exit_code": int(code),
        "findings": judgement.findings,
        "passed": judgement.passed,
        "not_applicable": judgement.not_applicable,
        "facts": found,
        "stages": (
            StageRecord("identify", StageStatus.DONE, 0.01),
            StageRecord("check", StageStatus.DONE, 0.02),
        ),
        "artifact": None,
        "receipt": None,
        "error": None,
        "tools": {"qemu-img": "7.2.0"},
        "started": "2026-11-23T10:00:00.000+00:00",
        "finished": "2026-11-23T10:00:01.500+00:00",
        "profile": JudgedBy(
            judged_by.name,
            judged_by.digest,
            judged_by.target.outcome(found.get("container", {}).get("virtual_size")),
        ),
    }
    return Report(**(values | changes))
