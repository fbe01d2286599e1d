"""Batches whose images lie on a server."""

import json
import time
from pathlib import Path

import pytest

from tests.batch import images
from tests.remote.served import QUICK, require_equal

MIB = 1 << 20

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")


def test_a_batch_reads_from_servers_no_faster_than_it_may(imgprep, web, tmp_path):
    file = images.manifest(
        tmp_path / "m.json", [web.url("disk.raw")], to=str(tmp_path / "s"), options={"guest": "off"}
    )
    began = time.monotonic()

    ended = imgprep("batch", file, "--limit-rate", "10M", **QUICK)

    assert ended.code == 0, ended.stderr
    # a quarter of a second is free
    assert time.monotonic() - began > web.sent / (10 * MIB) - 0.25 > 1


def test_a_batch_takes_addresses_beside_files(imgprep, web, folder, tmp_path):
    file = images.manifest(
        tmp_path / "m.json",
        [web.url("disk.qcow2"), web.url("disc.iso"), {"image": web.url("disk.raw"), "name": "raw.vhd"}],
        to=str(tmp_path / "s"),
        options={"guest": "off"},
    )  # fmt: skip

    ended = imgprep("batch", file, "--jobs", 2, **QUICK)
    again = imgprep("batch", file, **QUICK)

    assert ended.code == 1, ended.stderr
    found = {
        Path(task["source"]).name: task["state"]
        for task in images.status(imgprep, tmp_path / "m.batch")["tasks"]
    }
    assert found == {"disk.qcow2": "done", "disc.iso": "refused", "disk.raw": "done"}
    for name in ("disk.vhd", "raw.vhd"):
        require_equal(tmp_path / "s" / name, folder)
    assert again.stderr == ""


def test_a_batch_finds_what_is_wrong_with_addresses_before_it_begins(imgprep, web, tmp_path):
    listed = [web.url("disk.raw"), web.url("no.raw"), "https://h/x?signed=1", web.url("disk.raw")]
    file = images.manifest(tmp_path / "m.json", listed)
    file.write_text(json.dumps(json.loads(file.read_text()), indent=0))

    ended = imgprep("batch", file, **QUICK)

    assert ended.code == 2
    assert "there is nothing at" in ended.stderr
    assert "stand in every report" in ended.stderr
    assert "is listed twice" in ended.stderr
    assert not (tmp_path / "m.batch").exists()


def test_an_image_that_changed_on_its_server_is_done_again(imgprep, web, folder, tmp_path):
    (folder / "mine.img").write_bytes((folder / "disk.raw").read_bytes())
    file = images.manifest(tmp_path / "m.json", [web.url("mine.img")], options={"guest": "off"})
    first = imgprep("batch", file, **QUICK)
    assert first.code == 0, first.stderr
    (folder / "mine.img").write_bytes((folder / "disc.iso").read_bytes())

    assert imgprep("batch", file, **QUICK).code == 1
