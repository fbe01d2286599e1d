"""The stage identify: facts of a real file, as the facts' schema wants them."""

import json
import os
import time
from pathlib import Path

import handmade
import pytest
import vhd_files

from pipeline.formats import vhd_bytes
from pipeline.model import Job, StageStatus
from pipeline.source import Source
from pipeline.stage import Cancellation
from stages.identify import Identify, container_facts, to_facts

KEYS = {
    "format", "variant", "creator", "virtual_size", "file_size", "allocated_size",
    "external_references", "encrypted", "snapshots", "uuid", "suffix", "matches", "problems",
    "details", "unknown", "packed",
}  # fmt: skip


def facts(path: Path, data: bytes) -> dict[str, object]:
    path.write_bytes(data)
    with Source.open(str(path)) as source:
        return dict(container_facts(source, name=source.name, allocated_size=source.allocated_size))


def test_every_fact_is_there_and_json(tmp_path: Path) -> None:
    found = facts(tmp_path / "disk.img", handmade.qcow2())
    assert set(found) == KEYS
    assert json.loads(json.dumps(found)) == found
    assert found["format"] == "qcow2"
    assert found["file_size"] == os.path.getsize(tmp_path / "disk.img")
    assert found["unknown"] == {}


def test_a_problem_keeps_its_bytes(tmp_path: Path) -> None:
    found = facts(tmp_path / "disk.img", handmade.qcow2(backing=b"/etc/shadow"))
    assert found["external_references"] == ["/etc/shadow"]
    assert found["problems"] == [
        {
            "rule": "backing-file",
            "detail": "backing file '/etc/shadow'",
            "offset": 112,
            "length": 11,
        }
    ]


def test_what_is_not_known_says_why(tmp_path: Path) -> None:
    found = facts(tmp_path / "disk.img", b"LUKS\xba\xbe\0\1".ljust(4096, b"\0"))
    assert found["virtual_size"] is None
    assert set(found["unknown"]) == {"virtual_size"}  # type: ignore[call-overload]


def test_an_object_without_a_file_has_no_allocation() -> None:
    from pipeline import formats

    data = handmade.vmdk()
    found = to_facts(formats.identify(handmade.Memory(data)), file_size=len(data))
    assert found["allocated_size"] is None
    assert "allocated_size" in found["unknown"]


def test_the_stage_hands_over_one_section(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    path.write_bytes(handmade.vmdk())

    class Handles:
        job = Job(str(path), "rackspace")
        source = Source.open(str(path))
        cancellation = Cancellation()

    outcome = Identify().run(Handles())  # type: ignore[arg-type]
    Handles.source.close()
    assert outcome.status is StageStatus.DONE
    assert set(outcome.facts) == {"container"}


def test_a_long_block_table_is_judged_whole(tmp_path: Path) -> None:
    # given a VHD of 1 TiB, whose table is longer than identification reads, in order …
    size = 1 << 40
    sound = vhd_files.ours(size, [1, 524_000])
    assert facts(tmp_path / "sound.vhd", bytes(sound))["problems"] == []

    # … and one whose entry near the table's end points at the first block's bytes
    lying = vhd_files.set_entry(sound, 524_000, vhd_files.entry(sound, 1))

    found = facts(tmp_path / "lying.vhd", bytes(lying))

    assert "vhd-block-overlap" in {problem["rule"] for problem in found["problems"]}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("ahead", "told"), [(-7200, 0), (7200, 7200)])
def test_how_far_a_time_stamp_lies_in_the_future_is_a_fact(
    tmp_path: Path, ahead: int, told: int
) -> None:
    stamp = int(time.time()) + ahead
    data = vhd_files.ours(4 << 20, [], timestamp=stamp - vhd_bytes.EPOCH_2000)
    (tmp_path / "disk.vhd").write_bytes(data)

    with Source.open(tmp_path / "disk.vhd") as source:
        details = container_facts(source, name="disk.vhd")["details"]

    assert details["timestamp_unix"] == stamp
    assert 0 <= told - details["timestamp_ahead"] < 600
