"""Every kind of bad input: one clear message, the contract's exit code, no traceback, nothing left."""

import gzip
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest

pytestmark = pytest.mark.needs("qemu-img")


@pytest.fixture
def qcow2(tmp_path):
    path = tmp_path / "in" / "disk.qcow2"
    path.parent.mkdir()
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as out:
        out.write(b"\x55" * (4 << 20))
        out.truncate(64 << 20)
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True, timeout=60
    )
    raw.unlink()
    return path


def expect(ended, code, *words):
    assert ended.code == code, ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    said = " ".join((ended.stderr + ended.stdout).split())
    for word in words:
        assert word in said, said


def left_in(directory):
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )


def test_a_missing_file(imgprep, tmp_path):
    expect(
        imgprep("check", tmp_path / "none.qcow2", "--guest=off"), 3, "source-missing", "none.qcow2"
    )


def test_a_directory_a_fifo_a_socket_and_a_device(imgprep, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        for path, kind in [
            (tmp_path, "a directory"),
            (tmp_path / "fifo", "a FIFO"),
            (tmp_path / "sock", "a socket"),
            ("/dev/zero", "a character device"),
        ]:
            expect(imgprep("check", path, "--guest=off"), 3, "source-not-a-file", kind)


def test_zero_bytes(imgprep, tmp_path):
    (tmp_path / "empty.vhd").touch()

    ended = imgprep("check", tmp_path / "empty.vhd", "--guest=off", "--json")

    expect(ended, 1)
    assert "empty-image" in ended.rules()


def test_a_truncated_image(imgprep, qcow2):
    os.truncate(qcow2, qcow2.stat().st_size // 2)

    ended = imgprep("check", qcow2, "--guest=off", "--json")

    expect(ended, 1)
    assert ended.report["verdict"] == "rejected"


def test_a_text_named_qcow2(imgprep, tmp_path):
    text = tmp_path / "readme.qcow2"
    text.write_text("dear cloud,\nplease take this.\n" * 200)

    expect(imgprep("check", text, "--guest=off"), 1)


def test_an_unknown_profile(imgprep, qcow2):
    expect(imgprep("check", qcow2, "--profile", "rackspcae"), 2, "rackspcae", "rackspace")


def test_a_profile_with_a_broken_schema(imgprep, qcow2, tmp_path):
    profile = tmp_path / "mine.json"
    profile.write_text(
        '{"title": 7, "allOf": [{"$ref": "../requirements/no-such.json"}], "typ": 1}'
    )

    expect(imgprep("check", qcow2, "--profile", profile), 2, "no-such")


def test_a_waiver_without_a_reason_and_a_report_of_no_kind(imgprep, qcow2):
    expect(imgprep("check", qcow2, "--allow", "windows-guest"), 2, "waiver-without-reason")
    expect(imgprep("check", qcow2, "--report", "pdf=x.pdf"), 2, "report-option", "pdf=x.pdf")


@pytest.mark.parametrize(
    "destination", ["ftp://host/x", "swift://", "s3:///x", "swift://a/../b", "file://host/x"]
)
def test_a_malformed_destination(imgprep, qcow2, destination):
    expect(imgprep("run", qcow2, destination, "--guest=off"), 2)


def test_a_destination_that_cannot_be_written(imgprep, qcow2, tmp_path):
    (tmp_path / "file").touch()

    expect(imgprep("run", qcow2, tmp_path / "file" / "store", "--guest=off"), 5)
    assert left_in(tmp_path / "in") == ["disk.qcow2"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB, which is full at once."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mounted = tmp_path / "small"
    mounted.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mounted], check=True, timeout=30
    )
    yield mounted
    subprocess.run(["umount", mounted], check=True, timeout=30)


def test_a_full_disk_under_the_store(imgprep, qcow2, small_disk):
    ended = imgprep("run", qcow2, small_disk, "--guest=off")

    expect(ended, 5, "space")
    assert not [name for name in left_in(small_disk) if name.endswith("disk.vhd")]


def test_a_full_disk_under_the_output(imgprep, qcow2, small_disk):
    ended = imgprep("convert", qcow2, small_disk / "disk.vhd")

    expect(ended, 3, "space")
    assert left_in(small_disk) == []


def test_an_output_that_exists(imgprep, qcow2, tmp_path):
    (tmp_path / "disk.vhd").write_text("mine")

    expect(imgprep("convert", qcow2, tmp_path / "disk.vhd"), 2, "--force")
    assert (tmp_path / "disk.vhd").read_text() == "mine"


def test_a_source_that_changes_while_it_is_read(imgprep, tmp_path):
    # given an image that somebody goes on writing to
    image = tmp_path / "in" / "live.raw"
    image.parent.mkdir()
    with image.open("wb") as out:
        out.write(os.urandom(1 << 20) * 192)
    stop = threading.Event()

    def write():
        with image.open("r+b") as out:
            while not stop.is_set():
                out.seek(4096)
                out.write(os.urandom(512))
                out.flush()
                time.sleep(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        # when it is converted, then it stops with the reason and leaves no file
        ended = imgprep("convert", image, tmp_path / "out.vhd")
    finally:
        stop.set()
        writer.join()
    expect(ended, 3, "source-changed")
    assert not (tmp_path / "out.vhd").exists()


def test_nothing_stays_behind_after_a_refusal(imgprep, tmp_path):
    iso = tmp_path / "in" / "disc.vhd"
    iso.parent.mkdir()
    subprocess.run(
        [shutil.which("genisoimage") or "genisoimage", "-quiet", "-o", iso, "/etc/hostname"],
        check=True,
        timeout=60,
    )

    expect(imgprep("run", iso, tmp_path / "store"), 1, "iso")

    assert left_in(tmp_path / "in") == ["disc.vhd"]
    assert left_in(tmp_path / "store") == []
    assert os.listdir(imgprep.env["TMPDIR"]) == []


def test_a_rule_that_is_allowed_twice(imgprep, qcow2):
    twice = ("--allow", "machine-id=one", "--allow", "machine-id=two")

    expect(imgprep("check", qcow2, *twice), 2, "waiver-repeated", "machine-id")


def test_a_text_is_not_inspected(imgprep, tmp_path):
    text = tmp_path / "readme.qcow2"
    text.write_text("dear cloud,\nplease take this.\n" * 200)

    ended = imgprep("inspect", text)

    expect(ended, 1)
    assert "not a disk image" in ended.stdout
    assert "a text file" in ended.stdout


@pytest.mark.parametrize("image", ["-", "/dev/stdin", "ftp://example.org/disk.qcow2"])
def test_a_stream_or_an_address_is_no_file(imgprep, image):
    expect(imgprep("check", image), 2, "source-not-a-path", "needs a file")


def test_a_packed_image_whose_disk_nobody_has_seen_yet(imgprep, tmp_path):
    packed = tmp_path / "disk.img.gz"
    packed.write_bytes(gzip.compress(bytes(1 << 20)))

    ended = imgprep("check", packed, "--guest=off", "--json")

    unknown = {item["rule"]: item["message"] for item in ended.report["findings"]}
    assert "the disk size is unknown until it is unpacked" in unknown["virtual-size-limit"]


# --- what can be known before the first stage is told before it ----------------------------------


def told_at_once(ended, code, *words):
    expect(ended, code, *words)
    assert "identify: done" not in ended.stderr


def test_an_output_that_cannot_be_written_is_told_at_once(imgprep, qcow2, tmp_path):
    (tmp_path / "there.vhd").write_text("mine")

    told_at_once(imgprep("convert", qcow2, tmp_path / "there.vhd"), 2, "output-exists", "--force")
    told_at_once(imgprep("convert", qcow2, tmp_path / "no" / "x.vhd"), 2, "directory")
    for force in ([], ["--force"]):
        ended = imgprep("convert", qcow2, tmp_path, *force)
        told_at_once(ended, 2, "is a directory", "the path of a file in it")
        assert "--force" not in ended.stderr


def test_keep_does_not_name_an_option_of_convert(imgprep, qcow2, tmp_path):
    (tmp_path / "there.vhd").write_text("mine")

    ended = imgprep("run", qcow2, tmp_path / "out", "--keep", tmp_path / "there.vhd")

    told_at_once(ended, 2, "another --keep")
    assert "--force" not in ended.stderr


def test_a_destination_that_is_a_file_or_holds_the_object_is_told_at_once(imgprep, qcow2, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / "disk.vhd").write_text("mine")

    told_at_once(imgprep("run", qcow2, store / "disk.vhd"), 5, "is not a directory")
    told_at_once(imgprep("run", qcow2, store), 5, "object-exists", "--if-exists")
    assert (store / "disk.vhd").read_text() == "mine"


@pytest.mark.parametrize("destination", ["swift://images/", "s3://images/"])
def test_missing_credentials_are_told_at_once(imgprep, qcow2, destination):
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true"}

    told_at_once(imgprep("run", qcow2, destination, **nowhere), 5, "store-no-credentials")


def test_an_output_whose_suffix_names_another_format(imgprep, qcow2, tmp_path):
    ended = imgprep("convert", qcow2, tmp_path / "y.qcow2")
    told_at_once(ended, 2, "output-suffix", "--format qcow2")

    ended = imgprep("convert", qcow2, tmp_path / "y.qcow2", "--format", "qcow2")
    expect(ended, 0)
    ended = imgprep("convert", qcow2, tmp_path / "no-suffix")
    expect(ended, 0, "made VHD")


# --- remedies ------------------------------------------------------------------------------------


def test_cleanup_of_what_is_not_there(imgprep, tmp_path):
    ended = imgprep("cleanup", tmp_path / "absent")

    expect(ended, 5, "container-missing", "nothing is left to clean up")
    assert "--create" not in ended.stderr


def test_a_safety_rule_that_is_allowed_is_not_answered_with_what_was_written(imgprep, qcow2):
    ended = imgprep("check", qcow2, "--allow", "iso-image=x")

    expect(ended, 2, "waiver-refused", "imgprep explain iso-image")
    assert "--allow RULE" not in ended.stderr


def test_a_profile_that_is_not_there(imgprep, qcow2):
    ended = imgprep("check", qcow2, "--profile", "./nosuch.json")

    expect(ended, 2, "profile-missing", "imgprep profiles")
    assert "CONTRIBUTING" not in ended.stderr
