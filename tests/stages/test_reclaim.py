"""--reclaim: deleted data is in nothing that is made, and everything else is."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import file_systems as made
import pytest

from pipeline.disk import GuestDisk
from pipeline.formats.vhd_disk import DynamicDisk
from pipeline.source import Source

MIB = 1 << 20
NEEDS = ("mke2fs", "debugfs", "sfdisk", "qemu-img", "e2fsck")


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A raw disk with an ext4 in a partition, its free space full of the marker; and what is to be left."""
    made_disk = made.disk_with_leftovers(tmp_path_factory.mktemp("disk"))
    return made_disk.path, made_disk.wanted


def contents(path: Path, directory: Path) -> bytes:
    """The disk in a VHD of ours, or in what qemu reads."""
    if path.suffix == ".vhd":
        with Source.open(path) as source:
            inside = DynamicDisk(source)
            return inside.read(0, inside.size)
    raw = directory / "raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", path, raw], check=True)
    return raw.read_bytes()


@pytest.mark.needs(*NEEDS)
@pytest.mark.parametrize("kind", ["raw", "qcow2"])
@pytest.mark.parametrize("target", ["vhd", "qcow2", "raw"])
def test_the_deleted_is_in_nothing_that_is_converted(target, kind, disk, imgprep, tmp_path):
    path, wanted = disk
    source = tmp_path / f"disk.{kind}"
    subprocess.run(["qemu-img", "convert", "-O", kind, path, source], check=True)
    before = source.read_bytes()
    output = tmp_path / f"out.{target}"

    done = imgprep("convert", "--reclaim", "--json", "--format", target, source, output)

    assert done.code == 0, done.stderr
    assert made.MARKER not in output.read_bytes()
    assert contents(output, tmp_path)[: len(wanted)] == wanted
    assert "left out: " in done.stderr
    assert source.read_bytes() == before
    again = tmp_path / f"again.{target}"
    imgprep("convert", "--reclaim", "--format", target, source, again)
    assert again.read_bytes() == output.read_bytes()


@pytest.mark.needs(*NEEDS)
def test_what_is_told_without_being_asked(disk, imgprep):
    path, _ = disk

    told = imgprep("inspect", "--guest=off", path)
    judged = imgprep("check", "--guest=off", "--json", path)

    assert "of old data; --reclaim leaves it out" in told.stdout
    space = judged.report["facts"]["disk"]["free_space"]
    assert 0.95 * space["free"] < space["deleted"] <= space["free"]
    assert [area["place"] for area in space["areas"]] == ["partition 1", "outside of partitions"]
    finding = next(item for item in judged.report["findings"] if item["rule"] == "deleted-data")
    assert finding["severity"] == "info"
    assert "deleted files left behind" in finding["message"]


@pytest.mark.needs(*NEEDS)
def test_a_disk_without_deleted_data_is_not_talked_about(disk, imgprep, tmp_path):
    path = tmp_path / "disk.raw"
    path.write_bytes(disk[1])

    report = imgprep("check", "--guest=off", "--json", path).report

    assert report["facts"]["disk"]["free_space"]["deleted"] == 0
    assert "deleted-data" in report["passed"]


@pytest.mark.needs(*NEEDS)
def test_stored_and_read_back(disk, imgprep, tmp_path):
    path, wanted = disk
    store = tmp_path / "store"

    done = imgprep("run", "--reclaim", "--guest=off", "--verify=readback", "--json", path, store)

    assert done.code == 0, done.stderr
    (stored,) = store.glob("*.vhd")
    assert made.MARKER not in stored.read_bytes()
    assert contents(stored, tmp_path)[: len(wanted)] == wanted
    assert done.report["receipt"]["verified"] == "readback"
    assert done.report["facts"]["result"]["disk"]["free_space"]["deleted"] == 0
    assert "deleted-data" in done.report["result"]["passed"]
    assert done.report["job"]["options"]["reclaim"] is True


@pytest.mark.needs(*NEEDS)
def test_a_profile_may_ask_for_it(disk, imgprep, tmp_path):
    path, wanted = disk
    shipped = Path(__file__).parents[2] / "schemas" / "profiles" / "xenserver-vhd.json"
    document = json.loads(shipped.read_text())
    document.setdefault("x-target", {"format": "vhd", "suffix": ".vhd"})["reclaim"] = True
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(document))

    done = imgprep("convert", "--profile", mine, path, tmp_path / "out.vhd")

    assert done.code == 0, done.stderr
    assert contents(tmp_path / "out.vhd", tmp_path)[: len(wanted)] == wanted


@pytest.mark.needs(*NEEDS)
def test_what_was_reclaimed_never_meets_what_was_not(disk, tmp_path):
    path, wanted = disk
    container = {"format": "raw", "variant": None, "virtual_size": len(wanted)}
    with (
        Source.open(path) as source,
        GuestDisk(source, container, tmp_path) as whole,  # type: ignore[arg-type]
        GuestDisk(source, container, tmp_path, reclaim=True) as lean,  # type: ignore[arg-type]
    ):
        assert whole.content_id != lean.content_id
        assert lean.content_id.startswith(whole.content_id)
        assert lean.view().read(0, len(wanted)) == wanted
        assert lean.as_it_is().read(0, len(wanted)) == whole.view().read(0, len(wanted))


