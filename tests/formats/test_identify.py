"""Identification as a whole: real images, polyglots, bounds, and the registry's own rules."""

import json
import subprocess
from pathlib import Path

import handmade
import handmade_vhdx
import pytest
from handmade import MIB, Memory, patched

from pipeline import formats
from pipeline.errors import ImgprepError
from pipeline.formats.base import Container, Format
from pipeline.formats.bounded import READ_BUDGET, BoundedReader
from pipeline.source import Reader, Source

REQUIREMENTS = Path(__file__).parents[2] / "schemas" / "requirements"


def rules(image: bytes) -> set[str]:
    return {problem.rule for problem in formats.identify(Memory(image)).problems}


def gates(found: formats.Identification) -> set[str]:
    """The rules of its problems that stop an image."""
    stopping = set()
    for problem in found.problems:
        words = json.loads((REQUIREMENTS / f"{problem.rule}.json").read_text())["x-finding"]
        if words.get("gate"):
            stopping.add(problem.rule)
    return stopping


REAL = [
    ("raw", (), "raw"),
    ("qcow2", (), "qcow2"),
    ("qcow2", ("-c",), "qcow2"),
    ("qcow2", ("-o", "compat=0.10"), "qcow2"),
    ("qcow2", ("-c", "-o", "compression_type=zstd"), "qcow2"),
    ("qcow2", ("-o", "extended_l2=on"), "qcow2"),
    ("qcow2", ("-o", "cluster_size=512"), "qcow2"),
    ("qcow2", ("-o", "cluster_size=2M"), "qcow2"),
    ("qcow2", ("-o", "lazy_refcounts=on"), "qcow2"),
    ("qcow2", ("-o", "refcount_bits=1"), "qcow2"),
    ("qcow2", ("-o", "refcount_bits=64"), "qcow2"),
    ("qcow2", ("-o", "preallocation=metadata"), "qcow2"),
    ("qcow2", ("-o", "preallocation=full"), "qcow2"),
    ("vmdk", (), "vmdk"),
    ("vmdk", ("-o", "subformat=streamOptimized"), "vmdk"),
    ("vmdk", ("-o", "compat6=on"), "vmdk"),
    ("vhdx", (), "vhdx"),
    ("vhdx", ("-o", "subformat=fixed"), "vhdx"),
    ("vhdx", ("-o", "block_size=1M"), "vhdx"),
    ("vdi", (), "vdi"),
    ("vdi", ("-o", "static=on"), "vdi"),
    ("vpc", (), "vhd"),
    ("vpc", ("-o", "subformat=fixed"), "vhd"),
    ("vpc", ("-o", "force_size=on"), "vhd"),
]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of 20 MiB and a little, with data at its start and end and a hole between."""
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    noise = bytes(range(256)) * 4096
    path.write_bytes(handmade.mbr() + noise + bytes(16 * MIB) + noise * 3 + bytes(1024 - 512))
    return path


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize(("kind", "options", "expected"), REAL)
def test_what_qemu_writes_is_accepted(
    tmp_path: Path, disk: Path, kind: str, options: tuple[str, ...], expected: str
) -> None:
    made = tmp_path / "image"
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", kind, *options, str(disk), str(made)],
        check=True,
        timeout=120,
    )
    with Source.open(str(made)) as source:
        found = formats.identify(source)
        assert found.container.format == expected
        assert gates(found) == set()
        size = found.container.virtual_size
    assert size is not None
    assert disk.stat().st_size <= size < disk.stat().st_size + MIB


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vhdx", "vdi", "vpc"])
def test_a_real_image_cut_in_half_is_refused(tmp_path: Path, disk: Path, kind: str) -> None:
    made = tmp_path / "image"
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", kind, str(disk), str(made)],
        check=True,
        timeout=120,
    )
    with made.open("r+b") as file:
        file.truncate(made.stat().st_size // 2)
    with Source.open(str(made)) as source:
        assert gates(formats.identify(source)) & {"truncated", "vhd-truncated", "vhd-footer"}


@pytest.mark.needs("qemu-img")
def test_snapshots_are_advice_and_named(tmp_path: Path, disk: Path) -> None:
    made = str(tmp_path / "image.qcow2")
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(disk), made], check=True, timeout=60
    )
    for name in ("before", "after"):
        subprocess.run(["qemu-img", "snapshot", "-c", name, made], check=True, timeout=60)
    with Source.open(made) as source:
        found = formats.identify(source)
    assert found.container.snapshots == 2
    (problem,) = found.problems
    assert problem.rule == "internal-snapshots"
    assert "'before', 'after'" in problem.detail


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize(
    ("kind", "size"), [("qcow2", "2000G"), ("vmdk", "2000G"), ("vhdx", "2000G"), ("vdi", "2000G")]
)
def test_the_largest_images_stay_within_the_budget(tmp_path: Path, kind: str, size: str) -> None:
    made = str(tmp_path / "image")
    options = ("-o", "preallocation=metadata,cluster_size=2M") if kind == "qcow2" else ()
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", kind, *options, made, size], check=True, timeout=60
    )
    with Source.open(made) as source:
        found = formats.identify(source)
    assert gates(found) == set()
    assert found.bytes_read < READ_BUDGET


DISK = handmade.mbr().ljust(2 * MIB, b"\0")
QCOW2_BACKED = handmade.qcow2(backing=b"/etc/shadow", bits=16)

POLYGLOTS = {
    "vhd-footer-behind-qcow2": handmade.qcow2() + handmade.vhd_footer(MIB),
    "vhd-footer-behind-vmdk": handmade.vmdk() + handmade.vhd_footer(MIB),
    "vhd-footer-behind-descriptor": handmade.vmdk_descriptor().ljust(MIB, b"\0")
    + handmade.vhd_footer(MIB),
    "iso-and-qcow2": patched(QCOW2_BACKED.ljust(200000, b"\0"), 32768, handmade.iso()[32768:40000]),
    "iso-and-vmdk": patched(
        handmade.vmdk().ljust(200000, b"\0"), 32768, handmade.iso()[32768:40000]
    ),
    "qcow2-and-gpt": patched(handmade.qcow2(), 512, b"EFI PART"),
    "dmg-behind-qcow2": handmade.qcow2() + b"koly\0\0\0\4".ljust(512, b"\0"),
}


@pytest.mark.parametrize("name", POLYGLOTS)
def test_a_polyglot_is_refused(name: str) -> None:
    found = formats.identify(Memory(POLYGLOTS[name]))
    assert "polyglot" in gates(found)
    assert len(found.matches) > 1
    if name.startswith("iso"):
        assert found.container.format == "iso"
        assert "iso-image" in gates(found)


def fixed_vhd(start: bytes) -> bytes:
    return start.ljust(2 * MIB, b"\0") + handmade.vhd_footer(2 * MIB)


@pytest.mark.parametrize(
    "start",
    [DISK, patched(DISK, 512, b"EFI PART"), b"PK\3\4\x14\0\0\0\x08\0" + bytes(30), b"070701"],
    ids=["mbr", "gpt", "zip-like", "cpio-like"],
)
def test_a_fixed_vhd_shows_what_its_disk_begins_with(start: bytes) -> None:
    found = formats.identify(Memory(fixed_vhd(start)))
    assert (found.container.format, found.container.variant) == ("vhd", "fixed")
    assert gates(found) == set()


def test_a_disc_in_a_fixed_vhd_is_a_disc() -> None:
    found = formats.identify(Memory(fixed_vhd(handmade.iso())))
    assert found.container.format == "vhd"
    assert "iso-image" in gates(found)


@pytest.mark.parametrize("suffix", ["vhd", "qcow2", "vdi", "vmdk", "vhdx", "dmg", "iso", "xz"])
@pytest.mark.parametrize(
    "image", [handmade.vdi(), handmade.vmdk(), handmade.qcow2(), fixed_vhd(DISK), DISK + bytes(MIB)]
)
def test_a_name_for_another_format_is_advice(image: bytes, suffix: str) -> None:
    found = formats.identify(Memory(image), name=f"disk.{suffix}")

    kind = found.container.format
    expected = {"suffix-mismatch": (None, None)} if suffix != kind else {}
    if suffix == "vhd" and kind == "raw":
        expected = {"vhd-footer": (len(image) - 512, None)}
    told = {item.rule: (item.offset, item.length) for item in found.problems}
    told.pop("vhd-size-ambiguous", None)  # of this fixed VHD, whatever its name
    assert told == expected


@pytest.mark.parametrize("kind", [3, 4, 7])
def test_a_disc_with_the_footer_of_a_vhd_that_is_not_fixed_is_a_disc(kind: int) -> None:
    found = formats.identify(Memory(handmade.iso() + handmade.vhd_footer(MIB, kind=kind)))

    assert found.container.format == "iso"
    assert {"iso-image", "polyglot"} <= {item.rule for item in found.problems}


@pytest.mark.parametrize("inner", [handmade.qcow2(), handmade.vmdk_descriptor(), handmade.vdi()])
def test_an_image_in_a_fixed_vhd_is_a_polyglot(inner: bytes) -> None:
    assert "polyglot" in rules(fixed_vhd(inner[: 2 * MIB]))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (handmade.qcow2(), "qcow2"),
        (handmade.vmdk_descriptor().ljust(MIB, b"\0"), "vmdk"),
        (handmade_vhdx.vhdx(), "vhdx"),
        (handmade.vhd_footer(MIB, kind=3, data_offset=512) + bytes(MIB), "vhd"),
        (b"QED\0".ljust(MIB, b"\0"), "qed"),
        (DISK, None),
        (b"LUKS\xba\xbe\0\1".ljust(MIB, b"\0"), None),
        (DISK + handmade.vhd_footer(2 * MIB), None),
        (handmade.iso(), None),
    ],
)
def test_an_image_as_the_content_of_a_disk_is_named(content: bytes, name: str | None) -> None:
    assert formats.nested(Memory(content)) == name


def test_a_reader_over_its_budget_is_stopped() -> None:
    reader = BoundedReader(Memory(bytes(MIB)), budget=100_000)
    reader.read(100_000, 60_000)
    with pytest.raises(ImgprepError) as caught:
        reader.read(200_000, 60_000)
    assert caught.value.code == "read-budget"


def test_a_reader_answers_like_the_file_at_every_place() -> None:
    data = bytes(range(256)) * 800
    reader = BoundedReader(Memory(data))
    for offset in (
        -5,
        0,
        1,
        65535,
        65536,
        70000,
        len(data) - 4096,
        len(data) - 1,
        len(data),
        1 << 70,
    ):
        for length in (-1, 0, 1, 4097, 70000):
            expected = data[offset : offset + max(length, 0)] if offset >= 0 else b""
            assert reader.read(offset, length) == expected


def test_a_format_without_declared_checks_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="safety checks"):

        class Unchecked(Format):
            name = "unchecked"

            def matches(self, reader: Reader) -> bool:
                return False

            def inspect(self, reader: Reader) -> Container:
                return Container("unchecked", None)


def test_every_declared_check_has_its_requirement() -> None:
    for format_ in formats.FORMATS:
        for rule in (*format_.checks, "polyglot", "suffix-mismatch", "nested-format"):
            assert (REQUIREMENTS / f"{rule}.json").is_file(), rule


@pytest.mark.parametrize("format_", formats.FORMATS, ids=lambda format_: format_.name)
def test_formats_report_only_rules_that_they_declared(format_: Format) -> None:
    images = (
        b"", b"x", DISK, handmade.qcow2(), handmade.qcow2()[:9000], handmade.vmdk(),
        handmade.vmdk_stream()[:5000], handmade.vdi(kind=4), handmade_vhdx.vhdx(flags=2),
        handmade.iso(), fixed_vhd(DISK), handmade.vhd_footer(MIB),
    )  # fmt: skip
    for image in images:
        reader = BoundedReader(Memory(image))
        if format_.matches(reader):
            reported = {problem.rule for problem in format_.inspect(reader).problems}
            assert reported <= set(format_.checks)
