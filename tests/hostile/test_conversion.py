"""Every image of the corpus that is accepted becomes a sound VHD with the same data."""

import hashlib
from pathlib import Path
from uuid import UUID

import pytest
import vhd_files
from disks import lent, written
from hostile_corpus import Corpus, load_builder

from pipeline import formats
from pipeline.disk import GuestDisk
from pipeline.source import Source
from pipeline.targets.tap_vhd import plan_vhd
from pipeline.tools import qemu_img
from pipeline.tools.qemu_img import ImageSpec
from stages.identify import container_facts

COMPARABLE = 64 << 20  # bytes of a disk that libvhdi reads as a whole here
ACCEPTED = sorted(
    case.name
    for case in load_builder().cases().values()
    if case.verdict in ("accepted", "advice") and "--unpack" not in case.options
)

pytestmark = [
    pytest.mark.xdist_group("hostile"),
    pytest.mark.needs("qemu-img", "qemu-nbd", "module:pyvhdi"),
]


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_accepted_image_is_converted_without_a_difference(
    corpus: Corpus, tmp_path: Path, name: str
) -> None:
    if name not in corpus.images:
        pytest.skip("the tool that builds this case is missing")
    output = tmp_path / "out.vhd"

    with Source.open(corpus.root / "cases" / name / corpus.images[name]) as source:
        facts = container_facts(source, name=source.name)
        if facts["format"] not in formats.ACCEPTED:
            pytest.skip(f"{facts['format']} is accepted only after unpacking")
        with GuestDisk(source, facts, tmp_path) as disk:
            artifact = plan_vhd(disk.view(), uuid=UUID(int=1), timestamp=1)
            made = written(artifact, disk, output)
        assert made.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
        with Source.open(output) as result:
            assert vhd_files.against_xenserver(result) == set()
            ours = ImageSpec(result.fd_path, "vhd", (result.fd,))
            compared = qemu_img.compare(ImageSpec.of(source, facts), ours)
        assert compared.identical, compared.said
        with lent(source, facts, tmp_path) as disk:
            if disk.size <= COMPARABLE:
                assert libvhdi_reads(output).rstrip(b"\0") == disk.read(0, disk.size).rstrip(b"\0")


def libvhdi_reads(path: Path) -> bytes:
    """All of the disk, by a reader that honours sector bitmaps."""
    import pyvhdi

    file = pyvhdi.file()
    file.open(str(path))
    data: bytes = file.read_buffer(file.get_media_size())
    file.close()
    return data