@pytest.mark.needs(*NEEDS)
def test_a_vhd_that_conforms_already_is_made_anew(disk, imgprep, tmp_path):
    path, wanted = disk
    first, second = tmp_path / "first.vhd", tmp_path / "second.vhd"
    assert imgprep("convert", path, first).code == 0
    assert made.MARKER in first.read_bytes()

    done = imgprep("convert", "--reclaim", first, second)

    assert done.code == 0, done.stderr
    assert made.MARKER not in second.read_bytes()
    assert contents(second, tmp_path)[: len(wanted)] == wanted


@pytest.mark.needs(*NEEDS)
def test_a_damaged_file_system_is_kept_and_said(disk, imgprep, tmp_path):
    path, _ = disk
    source = tmp_path / "disk.raw"
    shutil.copy(path, source)
    with open(source, "r+b") as file:
        file.seek(2 * MIB + 1024 + 0x70)
        file.write(b"\xaa")

    done = imgprep("convert", "--reclaim", source, tmp_path / "out.vhd")

    assert done.code == 0, done.stderr
    assert made.MARKER in (tmp_path / "out.vhd").read_bytes()
    assert "partition 1 is kept whole: its superblock has a wrong checksum" in done.stderr


@pytest.mark.needs(*NEEDS)
def test_killed_at_any_moment_the_same_command_continues(imgprep, tmp_path):
    # given a disk of which 30 MiB are in use, and what an undisturbed run gives
    disk = made.disk_with_leftovers(tmp_path, kept=30 * MIB)
    command = ("run", "--reclaim", "--guest=off", "--if-exists=skip", disk.path)
    assert imgprep(*command, tmp_path / "a").code == 0

    # when the same job is killed after some stages
    for stage in ("inspect_disk", "convert"):
        process = imgprep.start(*command, tmp_path / "b")
        for line in process.stderr:
            if line.startswith(stage):
                break
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL

    # then repeating it ends with the same bytes, and nothing else
    ended = imgprep(*command, tmp_path / "b")
    assert ended.code == 0, ended.stderr
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["disk.vhd"]
    stored = (tmp_path / "b" / "disk.vhd").read_bytes()
    assert stored == (tmp_path / "a" / "disk.vhd").read_bytes()
    assert made.MARKER not in stored


@pytest.mark.needs(*NEEDS)
def test_what_was_begun_with_all_of_it_is_not_continued_without(disk, imgprep, tmp_path):
    path, wanted = disk
    store = tmp_path / "store"
    command = ("run", "--guest=off", "--if-exists=replace", path, store)
    assert imgprep(*command).code == 0
    assert made.MARKER in (store / "disk.vhd").read_bytes()

    done = imgprep(*command, "--reclaim")

    assert done.code == 0, done.stderr
    assert contents(store / "disk.vhd", tmp_path)[: len(wanted)] == wanted


@pytest.mark.needs(*NEEDS)
def test_a_batch_leaves_it_out_of_every_image(disk, imgprep, tmp_path):
    path, wanted = disk
    listed = []
    for kind in ("raw", "qcow2"):
        listed.append(tmp_path / f"one.{kind}")
        subprocess.run(["qemu-img", "convert", "-O", kind, path, listed[-1]], check=True)
    listed[0] = listed[0].rename(tmp_path / "two.raw")
    command = ("batch", "--reclaim", *listed, "--to", tmp_path / "s", "--guest=off")

    done = imgprep(*command, "--dir", tmp_path / "b", "--jobs", 2, "--json")

    assert done.code == 0, done.stderr
    for name in ("one.vhd", "two.vhd"):
        assert made.MARKER not in (tmp_path / "s" / name).read_bytes()
        assert contents(tmp_path / "s" / name, tmp_path)[: len(wanted)] == wanted


@pytest.mark.needs(*NEEDS)
def test_what_lies_behind_a_file_system_is_kept_and_said(disk, imgprep, tmp_path):
    # given a partition that was enlarged by 6 MiB without its file system, with data behind that
    source = tmp_path / "disk.raw"
    shutil.copy(disk[0], source)
    script = "label: gpt\nstart=4096, size=94208\n"
    made.run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", source, input=script)

    seen = imgprep("inspect", "--guest=off", source)
    done = imgprep("convert", "--reclaim", source, tmp_path / "out.vhd")

    assert "partition 1, its last 6 MiB: behind its file system" in seen.stdout
    assert "partition 1 is larger than its file system: 6 MiB are kept" in done.stderr
    result = contents(tmp_path / "out.vhd", tmp_path)
    assert result[2 * MIB : 42 * MIB] == disk[1][2 * MIB : 42 * MIB]
    assert result[42 * MIB : 48 * MIB] == source.read_bytes()[42 * MIB : 48 * MIB]
    assert made.MARKER in result[42 * MIB : 48 * MIB]


@pytest.mark.needs(*NEEDS)
def test_no_more_is_stored_than_the_blocks_in_use(disk, imgprep, tmp_path):
    path, wanted = disk
    used = sum(any(wanted[at : at + 2 * MIB]) for at in range(0, len(wanted), 2 * MIB))

    assert imgprep("convert", "--reclaim", path, tmp_path / "out.vhd").code == 0

    assert used * 2 * MIB < (tmp_path / "out.vhd").stat().st_size <= used * 2 * MIB + MIB
