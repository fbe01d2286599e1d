"""Discs: found in every disguise, and nothing else taken for one."""

import subprocess
from pathlib import Path

import handmade
import pytest
from handmade import Memory, patched

from pipeline import formats
from pipeline.formats import optical
from pipeline.source import Source

GPT = b"EFI PART".ljust(512, b"\0")

DISCS = {
    "plain": (handmade.iso(), "iso9660", "DISC"),
    "el-torito": (handmade.iso(boot=True), "iso9660", "DISC"),
    "hybrid-mbr": (handmade.iso(area=handmade.mbr()), "iso9660", "DISC"),
    "hybrid-gpt": (handmade.iso(area=handmade.mbr() + GPT), "iso9660", "DISC"),
    "filled-area": (handmade.iso(area=b"\xaa" * 32768), "iso9660", "DISC"),
    "gzip-in-area": (handmade.iso(area=b"\x1f\x8b\x08\0"), "iso9660", "DISC"),
    "supplementary-first": (
        handmade.iso(first=handmade.volume(b"JOLIET", kind=2)),
        "iso9660",
        "DISC",
    ),
    "boot-first": (handmade.iso(first=handmade.BOOT_RECORD), "iso9660", "DISC"),
    "cut-short": (handmade.iso()[:36000], "iso9660", "DISC"),
    "high-sierra": (handmade.high_sierra(), "high-sierra", "SIERRA"),
    "udf": (handmade.udf(), "udf", "UDFDISC"),
    "udf-without-anchor": (handmade.udf(anchored=False), "udf", None),
    "udf-without-recognition": (handmade.udf(recognised=False), "udf", "UDFDISC"),
    "raw-mode-1": (handmade.raw_sectors(handmade.iso()), "iso9660", "DISC"),
    "raw-mode-2": (handmade.raw_sectors(handmade.iso(), header=24), "iso9660", "DISC"),
    "raw-2448": (handmade.raw_sectors(handmade.iso(), size=2448), "iso9660", "DISC"),
    "raw-boot-first": (
        handmade.raw_sectors(handmade.iso(first=handmade.BOOT_RECORD)),
        "iso9660",
        "DISC",
    ),
    "raw-high-sierra": (handmade.raw_sectors(handmade.high_sierra()), "high-sierra", "SIERRA"),
    "raw-2336": (handmade.raw_sectors(handmade.iso(), size=2336, header=8), "iso9660", "DISC"),
}


@pytest.mark.parametrize("name", DISCS)
def test_a_disc_is_a_disc_under_any_name(name: str) -> None:
    image, kind, label = DISCS[name]
    found = optical.find(Memory(image))
    assert found is not None
    assert (found.kind, found.label) == (kind, label)
    for suffix in ("iso", "vhd", "qcow2", "raw"):
        container = formats.identify(Memory(image), name=f"x.{suffix}").container
        assert container.format == "iso"
        assert "iso-image" in {problem.rule for problem in container.problems}


def test_the_finding_says_what_was_seen() -> None:
    image = handmade.iso(label=b"DEB\x1b[31m", boot=True, area=handmade.mbr())
    (problem,) = formats.identify(Memory(image)).problems
    assert "'DEB\\x1b[31m'" in problem.detail
    assert "El Torito boot record" in problem.detail
    assert "MBR in front (hybrid)" in problem.detail
    assert (problem.offset, problem.length) == (32768, 2048)


DISK = handmade.mbr().ljust(1 << 20, b"\0")
NO_DISCS = {
    "five-letters": patched(DISK, 32769, b"CD001\x01"),
    "letters-and-type": patched(DISK, 32768, b"\x01CD001\x01\0"),
    "text-elsewhere": patched(DISK, 40000, handmade.volume(b"NOWHERE")),
    "iso-as-a-file": patched(DISK, 500000, handmade.iso()[:200000]),
    "sierra-letters": patched(DISK, 32777, b"CDROM\x01"),
    "nsr-elsewhere": patched(DISK, 70000, b"\0NSR02\x01"),
    "anchor-with-wrong-sum": patched(DISK, 256 * 2048, b"\2\0\2\0\xff".ljust(12, b"\0") + b"\0\1\0\0"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_DISCS)
def test_a_disk_that_holds_traces_of_a_disc_is_none(name: str) -> None:
    found = formats.identify(Memory(NO_DISCS[name]))
    assert found.container.format == "raw"
    assert found.problems == ()


def test_a_disc_at_a_partitions_start_is_found_there_only() -> None:
    image = bytes(65536) + handmade.iso()
    assert optical.find(Memory(image)) is None
    found = optical.find(Memory(image), 65536)
    assert found is not None
    assert found.offset == 65536 + 32768


def _identify(path: Path) -> formats.Identification:
    with Source.open(str(path)) as source:
        return formats.identify(source, name=path.name)


@pytest.mark.needs("xorriso", "genisoimage")
@pytest.mark.parametrize(
    ("tool", "options", "kind"),
    [
        ("genisoimage", ("-quiet", "-V", "REAL"), "iso9660"),
        ("genisoimage", ("-quiet", "-V", "REAL", "-J", "-r"), "iso9660"),
        ("genisoimage", ("-quiet", "-V", "REAL", "-udf"), "iso9660+udf"),
        ("xorriso", ("-as", "mkisofs", "-quiet", "-V", "REAL"), "iso9660"),
        ("xorriso", ("-as", "mkisofs", "-quiet", "-V", "REAL", "-part_like_isohybrid",
                     "--protective-msdos-label"), "iso9660"),
    ],
)  # fmt: skip
def test_real_discs(tmp_path: Path, tool: str, options: tuple[str, ...], kind: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("hello")
    image = tmp_path / "renamed.vhd"
    subprocess.run(
        [tool, *options, "-o", str(image), str(tree)], check=True, timeout=60, capture_output=True
    )
    container = _identify(image).container
    assert (container.format, container.variant) == ("iso", kind)
    assert container.details["label"] == "REAL"


@pytest.mark.needs("mkudffs")
@pytest.mark.parametrize("block", [512, 2048, 4096, 32768])
def test_real_udf(tmp_path: Path, block: int) -> None:
    image = tmp_path / "disc.img"
    image.touch()
    image.write_bytes(b"")
    with image.open("r+b") as file:
        file.truncate(24 << 20)
    subprocess.run(
        ["mkudffs", "-l", "REALUDF", "-b", str(block), str(image)],
        check=True,
        timeout=60,
        capture_output=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    container = _identify(image).container
    assert (container.format, container.variant) == ("iso", "udf")
    assert container.details["label"] == "REALUDF"
