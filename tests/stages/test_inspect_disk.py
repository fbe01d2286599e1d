"""The disk behind the container: what is found on it, and what qemu-img must agree to."""

import os
import signal
import subprocess
from dataclasses import replace

import pytest

from pipeline import profile
from pipeline.beside import Beside
from pipeline.disk import GuestDisk
from pipeline.errors import Interrupted, SourceError
from pipeline.model import Job, StageStatus
from pipeline.source import Source
from pipeline.stage import Cancellation, Context
from pipeline.tools import confine, qemu_img
from stages.identify import Identify
from stages.inspect_disk import InspectDisk

MIB = 1 << 20

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")


def qemu(*argv):
    subprocess.run(argv, check=True, capture_output=True, timeout=60)


def convert(raw, driver, *options):
    """The raw disk in another container."""
    path = raw.with_suffix(f".{driver}")
    qemu("qemu-img", "convert", "-f", "raw", "-O", driver, *options, raw, path)
    return path


@pytest.fixture
def seen(tmp_path):
    """What the stage says about a file, with the facts of both stages so far."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    notes = []

    def look(path, **facts):
        with Source.open(path) as source:
            context = Context(
                job=Job(str(path), "rackspace"),
                job_id="test",
                source=source,
                profile=profile.load("rackspace"),
                scratch=scratch,
                beside=Beside(scratch, "test"),
                notebook=None,
                cancellation=facts.pop("cancellation", Cancellation()),
                monitor=notes.append,
            )
            container = {**Identify().run(context).facts["container"], **facts}
            with GuestDisk(source, container, scratch) as disk:
                known = replace(context, facts={"container": container}, opened=disk)
                outcome = InspectDisk().run(known)
            source.require_unchanged()
        assert os.listdir(scratch) == []
        look.facts = {"container": container, **outcome.facts}
        return outcome

    look.notes = notes
    return look


@pytest.fixture
def linux(tmp_path):
    """A raw disk with an MBR, an ext4 partition and a swap partition, as Linux' own tools make it."""
    raw = tmp_path / "linux.raw"
    raw.write_bytes(b"")
    os.truncate(raw, 64 * MIB)
    table = "label: dos\nstart=2048, size=65536, type=83, bootable\nstart=67584, type=82\n"
    subprocess.run(
        ["/usr/sbin/sfdisk", "--quiet", "--no-reread", raw], input=table, text=True, check=True
    )
    offset = f"offset={2048 * 512}"
    qemu("/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-E", offset, raw, "32M")
    with raw.open("r+b") as file:
        file.seek(67584 * 512 + 4086)
        file.write(b"SWAPSPACE2")
    return raw


