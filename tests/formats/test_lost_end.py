"""Formats whose mark stands at the end: cut off, or with something behind it."""

from __future__ import annotations

import itertools
from pathlib import Path

import handmade
import pytest
import vhd_files as files

from pipeline import formats, profile
from pipeline.formats import trailer
from pipeline.text import counted
from stages.identify import to_facts

MIB = 1 << 20
DISK = handmade.gpt_disk(4 * MIB)
FIXED = DISK + handmade.vhd_footer(4 * MIB)
DYNAMIC = handmade.vhd_dynamic(4 * MIB)
PADDINGS = [1, 21, 511, 512, 513, 4096, 65536, MIB - 1024, MIB - 513, MIB - 512, MIB]


def told(data: bytes, name: str = "disk.img") -> dict[str, str]:
    """The gates that fail, and what was seen."""
    found = formats.identify(handmade.Memory(data), name=name)
    facts = {"container": to_facts(found, file_size=len(data))}
    return {item.rule: str(item.observed) for item in profile.gate(facts)}


def test_whole_ones_are_whole() -> None:
    assert told(FIXED) == told(DYNAMIC) == told(FIXED, "disk.vhd") == {}


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", ["disk.img", "disk.vhd", "disk"])
@pytest.mark.parametrize("whole", [FIXED, DYNAMIC], ids=["fixed", "dynamic"])
def test_padding_behind_the_footer_is_told_with_its_length(
    whole: bytes, name: str, padding: int
) -> None:
    found = told(whole + bytes(padding), name)

    assert found == {
        "vhd-trailing-bytes": (
            f"the last 512 bytes are no footer; one was found {counted(padding, 'byte')} before the end, "
            f"at {len(whole) - 512}"
        )
    }


@pytest.mark.parametrize("padding", [MIB + 4096, 3 * MIB])
def test_padding_of_more_than_a_mib_is_no_footer_at_all(padding: int) -> None:
    assert set(told(DYNAMIC + bytes(padding))) == {"vhd-footer"}
    assert set(told(FIXED + bytes(padding), "disk.vhd")) == {"vhd-footer"}


@pytest.mark.parametrize("name", ["disk.vhd", "DISK.VHD", "disk.vpc"])
def test_a_fixed_vhd_that_lost_its_footer_is_never_a_raw_disk(name: str) -> None:
    found = told(DISK, name)

    assert set(found) == {"vhd-footer"}
    assert "nor is there one in the last 1 MiB" in found["vhd-footer"]
    assert told(DISK, "disk.raw") == told(DISK, "disk") == {}


def test_a_disk_that_holds_a_whole_vhd_near_its_end_is_still_a_raw_disk() -> None:
    # given a raw disk with a VHD stored in its last file: the footer's disk does not end there
    disk = DISK + bytes(512 * 7) + FIXED[-64 * 1024 :] + bytes(65536)

    assert formats.identify(handmade.Memory(disk), name="disk.img").container.format == "raw"
    assert told(disk) == {}


