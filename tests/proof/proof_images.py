"""Real images, each made by a script: what the table in ``findings.json`` is about.

guests       fixtures/guests/guest_variants.py    disks with file systems, read by the direct reader
containers   below                                qemu-img's files and VHDs, sizes up to 20 TiB
hostile      fixtures/hostile                     files that lie
"""

from __future__ import annotations

import functools
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from phony import builder

from pipeline.engine import run_job
from pipeline.events import ignore
from pipeline.model import Job, Options, to_json
from stages import for_inspect

ROOT = Path(__file__).resolve().parents[2]
builder()  # makes the folder of the guests known
VARIANTS = builder("guest_variants")
sys.path.append(str(ROOT / "fixtures/hostile"))
import build_corpus  # noqa: E402
import bytes_vhd  # noqa: E402
import hostile_case  # noqa: E402

MIB, GB, GIB = 1 << 20, 10**9, 1 << 30
DISK = hostile_case.mbr_disk(22 * MIB)
VHD = bytes_vhd.dynamic(DISK, batmap=True)
FOOTER = VHD.footer


def _vhd(**footer: Any) -> Callable[[Path], Path]:
    """A VHD as XenServer wants it, with another field in both footers."""
    return lambda path: _bytes(
        path.with_suffix(".vhd"), replace(VHD, footer=replace(FOOTER, **footer)).bytes()
    )


def _bytes(path: Path, content: bytes | bytearray) -> Path:
    hostile_case.write(path, content)
    return path


def _late(path: Path) -> Path:
    """Its time stamp is a day ahead."""
    return _vhd(time=int(time.time()) - 946684800 + 86400)(path)


def _reserved(path: Path) -> Path:
    """A reserved byte of the footer is set, and its checksum is right."""

    def spoilt(footer: bytes) -> bytes:
        body = bytearray(footer)
        body[200], body[64:68] = 1, bytes(4)
        return bytes(body[:64] + bytes_vhd.checksum(bytes(body)).to_bytes(4, "big") + body[68:])

    whole = VHD.bytes()
    return _bytes(
        path.with_suffix(".vhd"), spoilt(whole[:512]) + whole[512:-512] + spoilt(whole[-512:])
    )


def _fixed(size: int) -> Callable[[Path], Path]:
    """A fixed VHD with an MBR and holes."""

    def build(path: Path) -> Path:
        path = path.with_suffix(".vhd")
        with path.open("wb") as file:
            file.write(DISK[:512])
            file.seek(size)
            file.write(bytes_vhd.Footer(size, bytes_vhd.FIXED, creator=b"win ").bytes())
        return path

    return build


def _raw(size: int) -> Callable[[Path], Path]:
    def build(path: Path) -> Path:
        with path.open("wb") as file:
            file.write(DISK[:512])
            file.truncate(size)
        return path

    return build


def _qemu(*argv: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, argv)], check=True, capture_output=True, timeout=60)


def _converted(form: str, *options: str) -> Callable[[Path], Path]:
    """What qemu-img makes of the disk."""

    def build(path: Path) -> Path:
        made = path.with_suffix(f".{form}")
        _qemu("convert", "-f", "raw", "-O", form, *options, _bytes(path, DISK), made)
        return made

    return build


