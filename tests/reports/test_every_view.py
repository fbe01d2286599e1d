"""Every view of one report that has everything, and what becomes of it where one thing is otherwise.

Its words are its own, so that only the views can change what is shown.  ``python tests/every_field.py``
writes ``said/views.txt``: all views of the whole report, then for each change the lines that differ.
"""

from __future__ import annotations

import copy
import difflib
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipeline import reports
from pipeline.model import to_json
from pipeline.reports import matrix, pictures, summary, terminal
from tests import every_field, samples

HERE = Path(__file__).parent
GIB, MIB = 1 << 30, 1 << 20
SOURCE = {"address": "https://example.org/rules", "date": "2026-01-02"}


def finding(
    rule: str, severity: str = "error", status: str = "fail", **more: Any
) -> dict[str, Any]:
    words = rule.replace("-", " ")
    return {
        "rule": rule,
        "severity": severity,
        "status": status,
        "title": f"The {words} is wrong",
        "message": f"The {words} was seen to be other than it should be.",
        "observed": None,
        "expected": f"a {words} that is right",
        "remedy": f"Mend the {words} with a tool that can, and come back.",
        "source": SOURCE,
        **more,
    }


FINDINGS = [
    *(
        finding("block-table", message=f"entry {n} is wild", range={"offset": 100 * n, "length": n})
        for n in range(7)
    ),
    finding(
        "disk-size",
        vendor_code="413",
        path="container.virtual_size",
        source=SOURCE | {"note": "or so"},
    ),
    finding(
        "a-rule-of-a-very-long-name-for-the-line",
        "warning",
        title="A title that has many words in it",
    ),
    finding("small-thing", "info"),
    finding("file-format", "info", fixed_by="convert"),
    finding("block-size", "info", fixed_by="convert", message="It is 4 MiB."),
    finding("old-driver", "warning", "waived", reason="we know"),
    finding(
        "host-key", "error", "waived", reason="cleared", message="This could not be judged: off."
    ),
    *(
        finding(
            f"guest-{n}", "error", "unknown", message="This could not be judged: nobody looked."
        )
        for n in range(5)
    ),
    finding("time-zone", "info", "unknown", message="This could not be judged: the file is cut."),
]
GUEST = {
    "status": "done",
    "os": "linux",
    "distro": "debian",
    "version": "12",
    "arch": "x86_64",
    "product_name": "Debian GNU/Linux 12",
    "firmware": "both",
    "boot": {"loader": "grub2", "version": "2.06", "config": "/boot/grub/grub.cfg"},
    "packages": {"count": 212, "manager": "dpkg", "kernels": [f"linux-{n}" for n in range(6)]},
    "time_zone": "Etc/UTC",
    "locale": "C.UTF-8",
    "ages": {"last_change": 1767312000, "last_boot": 1767398400},
    "filesystems": [
        {"device": "/dev/sda1", "type": "ext4", "size": 6 * GIB, "label": "root", "use": "/"},
        {"device": "/dev/sda2", "type": None, "size": GIB},
    ],
    "before_replay": ["/dev/sda1"],
    "kernels": [
        {"version": "6.1", "initramfs": "/boot/initrd", "default": True},
        {"version": "5.10", "initramfs": None},
    ],
    "xen_drivers": {"xen-blkfront": "initramfs", "udf": "module"},
    "fstab": [{"spec": "UUID=1", "mountpoint": "/", "type": "ext4", "options": ["ro", "x"]}],
    "cloud_init": {"installed": True, "disabled": False},
    "unknown": {},
}
WHOLE: dict[str, Any] = {
    "report_version": 1,
    "imgprep_version": "1.2",
    "job": {
        "id": "0123456789abcdef",
        "source": "images/disk one.qcow2",
        "profile": "cloudy",
        "destination": None,
        "options": {
            "guest": "auto",
            "fail_on": "warning",
            "strict": True,
            "allow": {"old-driver": "we know"},
        },
    },
    "verdict": "rejected",
    "exit_code": 1,
    "findings": FINDINGS,
    "passed": ["uefi-only", "boot-loader"],
    "not_applicable": ["windows-guest"],
    "facts": {
        "container": {
            "format": "qcow2",
            "variant": "v3",
            "creator": "maker",
            "virtual_size": 8 * GIB,
            "file_size": 900 * MIB,
            "allocated_size": 800 * MIB,
            "external_references": ["base.img", "other.img"],
            "encrypted": True,
            "snapshots": 2,
            "packed": None,
            "problems": [{"rule": f"odd-{n}", "detail": f"detail {n}"} for n in range(4)],
        },
        "disk": {
            "virtual_size": 8 * GIB,
            "partition_table": "gpt",
            "partitions": [
                {"number": 2, "start": 7 * GIB, "size": GIB // 2, "type": "0x83", "type_name": ""},
                {
                    "number": 1,
                    "start": MIB,
                    "size": 6 * GIB,
                    "type": "L",
                    "type_name": "Linux",
                    "content": "ext4",
                },
                {
                    "number": 3,
                    "start": 7 * GIB + GIB // 2,
                    "size": MIB,
                    "type": "E",
                    "type_name": "EFI",
                },
            ],
            "allocation": {
                "cell": 32 * MIB,
                "data": [(n * 37) % 101 if n % 5 else 0 for n in range(256)],
            },
            "free_space": {
                "deleted": 300 * MIB,
                "areas": [
                    {"place": "partition 1", "reason": None, "behind": 0},
                    {"place": "partition 2", "reason": "it is encrypted", "behind": 0},
                    {"place": "partition 3", "reason": None, "behind": MIB},
                ],
            },
            "problems": [{"rule": "gpt-backup", "detail": "there is none"}, {"rule": "last"}],
        },
        "guest": GUEST,
    },
    "stages": [
        {"name": "identify", "status": "done", "seconds": 0.01},
        {"name": "check", "status": "done", "seconds": 3.4},
        {"name": "convert", "status": "skipped", "seconds": 61.0, "reason": "it was asked for"},
    ],
    "artifact": None,
    "receipt": None,
    "error": None,
    "tools": {"qemu-img": "7.2.0", "apt": "2"},
    "started": "2026-11-23T10:00:00.000+00:00",
    "finished": "2026-11-23T10:01:05.500+02:00",
    "profile": {
        "name": "cloudy-2026",
        "digest": "0" * 64,
        "target": {
            "format": "vhd",
            "variant": "dynamic",
            "suffix": ".vhd",
            "virtual_size": 8 * GIB,
        },
        "limits": {"virtual_size": 4 * GIB, "file_size": GIB},
    },
    "result": None,
}
GONE = object()
MADE = {
    "format": "vhd",
    "variant": "dynamic",
    "virtual_size": 8 * GIB,
    "size": 950 * MIB,
    "sha256": "ab" * 32,
}
SENT = {
    "url": "swift://box/a%20b/disk.vhd",
    "size": 950 * MIB,
    "segments": [{"name": "1"}, {"name": "2"}],
    "checksum": "sha256:ab",
    "sha256": "cd" * 32,
    "verified": "manifest",
}
CLEAN = {"findings": [], "verdict": "accepted", "exit_code": 0}
INSPECTED = CLEAN | {
    "verdict": "undetermined",
    "stages": [{"name": "identify", "status": "done", "seconds": 1}],
}
IMPORT = (
    "import {container} {object} https://x/{path} {name} {size} {format} {FORMAT} REGION "
    """'{"u": ["{path}", 1]}'"""
)
ERROR = {"code": "no-space", "title": "no room", "message": "the disk is full", "hint": "free some"}

CHANGES: dict[str, dict[str, Any]] = {
    "a gate": {"findings": [finding("backing-file", gate=True), *FINDINGS[9:]]},
    "a gate that is waived": {
        "findings": [finding("backing-file", status="waived", gate=True, reason="x")]
    },
    "one requirement": {"findings": FINDINGS[7:8], "passed": [], "not_applicable": []},
    "five pieces": {"findings": FINDINGS[:5]},
    "six pieces": {"findings": FINDINGS[:6]},
    "four of one reason": {"findings": FINDINGS[14:18]},
    "five of one reason": {"findings": FINDINGS[14:19]},
    "one unknown": {"findings": FINDINGS[19:]},
    "the same piece twice": {"findings": [FINDINGS[0], FINDINGS[0]]},
    "no repair": {"findings": FINDINGS[:10]},
    "only repairs": {"findings": FINDINGS[10:12], "verdict": "accepted", "exit_code": 0},
    "a warning only": {
        "findings": FINDINGS[8:9],
        "verdict": "accepted-with-advice",
        "exit_code": 0,
    },
    "another format": {"job.options.format": "raw"},
    "the same format": {"job.options.format": "vhd"},
    "never": {"job.options.fail_on": "never"},
    "info": {"job.options.fail_on": "info"},
    "error only": {"job.options.fail_on": "error", "job.options.strict": False},
    "accepted": CLEAN,
    "accepted, guest off": CLEAN
    | {"job.options.guest": "off", "facts.guest": {"status": "skipped", "reason": "off"}},
    "accepted, guest failed": CLEAN | {"facts.guest": {"status": "failed", "reason": "no kernel"}},
    "undetermined without findings": {"findings": [], "verdict": "undetermined"},
    "rejected but let through": {"exit_code": 0},
    "inspected": INSPECTED,
    "inspected, with more problems": INSPECTED
    | {"facts.disk.problems": [{"rule": f"p-{n}"} for n in range(3)]},
    "inspected, with one problem": INSPECTED
    | {"facts.disk.problems": [{"rule": "p"}], "facts.container.problems": []},
    "inspected, no image": INSPECTED | {"verdict": "rejected"},
    "inspected, no image, no problem": INSPECTED
    | {"verdict": "rejected", "facts.container.problems": []},
    "inspected, no guest": INSPECTED | {"facts.guest": GONE},
    "inspected, guest off": INSPECTED | {"facts.guest": {"status": "skipped", "reason": "off"}},
    "inspected, guest without reason": INSPECTED | {"facts.guest": {"status": "failed"}},
    "inspected, empty guest": INSPECTED
    | {"facts.guest": {"os": None, "unknown": {"os": "it is encrypted"}}},
    "inspected, no system": INSPECTED | {"facts.guest": {"os": None, "unknown": {}}},
    "inspected, Windows": INSPECTED
    | {
        "facts.guest.product_name": None,
        "facts.guest.time_zone": None,
        "facts.guest.locale": None,
        "facts.guest.firmware": "uefi",
        "facts.guest.ages": {},
        "facts.guest.windows": {"time_zone": "W. Europe", "installed_at": 1767312000},
    },
    "inspected, four kernels": INSPECTED | {"facts.guest.packages.kernels": ["a", "b", "c", "d"]},
    "inspected, times that are none": INSPECTED
    | {"facts.guest.ages": {"last_change": 10**15, "last_boot": 10**18}},
    "inspected, other times that are none": INSPECTED
    | {"facts.guest.ages": {"last_change": 10**19, "last_boot": "x"}},
    "inspected, nothing known": INSPECTED
    | {
        "facts.guest.packages": None,
        "facts.guest.boot": None,
        "facts.guest.ages": None,
        "facts.guest.time_zone": None,
        "facts.guest.filesystems": None,
        "facts.guest.arch": None,
        "facts.guest.firmware": "bios",
    },
    "no container": INSPECTED | {"facts.container": {}},
    "packed": {"facts.container.packed": {"format": "gzip", "size": 77 * MIB}},
    "packed in an OVA": {
        "facts.container.packed": {"format": "ova", "size": 77 * MIB, "name": "d.vmdk"}
    },
    "packed and refused": {
        "facts.container.packed": {"format": "xz", "size": 77 * MIB},
        "facts.container.problems": [{"rule": "packed-image"}],
    },
    "a number for a creator": {"facts.container.creator": "12", "facts.container.variant": None},
    "no creator": {"facts.container.creator": None, "facts.container.format": "unknown"},
    "size not known": {"facts.container.file_size": None, "facts.container.virtual_size": None},
    "no allocated size": {"facts.container.allocated_size": None},
    "a disc": {"facts.disk.optical": {"label": "DISC"}},
    "a disc without a label": {"facts.disk.optical": {"label": None}},
    "no table": {"facts.disk.partition_table": "none", "facts.disk.partitions": []},
    "a table not known": {"facts.disk.partition_table": None},
    "one partition": {"facts.disk.partitions": WHOLE["facts"]["disk"]["partitions"][1:2]},
    "partitions over one another": {
        "facts.disk.partitions": [
            {"number": 1, "start": 0, "size": 6 * GIB, "type": "L"},
            {"number": 2, "start": GIB, "size": GIB, "type": "L"},
            {"number": 3, "start": 7 * GIB, "size": 9 * GIB, "type": "L"},
            {"number": 4, "start": 9 * GIB, "size": 1, "type": "L"},
        ]
    },
    "a partition behind a small gap": {
        "facts.disk.partitions": [
            {"number": 1, "start": 48 * MIB, "size": 50 * MIB, "type": "L"},
            {"number": 2, "start": 150 * MIB, "size": 8 * GIB - 150 * MIB - 50 * MIB, "type": "L"},
        ]
    },
    "no disk": {"facts.disk": None},
    "no allocation": {"facts.disk.allocation": None},
    "little allocation": {"facts.disk.allocation": {"cell": 3 * GIB, "data": [100, 1, 50]}},
    "even allocation": {"facts.disk.allocation": {"cell": 2 * GIB, "data": [0, 10, 11, 20]}},
    "data that is not much": {"facts.disk.free_space": {"deleted": MIB - 1, "areas": []}},
    "data that is just enough": {"facts.disk.free_space": {"deleted": MIB, "areas": []}},
    "no limits": {"profile.limits": {}},
    "just the limit": {"profile.limits": {"virtual_size": 8 * GIB}, "artifact": MADE},
    "no profile": {"profile": None},
    "no time": {"stages": [{"name": "check", "status": "done", "seconds": 0.0}]},
    "an error": {"error": ERROR, "verdict": "failed", "exit_code": 3, "findings": [], "stages": []},
    "an error without a hint": {"error": ERROR | {"hint": ""}, "verdict": "failed", "exit_code": 3},
    "interrupted": {"error": ERROR, "verdict": "interrupted", "exit_code": 130},
    "interrupted without an error": {"verdict": "interrupted", "exit_code": 130},
    "made": CLEAN | {"artifact": MADE, "job.options.keep": "out/y z.vhd"},
    "made, and something failed": {"artifact": MADE, "job.options.keep": "y.vhd"},
    "made raw": CLEAN | {"artifact": MADE | {"format": "raw", "size": 900 * MIB}},
    "made small": CLEAN | {"artifact": MADE | {"format": "qcow2", "size": 90 * MIB}},
    "made large": CLEAN | {"artifact": MADE | {"size": 8999 * MIB}},
    "made ten times as large": CLEAN | {"artifact": MADE | {"format": "raw", "size": 9000 * MIB}},
    "made as large, nearly": CLEAN | {"artifact": MADE | {"size": 945 * MIB}},
    "made as small, nearly": CLEAN | {"artifact": MADE | {"size": 855 * MIB}},
    "planned": CLEAN
    | {
        "artifact": MADE,
        "job.options.dry_run": True,
        "job.destination": "swift://box/",
        "stages": [
            {"name": "convert", "status": "done", "seconds": 1, "reason": "planned"},
            {"name": "upload", "status": "skipped", "seconds": 0, "reason": "a dry run"},
        ],
    },
    "planned with a name": CLEAN
    | {
        "artifact": MADE,
        "job.options.dry_run": True,
        "job.destination": "swift://box/",
        "job.options.name": "n m",
        "job.options.keep": "k",
        "job.options.create": True,
    },
    "made while it is sent": CLEAN | {"artifact": MADE, "job.destination": "swift://box/"},
    "made and not judged": {"artifact": MADE, "verdict": "undetermined", "findings": FINDINGS[19:]},
    "stored": CLEAN | {"artifact": MADE, "receipt": SENT, "job.destination": "swift://box/"},
    "stored in one segment, resumed": CLEAN
    | {
        "artifact": MADE | {"format": "raw"},
        "receipt": SENT
        | {
            "segments": [{"name": "1"}],
            "reused_bytes": 3 * MIB,
            "sha256": None,
            "verified": "readback",
        },
    },
    "stored, not verified": CLEAN | {"artifact": None, "receipt": SENT | {"verified": None}},
    "stored here": CLEAN
    | {"artifact": MADE, "receipt": SENT | {"url": "file:///srv/a%20b/disk.vhd"}},
    "stored, and imported next": CLEAN
    | {"artifact": MADE, "receipt": SENT, "profile.import_command": IMPORT},
    "imported without its suffix": CLEAN
    | {
        "artifact": MADE,
        "receipt": SENT | {"url": "s3://b/disk.tar.gz"},
        "profile.import_command": IMPORT,
    },
    "imported with a dot in its name": CLEAN
    | {
        "artifact": MADE,
        "receipt": SENT | {"url": "s3://b/disk.v2.vhd"},
        "profile.import_command": IMPORT,
    },
    **{
        f"accepted, guest skipped by {word}": CLEAN
        | {"job.options.guest": word, "facts.guest": {"status": "skipped", "reason": "it is"}}
        for word in ("auto", "require")
    },
    "stored by no profile": CLEAN | {"receipt": SENT, "job.profile": None},
    "the usual options": CLEAN
    | {"job.options.fail_on": "error", "job.profile": "rackspace", "job.options.strict": False},
    "an absolute source": {"job.source": "/srv/a b.img"},
    "a result with findings of its own": CLEAN
    | {
        "artifact": MADE,
        "findings": FINDINGS[8:10],
        "result": {
            "findings": [
                *FINDINGS[7:9],  # an error, and a warning that the source has too
                finding("small-thing", "warning", "unknown"),
                finding("backup-table", "info", message="It lies in the middle."),
            ],
            "passed": [],
            "not_applicable": [],
        },
    },
    "a warning that a conversion mends": {
        "findings": [finding("file-format", "warning", fixed_by="convert"), *FINDINGS[10:11]]
    },
    "stored in no segment": CLEAN | {"receipt": SENT | {"segments": []}},
    "inspected, other stages": INSPECTED
    | {
        "stages": [
            {"name": name, "status": "done", "seconds": 1} for name in ("capture", "identify")
        ]
    },
    "long words": {
        "profile.name": "-".join(["cloud"] * 25),
        "job.source": "-".join(["disk"] * 30),
        "findings": [
            finding(
                "-".join(["rule"] * 30),
                message=" ".join(["one-two-three"] * 20),
                expected="x" * 130,
                title="-".join(["title"] * 20),
            ),
            finding("file-format", "info", fixed_by="convert", message="four-five-six " * 20),
        ],
    },
    **{
        f"a title of {length}": {"findings": [finding("disk-size", title="t" * length)]}
        for length in (39, 40, 79, 80)
    },
    "long values of few words": INSPECTED
    | {
        "facts.guest.packages.manager": "m" * 120,
        "facts.guest.packages.kernels": [f"{'k' * 60} {'l' * 60} m", f"{'k' * 60} {'l' * 60}"],
    },
    "stored far away": CLEAN | {"artifact": MADE, "receipt": SENT | {"url": f"s3://b/{'u' * 99}"}},
    "a small disk": {
        "facts.container.virtual_size": 1000,
        "facts.disk.virtual_size": 1000,
        "facts.disk.partitions": [
            {"number": 1, "start": 6, "size": 100, "type": "L"},
            {"number": 2, "start": 112, "size": 5, "type": "L"},
            {"number": 3, "start": 200, "size": 794, "type": "L"},
            {"number": 4, "start": 999, "size": 0, "type": "L"},
        ],
        "facts.disk.allocation": {"cell": 7, "data": [(n * 41) % 101 for n in range(137)]},
        "facts.container.file_size": 1023,
        "facts.container.allocated_size": 0,
        "profile.limits": {"virtual_size": 999, "file_size": 1},
        "artifact": MADE | {"size": 1},
        "stages": [
            {"name": "check", "status": "done", "seconds": 2},
            {"name": "convert", "status": "done", "seconds": 1},
            {"name": "upload", "status": "done", "seconds": 497},
        ],
    },
    "a small disk with smaller gaps": {
        "facts.disk.virtual_size": 1000,
        "facts.disk.partitions": [
            {"number": 1, "start": 5, "size": 100, "type": "L"},
            {"number": 2, "start": 105, "size": 890, "type": "L"},
        ],
        "facts.disk.allocation": {"cell": 1, "data": [100, 0, 0, 1, 9, 10, 11, 20, 100]},
    },
    "a disk of nothing": {
        "facts.disk.virtual_size": 0,
        "facts.disk.allocation": {"cell": 1, "data": [50]},
        "facts.disk.partitions": [{"number": 1, "start": 1, "size": 1, "type": "L"}],
    },
}


def changed(report: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The report with values at dotted places; ``GONE`` removes one."""
    found = copy.deepcopy(dict(report))
    for place, value in changes.items():
        *way, last = place.split(".")
        at = found
        for step in way:
            at = at[step]
        if value is GONE:
            del at[last]
        else:
            at[last] = copy.deepcopy(value)
    return found


def as_stored(report: Any) -> Any:
    """As it is read from a file: no text in it is one of the program's own objects."""
    return json.loads(json.dumps(report))


def views(report: Any) -> Iterator[str]:
    """Every view as lines."""
    report = as_stored(report)
    whole = summary.summarize(report)
    for width in (100, 60):
        yield f"--- terminal, {width} columns"
        for line in terminal.lines(whole, width):
            yield "".join(f"{text}" for text, _ in line) + f"  {[style for _, style in line]}"
    for kind in ("markdown", "github", "junit", "sarif"):
        yield f"--- {kind}"
        yield from reports.render(kind, report).splitlines()
    yield "--- pictures"
    drawn = pictures.draw(report)
    for item in (
        *drawn.disk,
        *drawn.allocation,
        drawn.allocated,
        *drawn.bars,
        *drawn.steps,
        *drawn.tables,
    ):
        yield repr(item)
    yield "--- a row among several"
    yield from (f"{name}: {value}" for name, value in asdict(matrix.rows([report])[0]).items())


def lines() -> Iterator[str]:
    """All that is stored."""
    whole = list(views(WHOLE))
    yield from whole
    for name, changes in CHANGES.items():
        yield f"=== {name}"
        other = list(views(changed(WHOLE, changes)))
        differing = difflib.unified_diff(whole, other, n=0, lineterm="")
        yield from (line for line in differing if line[:1] == "+" and line[:3] != "+++")


SEVERAL = [
    changed(WHOLE, CHANGES[name] | {"profile.name": f"cloud-{n}"})
    for n, name in enumerate(
        ("accepted", "a gate", "only repairs", "five of one reason", "one unknown", "an error")
    )
]


def several() -> Iterator[str]:
    """All that is stored of several reports."""
    images = [
        changed(each, {"job.source": f"{n}.img", "profile.name": "one"})
        for n, each in enumerate(SEVERAL)
    ]
    groups = {
        "one image": SEVERAL,
        "one profile": images,
        "one image and profile": SEVERAL[:1],
        "one that is taken, one that is not": SEVERAL[:2],
        "none": SEVERAL[1:3][:1],
        "none of two": [SEVERAL[1], SEVERAL[3]],
        "two that are taken": [SEVERAL[0], SEVERAL[2]],
        "several of each": [*SEVERAL[:2], *images[:2]],
        "inspected": [changed(WHOLE, INSPECTED), changed(WHOLE, CHANGES["inspected, no image"])],
        "inspected, all known": [
            changed(WHOLE, INSPECTED),
            changed(WHOLE, INSPECTED | {"job.source": "b"}),
        ],
        "interrupted": [
            images[0],
            changed(images[1], {"verdict": "interrupted"}),
            changed(images[1], {"verdict": "failed"}),
        ],
        "targets": [
            changed(SEVERAL[0], {"profile.target": target})
            for target in (
                {},
                {"format": "raw", "virtual_size": GIB},
                {"format": "vhd", "variant": "fixed", "virtual_size": GIB},
                {"format": "raw", "packing": "tar.gz", "virtual_size": GIB},
                {"format": "qcow2"},
                {"format": "qcow2", "virtual_size": 900},
                {"format": "vmdk", "variant": "streamOptimized", "virtual_size": 900},
                {"format": "raw", "virtual_size": 500},
                {"format": "vhd", "variant": "fixed", "virtual_size": 1000},
                {"format": "vhdx", "variant": "fixed", "virtual_size": 1000},
                {"format": "vhd", "variant": "fixed", "packing": "tar.gz", "virtual_size": 500},
            )
        ],
        "long names": [
            changed(each, {"job.source": "n" * length, "profile.name": "one"})
            for each, length in zip(SEVERAL, (9, 47, 48), strict=False)
        ],
        "longer names": [
            changed(each, {"job.source": "n" * length, "profile.name": "one"})
            for each, length in zip(SEVERAL, (9, 48, 49), strict=False)
        ],
        "long words": [
            changed(each, CHANGES["long words"] | {"job.source": "x"}) for each in SEVERAL[:2]
        ],
    }
    for name, group in groups.items():
        yield f"=== {name}"
        group = [as_stored(each) for each in group]
        found = matrix.rows(group)
        for width in (100, 60):
            for line in terminal.matrix_lines(found, width):
                yield "".join(text for text, _ in line) + f"  {[style for _, style in line]}"
        yield str(matrix.next_command(found))
        yield from reports.render("markdown", group).splitlines()[: len(group) + 6]
        yield from reports.render("github", group).splitlines()[:2]


def widths() -> Iterator[str]:
    """The terminal's lines where they are cut otherwise: too narrow, and a line that just fits."""
    whole = summary.summarize(as_stored(WHOLE))
    row = matrix.rows([as_stored(changed(WHOLE, CHANGES["accepted"]))])
    for width in (30, 20):
        yield f"--- {width} columns"
        yield from ("".join(text for text, _ in line) for line in terminal.lines(whole, width))
    for width in range(58, 62):
        yield f"--- a row, {width} columns"
        yield from ("".join(text for text, _ in line) for line in terminal.matrix_lines(row, width))


STRUCTURES = {"views": lines, "several": several, "widths": widths}


def compare(name: str) -> None:
    """With what is stored."""
    every_field.check(HERE / "said", name, STRUCTURES[name]())


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_every_view_shows(name: str) -> None:
    compare(name)


def test_no_row_asks_for_nothing() -> None:
    assert matrix.next_command(()) is None


@pytest.mark.parametrize(
    ("columns", "colour", "width"),
    [("70", None, 70), ("200", None, 110), ("", None, 100), ("70", "1", 70), ("200", "1", 110)],
)
def test_the_width_is_the_terminal_s_up_to_110(
    monkeypatch, columns: str, colour: str | None, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "__stdout__", None)  # whoever runs the tests may have a terminal
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    if colour:
        monkeypatch.setenv("FORCE_COLOR", colour)
    out = io.StringIO()

    reports.print_summary(WHOLE, out)

    plain = [
        "".join(text for text, _ in line)
        for line in terminal.lines(summary.summarize(WHOLE), width)
    ]
    shown = out.getvalue()
    assert ("\x1b[" in shown) is bool(colour)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "".join(f"{line}\n" for line in plain)


def test_no_color_wins(monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()

    reports.print_summary(WHOLE, out)

    assert "\x1b" not in out.getvalue()


def test_the_report_itself_is_indented_json() -> None:
    report = to_json(samples.report(samples.facts(), source="d\u00edsk.vhd"))

    assert reports.render("json", report) == json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    assert (
        reports.render("json", [report])
        == json.dumps([report], indent=2, ensure_ascii=False) + "\n"
    )
