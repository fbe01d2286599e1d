"""Packed input: what real packers write comes out as it went in; what bites is refused."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import unpack
from pipeline.errors import Interrupted
from pipeline.source import Source
from pipeline.stage import Cancellation

MIB = 1 << 20
PACK = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}
SUFFIX = {"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "zstd": ".zst", "ova": ".ova"}
SMALL = unpack.UnpackLimits(size=8 * MIB, ratio=100, grace=MIB, reserve=0)


def run(tmp_path: Path, packed: bytes, packed_as: str, *, name: str = "disk.img", **options):
    file = tmp_path / (name + SUFFIX[packed_as])
    file.write_bytes(packed)
    scratch = tmp_path / "scratch"
    with Source.open(file) as source:
        return unpack.unpack(source, packed_as, scratch, **options)


def left(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "scratch").rglob("*") if not path.is_dir()]


def rules(result: unpack.Unpacked) -> list[str]:
    return [problem.rule for problem in result.problems]


def disk(size: int = 3 * MIB + 7) -> bytes:
    content = bytearray(size)
    content[MIB : MIB + 5000] = os.urandom(5000)
    content[-3:] = b"end"
    return bytes(content)


@pytest.mark.parametrize("packed_as", PACK)
def test_what_was_packed_comes_out_with_holes_name_and_time(tmp_path, packed_as):
    content = disk()
    result = run(tmp_path, PACK[packed_as](content), packed_as, name="disk.qcow2")
    assert result.problems == ()
    assert result.path is not None
    assert result.path.read_bytes() == content
    assert (result.name, result.size) == ("disk.qcow2", len(content))
    assert result.path.stat().st_blocks * 512 < MIB
    original = tmp_path / ("disk.qcow2" + SUFFIX[packed_as])
    assert result.path.stat().st_mtime_ns == original.stat().st_mtime_ns


@pytest.mark.parametrize(
    ("tool", "packed_as"),
    [
        pytest.param(tool, packed_as, marks=pytest.mark.needs(tool), id=tool)
        for tool, packed_as in [
            ("gzip", "gzip"),
            ("bzip2", "bzip2"),
            ("xz", "xz"),
            ("zstd", "zstd"),
        ]
    ],
)
def test_real_tools_with_two_streams_in_one_file(tmp_path, tool, packed_as):
    halves = [disk(), disk(MIB)]
    packed = b"".join(
        subprocess.run([tool, "-c"], input=half, capture_output=True, check=True, timeout=60).stdout
        for half in halves
    )
    result = run(tmp_path, packed, packed_as)
    assert result.path is not None
    assert result.path.read_bytes() == b"".join(halves)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    parts=st.lists(
        st.tuples(st.integers(0, 300_000), st.binary(max_size=200)), min_size=1, max_size=4
    ),
    packed_as=st.sampled_from(sorted(PACK)),
)
def test_any_content_survives(tmp_path, parts, packed_as):
    content = b"\x01" + b"".join(bytes(zeros) + data for zeros, data in parts)
    shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
    result = run(tmp_path, PACK[packed_as](content), packed_as)
    assert result.path is not None
    assert result.path.read_bytes() == content


@pytest.mark.parametrize("packed_as", PACK)
def test_a_stream_cut_anywhere_is_damage(tmp_path, packed_as):
    packed = PACK[packed_as](disk(200_000))
    for cut in (7, len(packed) // 2, len(packed) - 9, len(packed) - 1):
        result = run(tmp_path, packed[:cut], packed_as)
        assert rules(result) == ["packed-data-corrupt"], cut
        assert left(tmp_path) == []


@pytest.mark.parametrize("packed_as", PACK)
def test_a_flipped_bit_or_something_behind_it_is_damage(tmp_path, packed_as):
    packed = bytearray(PACK[packed_as](os.urandom(100_000)))
    packed[len(packed) // 2] ^= 0x10
    assert rules(run(tmp_path, bytes(packed), packed_as)) == ["packed-data-corrupt"]
    behind = PACK[packed_as](disk(5000)) + b"something else"
    assert rules(run(tmp_path, behind, packed_as)) == ["packed-data-corrupt"]


@pytest.mark.parametrize("packed_as", PACK)
def test_a_bomb_is_stopped_by_its_ratio_and_by_its_size(tmp_path, packed_as):
    bomb = PACK[packed_as](b"A" * (3 * MIB))
    result = run(tmp_path, bomb, packed_as, limits=SMALL)
    assert rules(result) == ["unpack-limit"]
    assert "100 to 1" in result.problems[0].detail
    large = PACK[packed_as](os.urandom(MIB) * 2)
    result = run(tmp_path, large, packed_as, limits=unpack.UnpackLimits(size=MIB, reserve=0))
    assert rules(result) == ["unpack-limit"]
    assert left(tmp_path) == []


MEASURE = """
import resource, sys
from pathlib import Path
from pipeline import unpack
from pipeline.source import Source
with Source.open(sys.argv[1]) as source:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = unpack.unpack(source, sys.argv[2], Path(sys.argv[3]))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print([problem.rule for problem in result.problems], (after - before) // 1024)
"""


@pytest.mark.parametrize("packed_as", ["zstd", "xz"])
def test_a_bomb_of_gigabytes_never_sits_in_memory(tmp_path, packed_as):
    file = tmp_path / "bomb"
    if packed_as == "zstd":
        block = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"B"
        file.write_bytes(b"\x28\xb5\x2f\xfd\x00\x70" + block * 80_000 + b"\x01\0\0")
    else:
        packer = lzma.LZMACompressor(preset=0)
        chunk = b"B" * (16 * MIB)
        file.write_bytes(b"".join(packer.compress(chunk) for _ in range(18)) + packer.flush())
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, file, packed_as, tmp_path / "scratch"],
        capture_output=True, text=True, check=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)),
    )  # fmt: skip
    found, grown = done.stdout.rsplit(" ", 1)
    assert found == "['unpack-limit']"
    assert int(grown) < 60


def test_a_dictionary_of_gigabytes_is_refused(tmp_path):
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(31 - 10) << 3]) + b"\x01\0\0"
    assert rules(run(tmp_path, frame, "zstd")) == ["unpack-limit"]
    small = lzma.compress(b"small", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}])
    large = bytearray(small)
    where = large.index(b"\x21\x01", 12) + 2  # LZMA2's id, its property size, then the dictionary
    large[where] = 37  # 1.5 GiB
    header = large[12 : 12 + (large[12] + 1) * 4]
    large[12 + len(header) - 4 : 12 + len(header)] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    assert rules(run(tmp_path, bytes(large), "xz")) == ["unpack-limit"]


@pytest.mark.parametrize("inner", [*PACK, "zip", "tar"])
def test_packing_in_packing_is_refused(tmp_path, inner):
    if inner == "zip":
        content = b"PK\x03\x04" + bytes(600)
    elif inner == "tar":
        content = tar({"disk.img": b"x" * 600})
    else:
        content = PACK[inner](disk(5000))
    for outer in PACK:
        assert rules(run(tmp_path, PACK[outer](content), outer)) == ["nested-packing"]


def test_a_tiny_first_piece_does_not_hide_what_is_inside(tmp_path):
    inner = gzip.compress(disk(5000))
    packed = zstandard.compress(inner[:1]) + zstandard.compress(inner[1:])
    assert rules(run(tmp_path, packed, "zstd")) == ["nested-packing"]


def test_terabytes_of_zeros_behind_a_stream_are_damage(tmp_path):
    file = tmp_path / "disk.gz"
    file.write_bytes(gzip.compress(disk()))
    os.truncate(file, 1 << 42)

    with Source.open(file) as source:
        result = unpack.unpack(source, "gzip", tmp_path / "scratch")

    assert rules(result) == ["packed-data-corrupt"]
    assert left(tmp_path) == []


def test_packed_data_that_makes_nothing_can_be_interrupted(tmp_path):
    stop = Cancellation()
    stop.set(15)
    with pytest.raises(Interrupted):
        run(tmp_path, gzip.compress(b"") * 10, "gzip", cancellation=stop)


def test_interruption_leaves_no_file(tmp_path):
    cancellation = Cancellation()
    with pytest.raises(Interrupted):
        run(
            tmp_path, gzip.compress(disk()), "gzip",
            cancellation=cancellation, progress=lambda done, total: cancellation.set(15),
        )  # fmt: skip
    assert left(tmp_path) == []


def test_what_a_killed_run_left_is_written_over(tmp_path):
    left_over = tmp_path / "scratch/unpacked/.partial"
    left_over.parent.mkdir(parents=True)
    left_over.write_bytes(b"half" * 100_000)
    content = disk(70_000)
    result = run(tmp_path, gzip.compress(content), "gzip")
    assert result.path is not None
    assert result.path.read_bytes() == content
    assert left(tmp_path) == ["disk.img"]


def test_progress_counts_packed_bytes_to_the_end(tmp_path):
    packed, seen = gzip.compress(os.urandom(3 * MIB)), []
    run(tmp_path, packed, "gzip", progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (len(packed), len(packed))


FILL = """
import sys
from pathlib import Path
from pipeline import unpack
from pipeline.errors import EnvironmentFailed
from pipeline.source import Source
with Source.open(sys.argv[1]) as source:
    try:
        unpack.unpack(source, "gzip", Path(sys.argv[2]))
    except EnvironmentFailed as error:
        print(error.code, [p.name for p in Path(sys.argv[2]).rglob("*") if p.is_file() and p.name != ".fill"])
"""


@pytest.mark.needs("unshare", "mount")
@pytest.mark.parametrize(
    ("size", "filled"), [("2m", "0"), ("20m", "20185088")], ids=["full", "reserve"]
)
def test_a_full_disk_is_the_machines_fault_and_leaves_nothing(tmp_path, size, filled):
    packed, scratch = tmp_path / "packed", tmp_path / "scratch"
    packed.write_bytes(gzip.compress(os.urandom(3 * MIB if filled == "0" else 1000)))
    scratch.mkdir()
    script = (
        'mount -t tmpfs -o size="$1" tmpfs "$3" && head -c "$2" /dev/zero > "$3/.fill" '
        '&& shift 3 && exec "$@"'
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", size, filled, scratch,
         sys.executable, "-c", FILL, packed, scratch],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "no-space []", "")


OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
 <References>{files}</References>
 <DiskSection><Info>disks</Info>{disks}</DiskSection>
</Envelope>"""
FILE = '<File ovf:id="f{0}" ovf:href="{1}" {2}/>'
DISK = '<Disk ovf:diskId="d{0}" ovf:fileRef="f{0}" ovf:capacity="1"/>'


def ovf(*hrefs: str, more: str = "") -> bytes:
    files = "".join(FILE.format(number, href, more) for number, href in enumerate(hrefs))
    disks = "".join(DISK.format(number) for number in range(len(hrefs)))
    return OVF.format(files=files, disks=disks).encode()


def tar(files: dict[str, bytes], *, form: int = tarfile.USTAR_FORMAT, **link: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in link.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return out.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["disk1.vmdk", "d/" + "long" * 40 + ".vmdk"])
def test_the_one_disk_of_an_ova(tmp_path, form, name):
    if len(name) > 100 and form == tarfile.USTAR_FORMAT:
        name = "d" * 120 + "/disk1.vmdk"
    content = disk()
    manifest = f"SHA256({name})= {hashlib.sha256(content).hexdigest()}\n".encode()
    files = {"m.ovf": ovf(name), "m.mf": manifest, name: content, "readme.txt": b"hello"}
    result = run(tmp_path, tar(files, form=form), "ova", name="machine")
    assert result.problems == ()
    assert result.path is not None
    assert result.path.read_bytes() == content
    assert result.name == name.rpartition("/")[2]


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({"m.ovf": ovf("a.vmdk", "b.vmdk"), "a.vmdk": b"a", "b.vmdk": b"b"}, "ova-multiple-disks"),
        ({"m.ovf": ovf("a.vmdk", more='ovf:chunkSize="7"'), "a.vmdk.000000000": b"a"}, "ova-multiple-disks"),
        ({"m.ovf": ovf("a.vmdk"), "a.vmdk": b"a", "./a.vmdk": b"b"}, "ova-multiple-disks"),
        ({"m.ovf": ovf(), "a.vmdk": b"a"}, "ova-without-disk"),
        ({"a.vmdk": b"a"}, "ova-without-disk"),
        ({"m.ovf": ovf("../../etc/shadow"), "a.vmdk": b"a"}, "ova-without-disk"),
        ({"m.ovf": ovf("http://127.0.0.1/a.vmdk"), "a.vmdk": b"a"}, "ova-without-disk"),
        ({"m.ovf": ovf("a.vmdk", more='ovf:compression="gzip"'), "a.vmdk": b"a"}, "nested-packing"),
        ({"m.ovf": ovf("a.vmdk"), "a.vmdk": gzip.compress(b"a" * 600)}, "nested-packing"),
        ({"m.ovf": ovf("a.vmdk"), "m.mf": b"SHA1(a.vmdk)= 00\n", "a.vmdk": b"a"}, "ova-manifest-mismatch"),
        ({"m.ovf": b"<not XML", "a.vmdk": b"a"}, "packed-data-corrupt"),
        ({"m.ovf": b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "a.vmdk": b"a"}, "packed-data-corrupt"),
        ({"../m.ovf": ovf("a.vmdk"), "a.vmdk": b"a"}, "ova-unsafe-member"),
        ({"/m.ovf": ovf("a.vmdk"), "a.vmdk": b"a"}, "ova-unsafe-member"),
        ({"m.ovf": b" " * (2 * MIB), "a.vmdk": b"a"}, "unpack-limit"),
    ],
)  # fmt: skip
def test_an_ova_that_is_refused(tmp_path, files, rule):
    assert rules(run(tmp_path, tar(files), "ova")) == [rule]
    assert left(tmp_path) == []


def test_a_link_in_an_ova_is_refused(tmp_path):
    packed = tar({"m.ovf": ovf("link")}, link="/etc/passwd")
    assert rules(run(tmp_path, packed, "ova")) == ["ova-unsafe-member"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=8))
def test_a_damaged_archive_never_surprises(tmp_path, changes):
    packed = bytearray(tar({"m.ovf": ovf("a.vmdk"), "a.vmdk": b"a" * 700}, form=tarfile.PAX_FORMAT))
    for offset, value in changes:
        packed[offset] = value
    shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
    result = run(tmp_path, bytes(packed), "ova")
    assert (result.path is None) == bool(result.problems)