def _sized(size: int) -> Callable[[Path], Path]:
    """A qcow2 of this virtual size with an MBR."""

    def build(path: Path) -> Path:
        made = _converted("qcow2")(path)
        _qemu("resize", "-f", "qcow2", made, str(size // 512 * 512))
        return made

    return build


def _allocated(size: int) -> Callable[[Path], Path]:
    """A qcow2 whose file is as large as its disk, and holds holes."""

    def build(path: Path) -> Path:
        made = path.with_suffix(".qcow2")
        _qemu("create", "-f", "qcow2", "-o", "preallocation=metadata", made, str(size))
        return made

    return build


def _long_for_its_clusters(path: Path) -> Path:
    """A qcow2 of 22 MiB whose file ends at 512 GiB: a counter for each cluster of 512 bytes is 2 GiB."""
    made = _converted("qcow2", "-o", "cluster_size=512")(path)
    os.truncate(made, 512 * GIB)
    return made


def _packed_but_not_smaller(path: Path) -> Path:
    """A disk of 5.1 GB in gzip's stored blocks (RFC 1951, 3.2.4), as "gzip -0" would have it."""
    made, size, block = path.with_suffix(".img.gz"), 5_100_000_000, bytes(65535)
    rest, checksum = DISK[:512] + bytes(65023), 0
    with made.open("wb") as file:
        file.write(b"\x1f\x8b\x08\0\0\0\0\0\0\x03")
        for at in range(0, size, 65535):
            data = rest if at == 0 else block[: min(65535, size - at)]
            last = at + len(data) == size
            file.write(struct.pack("<BHH", last, len(data), len(data) ^ 0xFFFF))
            file.write(data[:512])
            file.seek(len(data) - 512, os.SEEK_CUR)  # the zeros stay holes
            checksum = zlib.crc32(data, checksum)
        file.write(struct.pack("<II", checksum, size & 0xFFFFFFFF))
    return made


CONTAINERS: Mapping[str, Callable[[Path], Path]] = {
    "raw": _raw(22 * MIB),
    "raw-of-an-odd-size": _raw(22 * MIB + 512),
    "raw-of-1-gib": _raw(GIB),
    "fixed-vhd": _fixed(22 * MIB),
    "fixed-vhd-of-50-gb": _fixed(50 * GB // (2 * MIB) * 2 * MIB),
    "fixed-vhd-of-180-gb": _fixed(180 * GB // (2 * MIB) * 2 * MIB),
    "xenserver-vhd": _vhd(),
    "qcow2": _converted("qcow2"),
    "vdi": _converted("vdi"),
    "vhdx": _converted("vhdx"),
    "vmdk-stream-optimized": _converted("vmdk", "-o", "subformat=streamOptimized"),
    "vmdk-two-files": _converted("vmdk", "-o", "subformat=monolithicFlat"),
    "vmdk-sparse": _converted("vmdk", "-o", "subformat=monolithicSparse"),
    "qcow2-with-too-many-clusters": _long_for_its_clusters,
    "packed-and-not-smaller": _packed_but_not_smaller,
    "qcow2-file-of-2-gib": _allocated(2 * GIB),
    "qcow2-file-of-130-gb": _allocated(130 * GB // 512 * 512),
    "qcow2-file-of-140-gb": _allocated(140 * GB // 512 * 512),
    **{
        f"disk-of-{size}-gb": _sized(int(size * GB))
        for size in (6.2, 41, 105, 165, 260, 420, 1050, 2210, 20000)
    },
    "vhd-of-qemu": _vhd(creator=b"qemu"),
    "vhd-of-virtualbox": _vhd(creator=b"vbox"),
    "vhd-of-an-old-tap": _vhd(creator_version=0x00010002),
    "vhd-without-batmap": lambda path: _bytes(
        path.with_suffix(".vhd"), replace(VHD, batmap=False).bytes()
    ),
    "vhd-with-spare-entries": lambda path: _bytes(
        path.with_suffix(".vhd"), replace(VHD, header=replace(VHD.header, entries=500)).bytes()
    ),
    "vhd-with-blocks-of-4-mib": lambda path: _bytes(
        path.with_suffix(".vhd"), bytes_vhd.dynamic(DISK, block=4 * MIB, batmap=True).bytes()
    ),
    "vhd-of-an-odd-size": lambda path: _bytes(
        path.with_suffix(".vhd"), bytes_vhd.dynamic(DISK + bytes(MIB), batmap=True).bytes()
    ),
    "vhd-geometry-too-large": _vhd(chs=(65535, 16, 255)),
    "vhd-of-tomorrow": _late,
    "vhd-hidden": _vhd(hidden=1),
    "vhd-saved-state": _vhd(saved=1),
    "vhd-without-uuid": _vhd(uuid=bytes(16)),
    "vhd-reserved-byte": _reserved,
    "vhd-of-2045-gib": lambda path: _bytes(
        path.with_suffix(".vhd"),
        replace(
            VHD,
            footer=replace(FOOTER, size=2045 * GIB),
            header=replace(VHD.header, entries=2045 * 512),
            batmap=False,
        ).bytes(),
    ),
}

HOSTILE = (
    *("packed-gz", "qcow2-backing-absolute", "qcow2-backing-name-too-long"),
    *("qcow2-header-cluster-bits-0", "qcow2-size-0", "qcow2-encrypted-aes", "luks-in-partition"),
    *("qcow2-compressed-bomb", "qcow2-data-file-absolute", "qcow2-valid-snapshot"),
    *("iso-named-iso", "iso-in-partition", "qcow2-valid-leak", "qcow2-corrupt-bit"),
    *("vhd-fixed-holds-dynamic", "unpack-twice", "nothing-zlib", "unpack-ova-checksum"),
    *("unpack-ova-two-disks", "unpack-ova-link", "unpack-ova-no-disk", "unpack-cut"),
    *("unpack-bomb", "unpack-gz", "vmdk-parent-hint", "vhd-footer-on-qcow2", "raw-gpt-of-8192"),
    *("raw-named-qcow2", "qcow2-cut-half", "qcow2-dirty-bit", "qcow2-incompatible-bit-17"),
    *("qcow2-version-4", "nothing-text-qcow2", "vhd-size-2-63", "vhd-table-huge"),
    *("vhd-blocks-same", "vhd-both-checksums", "vhd-copy-checksum", "vhd-header-checksum"),
    *("vhd-poisoned", "vhd-differencing-locators", "vhd-bitmap-first-block", "vhd-fixed-511"),
    *("vhd-trailing-text", "vhd-type-5", "vhd-version-2", "vmdk-extent-absolute"),
    *("vhd-block-beyond-end", "vhd-creator-virtual-pc", "vhd-cut-inside-block"),
    *(
        "other-qed",
        "qcow2-l2-beyond-end",
        "qcow2-header-l1-huge",
        "qcow2-holds-qcow2",
        "packed-zip",
    ),
)
CASES = build_corpus.cases()
NAMES = (*VARIANTS.BUILDERS, *CONTAINERS, *HOSTILE)


@dataclass(frozen=True, eq=False)
class Seen:
    """One image, looked at."""

    name: str
    facts: Mapping[str, Any]

    @property
    def subject(self) -> Literal["source", "result"]:
        """A container is judged as what is uploaded unchanged: nothing is going to be converted."""
        return "source" if self.name in VARIANTS.BUILDERS else "result"

    @property
    def unread(self) -> set[str]:
        """The sections of facts of which nobody can tell all."""
        return {
            name
            for name in ("container", "disk", "guest")
            for section in [self.facts.get(name) or {"status": "skipped"}]
            if section.get("status") in ("skipped", "failed") or section.get("unknown")
        }

    @property
    def closed(self) -> set[str]:
        """Of these, those that were not read at all, or of which nobody knows what it is."""
        open_ones = {
            "disk": (self.facts.get("disk") or {}).get("partition_table"),
            "guest": (self.facts.get("guest") or {}).get("os"),
        }
        return {name for name in self.unread if not open_ones.get(name)}


@functools.cache
def seen(name: str) -> Seen:
    """Build an image, look at it as ``imgprep check`` does, and take it away again."""
    with tempfile.TemporaryDirectory(prefix="proof-") as made:
        path, chosen = _built(name, Path(made))
        report = run_job(Job(str(path), "generic", None, chosen), for_inspect(), ignore)
        if name not in HOSTILE:
            assert report.error is None, report.error
        facts = json.loads(re.sub(re.escape(made), "/made", json.dumps(to_json(report)["facts"])))
    return Seen(name, facts)


def _built(name: str, directory: Path) -> tuple[Path, Options]:
    if name in VARIANTS.BUILDERS:
        return VARIANTS.build(name, directory), Options(guest="direct")
    if name in CONTAINERS:
        packed = name.startswith("packed-")
        chosen = Options(guest="off", unpack=packed)
        return CONTAINERS[name](directory / "image.img"), chosen
    path = build_corpus.build_one(CASES[name], directory, 9)
    chosen = Options(guest="off", unpack="--unpack" in CASES[name].options)
    return directory / "cases" / name / path, chosen
