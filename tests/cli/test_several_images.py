"""Several images in one call: one table, one document, the code by the contract's order."""

import json

import pytest


@pytest.fixture
def images(tmp_path):
    """Two disks, one of them too large, and a text with an image's name."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size in (("good.raw", 1 << 30), ("large.img", 200 << 30)):
        with (folder / name).open("wb") as out:
            out.write(b"\x33\xc0" + bytes(508) + b"\x55\xaa")
            out.truncate(size)
    (folder / "text.qcow2").write_text("no disk\n" * 200)
    (folder / "notes.txt").write_text("no image either\n")
    return folder


def test_a_directory_is_all_the_images_in_it(imgprep, images):
    ended = imgprep("check", images, "--guest=off", "--json")

    found = json.loads(ended.stdout)
    assert [item["job"]["source"].rsplit("/", 1)[1] for item in found] == [
        "good.raw",
        "large.img",
        "text.qcow2",
    ]
    assert [item["exit_code"] for item in found] == [0, 1, 1]
    assert ended.code == 1


def test_a_pattern_that_no_shell_expanded(imgprep, images):
    ended = imgprep("check", f"{images}/*.raw", "--guest=off", "--json")

    assert ended.code == 0, ended.stderr
    assert len(json.loads(ended.stdout)) == 1  # an array, however many there happen to be


def test_one_table_tells_about_all(imgprep, images):
    ended = imgprep("check", images / "good.raw", images / "large.img", "--guest=off")

    assert ended.code == 1
    (good,) = [line for line in ended.stdout.splitlines() if "good.raw" in line and "?" in line]
    (large,) = [line for line in ended.stdout.splitlines() if line.startswith("✗")]
    assert "undetermined" in good
    assert "rejected" in large
    assert "rackspace-2020 takes none of 2 images, 1 undetermined." in ended.stdout


def test_the_code_is_the_first_in_the_contract_s_order(imgprep, images):
    missing = imgprep("check", images / "large.img", images / "absent.raw", "--guest=off")

    assert missing.code == 3  # of 3 and 1


def test_the_same_image_counts_once(imgprep, images):
    ended = imgprep("check", images / "good.raw", images / "good.raw", "--guest=off", "--json")

    assert len(json.loads(ended.stdout)) == 1


def test_inspect_takes_several_too(imgprep, images):
    ended = imgprep("inspect", images, "--guest=off")

    assert ended.code == 1  # a text is no disk image
    assert "3 images inspected; 1 of them are no disk images" in ended.stdout
    assert "inspected" in ended.stdout


@pytest.mark.parametrize(
    ("word", "code", "name"), [("*.raw", 2, "images-not-found"), ("", 3, "source-not-a-file")]
)
def test_where_no_image_is(imgprep, tmp_path, word, code, name):
    ended = imgprep("check", tmp_path / word)

    assert ended.code == code
    assert name in ended.stderr