def test_a_disk_that_is_full_of_cookies_is_searched_in_no_time() -> None:
    disk = DISK + b"conectix" * (2 * MIB // 8) + bytes(512)

    found = formats.identify(handmade.Memory(disk))

    assert found.container.format == "raw"
    assert found.bytes_read < 3 * MIB


def test_the_sectors_of_a_magic_are_found_from_the_end() -> None:
    data = bytearray(3 * MIB)
    for at in (0, 512, MIB, 2 * MIB, 2 * MIB + 512, 2 * MIB + 1000, 3 * MIB - 512):
        data[at : at + 4] = b"mark"

    found = list(trailer.sectors(handmade.Memory(bytes(data)), b"mark"))

    assert found == [3 * MIB - 512, 2 * MIB + 512, 2 * MIB]


@pytest.mark.parametrize(
    ("within", "found"),
    [
        (512, [1536]),
        (1023, [1536]),
        (1024, [1536, 1024]),
        (2047, [1536, 1024]),
        (9999, [1536, 1024, 0]),
    ],
)
def test_no_sector_before_the_part_that_is_searched(within: int, found: list[int]) -> None:
    # given marks at sectors and beside them
    data = bytearray(2048)
    for at in (0, 300, 1024, 1100, 1536, 1537 + 4):
        data[at : at + 4] = b"mark"

    assert [*trailer.sectors(handmade.Memory(bytes(data)), b"mark", within)] == found


def test_a_mark_that_is_cut_by_the_end_is_none() -> None:
    assert [*trailer.sectors(handmade.Memory(bytes(1024) + b"mar"), b"mark")] == []


@pytest.mark.parametrize(
    ("marks", "found"),
    [
        ((), None),
        ((0,), 0),
        ((0, 777), 777),
        ((2 * MIB - 4,), 2 * MIB - 4),
        ((2 * MIB - 4, 2 * MIB - 5000), 2 * MIB - 4),
        ((MIB - 1024,), MIB - 1024),
        ((MIB - 1025,), None),
    ],
)
def test_a_mark_anywhere_near_the_end(marks: tuple[int, ...], found: int | None) -> None:
    data = bytearray(2 * MIB if max(marks, default=0) > 1000 else 2000)
    for at in marks:
        data[at : at + 4] = b"mark"

    assert trailer.anywhere(handmade.Memory(bytes(data)), b"mark") == found


@pytest.mark.parametrize(
    ("size", "searched", "at"),
    [
        (300, "300 bytes", 0),
        (512, "512 bytes", 0),
        (513, "513 bytes", 1),
        (MIB, "1 MiB", MIB - 512),
        (3 * MIB, "1 MiB", 3 * MIB - 512),
    ],
)
def test_where_a_footer_was_looked_for_is_said(size: int, searched: str, at: int) -> None:
    found = formats.identify(handmade.Memory(bytes(size)), name="disk.vhd").problems

    (problem,) = (item for item in found if item.rule == "vhd-footer")
    assert problem.detail.endswith(f"nor is there one in the last {searched}")
    assert problem.offset == at


# --- VMDK and DMG --------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [512, 4096, MIB - 1024])
def test_a_stream_with_padding_is_not_called_cut(padding: int) -> None:
    found = told(handmade.vmdk_stream() + bytes(padding), "disk.vmdk")

    assert found == {
        "corrupt-header": f"its footer, looked for at the end, has {padding} bytes behind it"
    }


@pytest.mark.parametrize("lost", [512, 1024, 1536, 4096])
def test_a_stream_that_lost_its_end_is_cut(lost: int) -> None:
    assert set(told(handmade.vmdk_stream()[:-lost])) == {"truncated"}


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("padding", [0, 4096])
def test_qemu_s_own_stream_needs_no_end(tmp_path: Path, padding: int) -> None:
    # given that qemu keeps the directory in front, so that its header says where it is
    raw = files.raw_disk(tmp_path / "disk.raw", 4 * MIB, runs=2)
    made = tmp_path / "disk.vmdk"
    files.qemu_img("convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, made)
    data = made.read_bytes() + bytes(padding)
    made.write_bytes(data)

    assert told(data, "disk.vmdk") == {}
    assert "identical" in files.qemu_img("compare", "-f", "raw", "-F", "vmdk", raw, made)


KOLY = (b"koly" + (4).to_bytes(4, "big") + (512).to_bytes(4, "big")).ljust(512, b"\0")


@pytest.mark.parametrize("padding", [0, 1, 4096, MIB - 512])
def test_an_apple_image_is_told_by_its_trailer_before_padding(padding: int) -> None:
    assert set(told(b"\1" * 99_999 + KOLY + bytes(padding), "disk.dmg")) == {"unsupported-format"}


def test_an_apple_image_on_a_disk_makes_no_apple_image_of_the_disk() -> None:
    assert told(DISK + KOLY + bytes(8192), "disk.img") == {}


# --- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [8, 24, 60, 68, 86, 86 + 30, 511])
def test_two_footers_that_differ_are_shown_where_they_do(offset: int) -> None:
    data = bytearray(DYNAMIC)
    data[offset] ^= 1

    detail = next(
        item.detail
        for item in formats.identify(handmade.Memory(bytes(data))).problems
        if item.rule == "vhd-footers-differ"
    )

    in_copy, in_footer = detail.split(" is ", 1)[1].split(" in the copy and ")
    assert in_copy != in_footer.removesuffix(" in the footer")
    assert len(detail) < 150


def test_the_version_of_vmware_tools_is_not_a_writer() -> None:
    text = handmade.vmdk_descriptor() + b'ddb.toolsVersion = "2147483647"\n'

    found = formats.identify(handmade.Memory(handmade.vmdk(descriptor=text))).container

    assert (found.creator, found.details["tools_version"]) == (None, "2147483647")


def test_padding_makes_nothing_of_what_is_marked_at_its_start() -> None:
    for (name, data), padding in itertools.product(
        {"qcow2": handmade.qcow2(), "vdi": handmade.vdi(), "vmdk": handmade.vmdk()}.items(),
        (512, 65536),
    ):
        found = formats.identify(handmade.Memory(data + bytes(padding))).container
        assert found.format == name
