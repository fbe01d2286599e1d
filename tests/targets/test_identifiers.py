"""qemu-img's random identifiers become the job's: the same job, the same bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import UUID

import pytest

from pipeline import formats
from pipeline.source import Source
from pipeline.targets import identifiers

ONE, TWO = UUID(int=1), UUID(int=2)
KINDS = {
    "vdi": ("vdi", ""),
    "vmdk": ("vmdk", "subformat=streamOptimized"),
    "vmdk-sparse": ("vmdk", "subformat=monolithicSparse"),
    "vhdx": ("vhdx", "subformat=dynamic"),
}


def made(path: Path, kind: str, unique_id: UUID) -> bytes:
    format_, option = KINDS[kind]
    raw = path.with_suffix(".raw")
    with raw.open("wb") as file:
        file.truncate(40 << 20)
        for at in (0, 7 << 20, 33 << 20):
            file.seek(at)
            file.write(b"data" * 3000)
    options = ("-o", option) if option else ()
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", format_, *options, raw, path],
        check=True,
        timeout=60,
    )
    identifiers.replace(path, format_, unique_id)
    subprocess.run(["qemu-img", "check", "-q", "-f", format_, path], check=True, timeout=60)
    subprocess.run(["qemu-img", "compare", "-q", raw, path], check=True, timeout=60)
    return path.read_bytes()


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_id_gives_the_same_file_and_another_another(tmp_path: Path, kind: str):
    first, again, other = (
        made(tmp_path / f"artifact.{kind}", kind, unique) for unique in (ONE, ONE, TWO)
    )

    assert first == again
    assert first != other
    with Source.open(tmp_path / f"artifact.{kind}") as source:
        found = formats.identify(source, name=source.name).container
    assert found.format == KINDS[kind][0]
    assert found.problems == ()


@pytest.mark.parametrize("digits", [b"1", b"1234567", b"12345678"])
def test_a_content_id_may_have_fewer_digits_than_the_new_one(tmp_path: Path, digits: bytes):
    """qemu-img writes it without leading zeros: one file in sixteen."""
    path = tmp_path / "artifact.vmdk"
    header = b"KDMV".ljust(28, b"\0") + (1).to_bytes(8, "little") + (2).to_bytes(8, "little")
    text = b"# Disk DescriptorFile\nversion=1\nCID=%s\nparentCID=ffffffff\n"
    path.write_bytes(header.ljust(512, b"\0") + (text % digits).ljust(1024, b"\0") + b"grains")

    identifiers.replace(path, "vmdk", ONE)

    cid = identifiers.derived(ONE, "content").hex()[:8].encode()
    assert path.read_bytes()[512:] == (text % cid).ljust(1024, b"\0") + b"grains"


def test_a_descriptor_without_room_is_left_alone(tmp_path: Path):
    path = tmp_path / "artifact.vmdk"
    header = b"KDMV".ljust(28, b"\0") + (1).to_bytes(8, "little") + (1).to_bytes(8, "little")
    path.write_bytes(header.ljust(512, b"\0") + b"CID=1\n".ljust(512, b"#") + b"grains")
    before = path.read_bytes()

    identifiers.replace(path, "vmdk", ONE)

    assert path.read_bytes() == before


@pytest.mark.parametrize("format_", ["vdi", "vmdk", "vhdx", "qcow2"])
@pytest.mark.parametrize("data", [b"", b"KDMV" + bytes(100), bytes(3 << 20), b"vhdxfile" * 50_000])
def test_what_looks_otherwise_is_left_as_it_is(tmp_path: Path, format_: str, data: bytes):
    path = tmp_path / "artifact"
    path.write_bytes(data)

    identifiers.replace(path, format_, ONE)

    assert path.read_bytes() == data


def test_derived_ids_are_random_uuids_by_their_form_and_differ_by_purpose():
    ids = {UUID(bytes=identifiers.derived(ONE, purpose)) for purpose in ("a", "b", "c")}

    assert len(ids) == 3
    assert {found.version for found in ids} == {4}
