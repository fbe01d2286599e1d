"""A profile of the user's own, from files of their own, as the command line judges by it."""

import json

import pytest
import vhd_files

MIB = 1 << 20
DIALECT = "https://json-schema.org/draft/2020-12/schema"
MULTIPLE = {
    "$schema": DIALECT,
    "title": "The disk is no multiple of 1 MiB",
    "description": "This cloud counts disks in MiB.",
    "properties": {"container": {"properties": {"virtual_size": {"multipleOf": MIB}}}},
    "x-finding": {
        "severity": "error",
        "needs": ["container.virtual_size"],
        "path": "container.virtual_size",
        "message": "The disk has {container.virtual_size} bytes.",
        "expected": "a multiple of 1 MiB",
        "remedy": "Make the disk larger.",
        "source": {"address": "https://example.org/sizes", "date": "2026-11-27"},
    },
    "x-cases": {
        "pass": [{"container": {"virtual_size": 3 * MIB}}],
        "fail": [{"container": {"virtual_size": 3 * MIB - 512}}],
    },
}


@pytest.fixture
def own_profile(tmp_path):
    """A profile that lists one requirement, which has the name of a built-in one for 2 MiB."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/vhd-size-multiple.json").write_text(json.dumps(MULTIPLE))
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps(
            {
                "$schema": DIALECT,
                "title": "A cloud of mine",
                "description": "It counts in MiB.",
                "allOf": [{"$ref": "requirements/vhd-size-multiple.json"}],
                "x-target": {"format": "vhd", "variant": "dynamic", "suffix": ".vhd"},
            }
        )
    )
    return path


@pytest.mark.needs("qemu-img", "qemu-nbd")
@pytest.mark.parametrize(("size", "code"), [(3 * MIB, 0), (3 * MIB - 512, 1)])
def test_its_own_multiple_decides_and_not_xenserver_s(imgprep, tmp_path, own_profile, size, code):
    vhd = vhd_files.set_footer(vhd_files.ours(4 * MIB, [0]), current_size=size, original_size=size)
    (tmp_path / "disk.vhd").write_bytes(vhd)

    ended = imgprep(
        "check", tmp_path / "disk.vhd", "--profile", own_profile, "--guest=off", "--json"
    )

    assert ended.code == code, ended.stderr
    failed = [item["rule"] for item in ended.report["findings"] if item["status"] == "fail"]
    assert failed == ["vhd-size-multiple"] * code
    assert ("vhd-size-multiple" in ended.report["passed"]) == (code == 0)
