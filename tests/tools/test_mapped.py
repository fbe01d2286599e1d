"""Data that lies in the file as it is, is read there; the rest comes from qemu-nbd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vhd_files as files
from disks import lent

from pipeline import formats
from pipeline.source import Source
from pipeline.tools import qemu_img
from pipeline.tools.mapped import MappedView, Runs
from pipeline.tools.qemu_img import Run

MIB = 1 << 20
KINDS = {
    "qcow2": (["-O", "qcow2"], False),
    "qcow2, 512 B clusters": (["-O", "qcow2", "-o", "cluster_size=512"], False),
    "qcow2, extended L2": (["-O", "qcow2", "-o", "extended_l2=on,cluster_size=128k"], False),
    "qcow2, compressed": (["-c", "-O", "qcow2"], True),
    "vdi": (["-O", "vdi"], False),
    "vhdx": (["-O", "vhdx"], True),  # its driver does not tell places
    "vmdk, sparse": (["-O", "vmdk", "-o", "subformat=monolithicSparse"], False),
    "vmdk, stream": (["-O", "vmdk", "-o", "subformat=streamOptimized"], True),
    "vhd": (["-O", "vpc", "-o", "subformat=dynamic,force_size=on"], False),
}
pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")


def facts(source: Source) -> dict[str, Any]:
    found = formats.identify(source).container
    return {
        "format": found.format,
        "variant": found.variant,
        "virtual_size": found.virtual_size,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_disk_reads_as_its_source(tmp_path: Path, kind: str) -> None:
    options, _ = KINDS[kind]
    raw = files.raw_disk(tmp_path / "disk.raw", 20 * MIB, runs=5)
    files.qemu_img("convert", "-f", "raw", *options, raw, tmp_path / "image")
    data = raw.read_bytes()

    with (
        Source.open(tmp_path / "image") as source,
        lent(source, facts(source), tmp_path, whole=True) as disk,
    ):
        assert isinstance(disk, MappedView)
        assert disk.read(0, disk.size) == data
        assert disk.read(3 * MIB + 5, 4 * MIB) == data[3 * MIB + 5 : 7 * MIB + 5]
        assert disk.read(disk.size - 3, 100) == data[-3:]
        position = 0
        for extent in disk.extents():
            assert extent.offset == position
            position += extent.length
            if extent.kind == "zero":
                assert not any(data[extent.offset : position])
        assert position == disk.size


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_is_needed_only_for_data_without_a_place(tmp_path: Path, kind: str) -> None:
    options, needed = KINDS[kind]
    raw = files.raw_disk(tmp_path / "disk.raw", 20 * MIB, runs=5)
    files.qemu_img("convert", "-f", "raw", *options, raw, tmp_path / "image")

    with Source.open(tmp_path / "image") as source:
        found = qemu_img.map_(qemu_img.ImageSpec.of(source, facts(source)))
        runs = Runs(found, source.size)
        assert asks_the_server(source, runs) == needed

    assert runs.size == 20 * MIB


def asks_the_server(source: Source, runs: Runs) -> bool:
    """Whether reading the whole disk starts a server."""

    class AskedError(Exception):
        pass

    def server() -> MappedView:
        raise AskedError

    try:
        MappedView(source, runs, server).read(0, runs.size)
    except AskedError:
        return True
    return False


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Source]:
    (tmp_path / "file").write_bytes(bytes(4096))
    with Source.open(tmp_path / "file") as source:
        yield source


def test_a_run_beyond_the_end_of_the_file_is_left_to_the_server(file: Source) -> None:
    inside = Run(start=0, length=512, data=True, zero=False, offset=512)
    across = Run(start=512, length=1024, data=True, zero=False, offset=1024)

    assert not asks_the_server(file, Runs([inside], 1024))
    assert asks_the_server(file, Runs([inside, across], 2047))


def test_a_run_of_unknown_kind_counts_as_data(file: Source) -> None:
    unknown = Run(start=0, length=512, data=False, zero=False, offset=None)

    assert asks_the_server(file, Runs([unknown], 4096))