@pytest.fixture
def disc(tmp_path):
    """A bootable disc's image."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "boot.img").write_bytes(bytes(2048))
    path = tmp_path / "disc.iso"
    qemu(
        "xorriso", "-as", "mkisofs", "-quiet", "-V", "INSTALLER", "-b", "boot.img", "-no-emul-boot",
        "-boot-load-size", "4", "-o", path, tree,
    )  # fmt: skip
    return path


def rules(outcome):
    return [problem["rule"] for problem in outcome.facts["disk"]["problems"]]


CONTAINERS = [
    ("raw", ()),
    ("qcow2", ()),
    ("vpc", ("-o", "subformat=dynamic,force_size=on")),
    ("vpc", ("-o", "subformat=fixed,force_size=on")),
    ("vmdk", ()),
    ("vmdk", ("-o", "subformat=streamOptimized")),
    ("vhdx", ()),
    ("vdi", ()),
    ("vdi", ("-o", "static=on")),
]


@pytest.mark.needs("sfdisk", "mke2fs")
class TestAnOrdinaryDisk:
    @pytest.mark.parametrize(("driver", "options"), CONTAINERS)
    def test_every_container_shows_the_same_disk(self, seen, linux, driver, options):
        path = linux if driver == "raw" else convert(linux, driver, *options)

        outcome = seen(path)

        disk = outcome.facts["disk"]
        assert outcome.status is StageStatus.DONE
        assert (disk["virtual_size"], disk["partition_table"]) == (64 * MIB, "mbr")
        assert [(part["number"], part["content"]) for part in disk["partitions"]] == [
            (1, "ext4"),
            (2, "swap"),
        ]
        assert disk["partitions"][0]["start"] == MIB
        assert (disk["optical"], disk["nested_format"], disk["content"]) == (None, None, None)
        assert (disk["problems"], disk["unknown"]) == ([], {})

    def test_a_disk_without_partitions_says_what_it_holds(self, seen, tmp_path):
        raw = tmp_path / "bare.raw"
        qemu("/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", raw, "16M")

        disk = seen(convert(raw, "qcow2")).facts["disk"]

        assert (disk["partition_table"], disk["content"]) == ("none", "ext4")

    def test_no_process_is_started_for_a_raw_disk(self, seen, linux, monkeypatch):
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setattr(subprocess, "Popen", lambda *_a, **_k: pytest.fail("a process"))

        assert seen(linux).status is StageStatus.DONE

    def test_tools_are_named_with_their_version(self, seen, linux):
        assert seen(convert(linux, "qcow2")).tools == {"qemu-img": qemu_img.version()}


@pytest.mark.needs("xorriso")
class TestDiscs:
    @pytest.mark.parametrize("driver", ["qcow2", "vpc", "vmdk", "vhdx", "vdi"])
    def test_a_disc_in_any_container_is_refused(self, seen, disc, driver):
        outcome = seen(convert(disc, driver))

        assert rules(outcome) == ["iso-image"]
        assert outcome.facts["disk"]["optical"]["label"] == "INSTALLER"
        assert [finding.rule for finding in profile.gate(seen.facts)] == ["iso-image"]

    def test_the_finding_says_what_was_seen_and_where(self, seen, disc):
        problem = seen(convert(disc, "qcow2")).facts["disk"]["problems"][0]

        assert "volume label 'INSTALLER', El Torito boot record" in problem["detail"]
        assert "at byte 32768 of the disk" in problem["detail"]
        assert problem["offset"] is None

    @pytest.mark.parametrize(
        ("neighbour", "rule"), [(None, "iso-image"), ("ext4", "iso-in-partition")]
    )
    @pytest.mark.needs("sfdisk", "mke2fs")
    def test_a_stick_is_a_disc_unless_a_system_lies_beside_it(
        self, seen, disc, tmp_path, neighbour, rule
    ):
        # given a disc written into the first of two partitions
        raw = tmp_path / "stick.raw"
        raw.write_bytes(b"")
        os.truncate(raw, 64 * MIB)
        table = "label: dos\nstart=2048, size=65536, type=83\nstart=67584, type=83, bootable\n"
        subprocess.run(
            ["/usr/sbin/sfdisk", "--quiet", "--no-reread", raw], input=table, text=True, check=True
        )
        if neighbour:
            offset = f"offset={67584 * 512}"
            qemu("/usr/sbin/mke2fs", "-q", "-F", "-t", neighbour, "-E", offset, raw, "16M")
        with raw.open("r+b") as file:
            file.seek(2048 * 512)
            file.write(disc.read_bytes())

        assert rules(seen(raw)) == [rule]

    @pytest.mark.needs("mke2fs")
    def test_a_disc_as_a_file_on_a_file_system_is_nobodys_business(self, seen, disc, tmp_path):
        tree = tmp_path / "files"
        tree.mkdir()
        disc.rename(tree / "debian.iso")
        raw = tmp_path / "data.raw"
        qemu("/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, raw, "32M")

        assert rules(seen(convert(raw, "qcow2"))) == []


class TestNesting:
    @pytest.mark.parametrize("inner", ["qcow2", "vmdk", "vhdx", "vdi", "vpc"])
    def test_an_image_inside_an_image_is_named(self, seen, tmp_path, inner):
        first = tmp_path / "inner.img"
        qemu("qemu-img", "create", "-q", "-f", inner, first, "8M")
        os.truncate(first, -(-first.stat().st_size // 512) * 512)

        outcome = seen(convert(first, "qcow2"))

        assert rules(outcome) == ["nested-format"]
        expected = "vhd" if inner == "vpc" else inner
        assert outcome.facts["disk"]["nested_format"] == expected


def _patched(path, changes):
    with path.open("r+b") as file:
        for at, data in changes:
            file.seek(at)
            file.write(data)
    return path


def _number(path, at, width=8):
    with path.open("rb") as file:
        file.seek(at)
        return int.from_bytes(file.read(width), "big")


@pytest.mark.needs("sfdisk", "mke2fs")
class TestDamage:
    def test_leaked_clusters_are_told_and_the_disk_is_still_read(self, seen, linux):
        # given a refcount for a cluster that nothing uses
        path = convert(linux, "qcow2")
        path.write_bytes(path.read_bytes() + bytes(65536))
        last = path.stat().st_size // 65536 - 1
        block = _number(path, _number(path, 48))
        _patched(path, [(block + 2 * last, b"\0\x01")])

        outcome = seen(path)

        assert rules(outcome) == ["leaked-clusters"]
        assert outcome.facts["disk"]["partition_table"] == "mbr"
        assert profile.gate(seen.facts) == ()

    def test_tables_that_qemu_finds_damaged_are_not_read_through(self, seen, linux):
        # given a refcount of zero for the first cluster of data, which our parser does not count
        path = convert(linux, "qcow2")
        block = _number(path, _number(path, 48))
        data = _number(path, _number(path, _number(path, 40)) & (1 << 56) - 1) & (1 << 56) - 1
        _patched(path, [(block + 2 * (data // 65536), b"\0\0")])

        outcome = seen(path)

        assert rules(outcome) == ["corrupt-metadata"]
        assert "ERROR" in outcome.facts["disk"]["problems"][0]["detail"]
        assert outcome.facts["disk"]["partition_table"] is None
        assert "partition_table" in outcome.facts["disk"]["unknown"]

    def test_readers_that_disagree_about_the_size_are_a_finding(self, seen, linux):
        outcome = seen(convert(linux, "qcow2"), virtual_size=8 << 30)

        assert rules(outcome) == ["container-disagreement"]
        detail = outcome.facts["disk"]["problems"][0]["detail"]
        assert "imgprep reads 8589934592, qemu-img reads 67108864" in detail

    def test_a_tool_that_runs_into_its_limits_is_a_finding(self, seen, linux, monkeypatch):
        tight = replace(qemu_img.PARSING, output=100)
        check = qemu_img.check
        monkeypatch.setattr(qemu_img, "check", lambda image, **kw: check(image, limits=tight, **kw))

        assert rules(seen(convert(linux, "qcow2"))) == ["inspection-limit"]


class TestWhatStopsIt:
    def test_an_unsafe_container_meets_no_tool(self, seen, tmp_path, monkeypatch):
        secret = tmp_path / "secret.raw"
        secret.write_bytes(b"x" * MIB)
        overlay = tmp_path / "overlay.qcow2"
        qemu("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, overlay)
        monkeypatch.setattr(subprocess, "Popen", lambda *_a, **_k: pytest.fail("a process"))

        outcome = seen(overlay)

        assert outcome.status is StageStatus.SKIPPED
        assert "backing-file" in outcome.reason
        assert outcome.facts["disk"] == {"status": "skipped", "reason": outcome.reason}

    @pytest.mark.needs("qemu-io")
    def test_an_image_in_use_is_no_verdict(self, seen, tmp_path):
        raw = tmp_path / "busy.raw"
        qemu("qemu-img", "create", "-q", "-f", "raw", raw, "16M")
        with subprocess.Popen(
            ["qemu-io", "-f", "raw", raw], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as machine:
            machine.stdin.write(b"length\n")
            machine.stdin.flush()
            machine.stdout.readline()
            try:
                with pytest.raises(SourceError) as caught:
                    seen(raw)
            finally:
                machine.communicate(b"quit\n", timeout=20)

        assert caught.value.code == "source-in-use"

    @pytest.mark.needs("sfdisk", "mke2fs")
    def test_a_request_to_stop_is_heard(self, seen, linux):
        stop = Cancellation()
        stop.set(signal.SIGINT)

        with pytest.raises(Interrupted):
            seen(convert(linux, "qcow2"), cancellation=stop)

    @pytest.mark.needs("sfdisk", "mke2fs")
    def test_a_machine_that_cannot_confine_is_told_of(self, seen, linux, monkeypatch):
        monkeypatch.setattr(confine, "detect", lambda: confine.Confinement(False, "no bwrap"))

        outcome = seen(convert(linux, "qcow2"))

        assert outcome.status is StageStatus.DONE
        assert any("unconfined" in note.text for note in seen.notes)
