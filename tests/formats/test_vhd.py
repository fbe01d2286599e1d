"""The strict VHD inspector: every mutation has its own finding, and nothing in the bytes raises."""

from __future__ import annotations

import json
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import vhd_files as files
from hypothesis import given, settings
from hypothesis import strategies as st
from vhd_files import entry, ours, set_entry, set_footer, set_header

from pipeline import profile
from pipeline.formats import vhd_bytes
from pipeline.formats.bounded import BoundedReader
from pipeline.formats.vhd import Vhd

MIB = 1 << 20
IN_TWO_HOURS = int(time.time()) - vhd_bytes.EPOCH_2000 + 7200

Mutation = Callable[[bytearray], "bytearray | bytes"]


def good() -> bytearray:
    return ours(40 * MIB, [1, 3, 4])


def damage(data: bytes) -> set[str]:
    return {problem.rule for problem in Vhd().inspect(files.Bytes(data)).problems}


def rules(data: bytes) -> set[str]:
    """Everything about the container that XenServer's profile holds against it."""
    return damage(data) | files.against_xenserver(data)


def poke(data: bytearray, offset: int, value: bytes) -> bytearray:
    data[offset : offset + len(value)] = value
    return data


def batmap_at(data: bytearray) -> int:
    return data.index(b"tdbatmap")


def mark_unallocated(data: bytearray) -> bytearray:
    at = batmap_at(data) + 512
    data[at] |= 0x80  # block 0 is not stored
    return poke(
        data, at - 512 + 24, struct.pack(">I", vhd_bytes.checksum(bytes(data[at : at + 512])))
    )


def spare_entry(data: bytearray) -> bytearray:
    return set_entry(set_header(data, entries=21), 20, 0xFFFFFFFF)


def resized(data: bytearray) -> bytearray:
    return set_footer(data, current_size=40 * MIB - 512, original_size=40 * MIB - 512)


def both(data: bytearray, offset: int, value: bytes) -> bytearray:
    """Change both footers without mending their checksums."""
    return poke(poke(data, offset, value), len(data) - 512 + offset, value)


MUTATIONS: dict[str, tuple[Mutation, set[str]]] = {
    "creator vpc": (
        lambda d: set_footer(d, creator=b"vpc "),
        {"vhd-creator", "container-disagreement"},
    ),
    "creator tap and a space": (
        lambda d: set_footer(d, creator=b"tap "),
        {"vhd-creator", "vhd-size-ambiguous"},
    ),
    "version 1.2": (lambda d: set_footer(d, creator_version=0x10002), {"vhd-creator-version"}),
    "version 5.3": (lambda d: set_footer(d, creator_version=0x50003), {"vhd-creator-version"}),
    "saved state": (lambda d: set_footer(d, saved_state=1), {"vhd-saved-state"}),
    "hidden": (lambda d: set_footer(d, hidden=1), {"vhd-hidden"}),
    "made in the future": (lambda d: set_footer(d, timestamp=IN_TWO_HOURS), {"vhd-timestamp"}),
    "null uuid": (lambda d: set_footer(d, uuid=bytes(16)), {"vhd-uuid"}),
    "geometry too big": (
        lambda d: set_footer(d, cylinders=65535, heads=16, sectors=255),
        {"vhd-geometry"},
    ),
    "features 0": (lambda d: set_footer(d, features=0), {"vhd-reserved-fields"}),
    "unknown feature": (lambda d: set_footer(d, features=6), {"vhd-reserved-fields"}),
    "reserved byte": (
        lambda d: set_footer(d, reserved=b"\1" + bytes(425)),
        {"vhd-reserved-fields"},
    ),
    "file format version 2": (lambda d: set_footer(d, version=0x20000), {"vhd-version"}),
    "disk type 6": (lambda d: set_footer(d, disk_type=6), {"vhd-type", "vhd-dynamic"}),
    "end footer corrupt": (
        lambda d: poke(d, len(d) - 400, b"!"),
        {"vhd-footer", "vhd-footers-differ"},
    ),
    "end footer gone": (lambda d: d[:-512], {"vhd-footer"}),
    "copy corrupt": (lambda d: poke(d, 100, b"!"), {"vhd-footer-copy", "vhd-footers-differ"}),
    "copy gone": (lambda d: poke(d, 0, bytes(512)), {"vhd-footer-copy"}),
    "both footers' checksums": (
        lambda d: both(d, 64, b"\0\0\0\0"),
        {"vhd-footer", "vhd-footer-copy"},
    ),
    "footers disagree about the size": (
        lambda d: set_footer(d, both=False, original_size=1 << 40),
        {"vhd-footers-differ"},
    ),
    "journal in progress": (lambda d: set_footer(d, cookie=b"v_poison"), {"vhd-journal"}),
    "sector appended": (lambda d: d + bytes(512), {"vhd-trailing-bytes"}),
    "one byte appended": (lambda d: d + b"!", {"vhd-trailing-bytes"}),
    "511-byte footer": (lambda d: d[:-1], {"vhd-short-footer"}),
    "511 bytes of a footer that ends in no zero": (
        lambda d: set_footer(d, reserved=bytes(425) + b"!")[:-1],
        {"vhd-short-footer", "vhd-footer", "vhd-reserved-fields"},
    ),
    "header cookie": (lambda d: set_header(d, cookie=b"cxsparsf"), {"vhd-header"}),
    "header checksum": (lambda d: poke(d, 1000, b"!"), {"vhd-header"}),
    "header version": (lambda d: set_header(d, version=0x20000), {"vhd-header"}),
    "header reserved": (
        lambda d: set_header(d, reserved2=b"!" + bytes(255)),
        {"vhd-reserved-fields"},
    ),
    "block size 0": (lambda d: set_header(d, block_size=0), {"vhd-header"}),
    "block size 512": (lambda d: set_header(d, block_size=512), {"vhd-header"}),
    "block size 1024": (lambda d: set_header(d, block_size=1024), {"vhd-header"}),
    "block size 2048": (lambda d: set_header(d, block_size=2048), {"vhd-header"}),
    "block size 513": (lambda d: set_header(d, block_size=513), {"vhd-header"}),
    "block size 2 GiB": (lambda d: set_header(d, block_size=1 << 31), {"vhd-header"}),
    "table behind the end": (lambda d: set_header(d, table_offset=1 << 40), {"vhd-bat"}),
    "table not aligned": (lambda d: set_header(d, table_offset=1537), {"vhd-bat"}),
    "table on the copy": (lambda d: set_header(d, table_offset=0), {"vhd-bat"}),
    "table on the header": (lambda d: set_header(d, table_offset=1024), {"vhd-bat"}),
    "table huge": (lambda d: set_header(d, entries=0xFFFFFFFF), {"vhd-bat"}),
    "one entry too few": (lambda d: set_header(d, entries=19), {"vhd-bat"}),
    "header behind the end": (lambda d: set_footer(d, data_offset=1 << 40), {"vhd-header"}),
    "table entry too many": (spare_entry, {"vhd-bat-exact"}),
    "size not a multiple": (resized, {"vhd-size-multiple"}),
    "batmap byte flipped": (lambda d: poke(d, batmap_at(d) + 1000, b"\1"), {"vhd-batmap"}),
    "batmap gone": (lambda d: poke(d, batmap_at(d), bytes(8)), {"vhd-batmap"}),
    "batmap of size 0": (lambda d: poke(d, batmap_at(d) + 16, bytes(4)), {"vhd-batmap"}),
    "batmap elsewhere": (lambda d: poke(d, batmap_at(d) + 8, b"\x7f"), {"vhd-batmap"}),
    "batmap of version 9": (lambda d: poke(d, batmap_at(d) + 20, b"\0\1\0\x09"), {"vhd-batmap"}),
    "batmap marks an unallocated block": (mark_unallocated, {"vhd-batmap"}),
    "blocks the same": (lambda d: set_entry(d, 4, entry(d, 3)), {"vhd-block-overlap"}),
    "blocks overlap": (lambda d: set_entry(d, 4, entry(d, 3) + 8), {"vhd-block-overlap"}),
    "block behind the end": (lambda d: set_entry(d, 4, 1 << 30), {"vhd-block-bounds"}),
    "block over the footer": (lambda d: set_entry(d, 4, entry(d, 4) + 8), {"vhd-block-bounds"}),
    "block over the header": (lambda d: set_entry(d, 1, 1), {"vhd-block-bounds"}),
    "block at 0": (lambda d: set_entry(d, 1, 0), {"vhd-block-bounds"}),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_mutation_is_its_own_finding(name: str) -> None:
    change, expected = MUTATIONS[name]

    assert rules(bytes(change(good()))) == expected


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_problem_says_where(name: str) -> None:
    data = bytes(MUTATIONS[name][0](good()))

    for problem in Vhd().inspect(files.Bytes(data)).problems:
        assert problem.rule in Vhd.checks
        assert problem.detail.isprintable()
        assert problem.offset is not None
        assert 0 <= problem.offset <= len(data)


POLICY = {
    "vhd-dynamic", "vhd-creator", "vhd-creator-version", "vhd-size-multiple", "vhd-block-size",
    "vhd-bat-exact", "vhd-geometry", "vhd-timestamp", "vhd-uuid", "vhd-hidden", "vhd-saved-state",
    "vhd-type", "vhd-max-size",
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_parser_speaks_of_damage_and_leaves_policy_to_the_profile(name: str) -> None:
    change, expected = MUTATIONS[name]
    data = bytes(change(good()))

    seen = damage(data)
    assert not seen & POLICY
    assert not POLICY & set(Vhd.checks)
    assert seen | files.against_xenserver(data) == expected


def test_a_file_of_ours_has_no_problem() -> None:
    assert rules(bytes(good())) == set()


HARMLESS: dict[str, Mutation] = {
    "host OS": lambda d: set_footer(d, creator_os=0x5769326B),
    "geometry 0": lambda d: set_footer(d, cylinders=0, heads=0, sectors=0),
    "time stamp 0": lambda d: set_footer(d, timestamp=0),
    "original size": lambda d: set_footer(d, original_size=2 * MIB),
    "padding of the table": lambda d: poke(d, 1536 + 80, b"\xff" * 432),
    "temporary": lambda d: set_footer(d, features=3),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_xenserver_takes_is_no_problem(name: str) -> None:
    assert rules(bytes(HARMLESS[name](good()))) == set()


@pytest.mark.parametrize("rule", Vhd.checks)
def test_every_rule_has_its_requirement(rule: str) -> None:
    requirement = profile.find_requirement(rule)

    assert requirement.rule == rule


def test_the_facts() -> None:
    found = Vhd().inspect(files.Bytes(good()))

    assert (found.format, found.variant, found.creator) == ("vhd", "dynamic", "tap")
    assert found.virtual_size == 40 * MIB
    assert found.uuid == str(files.UUID_1)
    assert found.details["creator_code"] == "74617000"
    assert found.details["creator_version"] == "1.3"
    assert found.details["timestamp"] == "2000-01-01T00:00:00Z"
    assert found.details["allocated_blocks"] == 3
    assert found.details["batmap"] == {"offset": 2560, "sectors": 1, "full_blocks": 3}


def test_a_parent_is_named_with_its_escapes_made_harmless() -> None:
    data = set_footer(good(), disk_type=4)
    set_header(data, parent_name="base\x1b[31m.vhd".encode("utf-16-be").ljust(512, b"\0"))

    found = Vhd().inspect(files.Bytes(data))

    assert found.variant == "differencing"
    assert found.external_references == ("base\\x1b[31m.vhd",)
    assert {item.rule for item in found.problems} == {"vhd-parent"}


def test_a_dynamic_disk_with_a_locator_names_a_parent() -> None:
    data = good()
    set_header(data, locators=b"W2ru" + bytes(20 + 168))

    found = Vhd().inspect(files.Bytes(data))

    assert found.external_references == ("a locator W2ru",)
    assert {item.rule for item in found.problems} == {"vhd-parent"}


def test_an_unnamed_parent_is_still_one() -> None:
    assert "vhd-parent" in rules(set_footer(good(), disk_type=4))


@pytest.fixture
def fixed() -> bytearray:
    footer = vhd_bytes.Footer.unpack(bytes(good()[-512:]))
    values = {**footer.__dict__, "disk_type": 2, "data_offset": vhd_bytes.NO_OFFSET}
    return bytearray(b"disk" * (10 * MIB)) + vhd_bytes.Footer(**values).pack()


def test_a_fixed_disk_only_is_not_dynamic(fixed: bytearray) -> None:
    assert rules(fixed) == {"vhd-dynamic"}


def test_a_fixed_disk_cut_short(fixed: bytearray) -> None:
    assert rules(fixed[-(20 * MIB) :]) == {"vhd-dynamic", "vhd-truncated"}


def test_a_fixed_disk_with_bytes_before_the_footer(fixed: bytearray) -> None:
    assert rules(bytes(512) + fixed) == {"vhd-dynamic", "vhd-trailing-bytes"}


def test_a_fixed_disk_that_begins_like_a_dynamic_one(fixed: bytearray) -> None:
    data = good()[:1536] + fixed[1536:]

    assert "vhd-footers-differ" in rules(data)


def test_a_fixed_disk_without_footer_is_no_vhd(fixed: bytearray) -> None:
    assert not Vhd().matches(files.Bytes(fixed[:-512]))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 511, 512, 513, 1535, 2048])
def test_a_file_of_few_bytes_is_judged(size: int) -> None:
    reader = files.Bytes(good()[:size])

    if Vhd().matches(reader):
        assert Vhd().inspect(reader).problems


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.one_of(st.integers(0, 3600), st.integers(-512, -1)), st.integers(1, 255)),
        min_size=1,
        max_size=6,
    )
)
def test_no_bytes_make_it_raise(flips: list[tuple[int, int]]) -> None:
    data = good()
    for offset, mask in flips:
        data[offset] ^= mask

    reader = files.Bytes(data)
    if Vhd().matches(reader):
        Vhd().inspect(reader)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_cut_file_is_never_accepted(data: st.DataObject) -> None:
    whole = good()
    length = data.draw(st.integers(8, len(whole) - 2))

    assert rules(bytes(whole[:length])) - {"vhd-short-footer"}


def test_a_million_bad_entries_are_judged_quickly() -> None:
    data = ours(2040 << 30, [])
    entries = 2040 << 9
    data[1536 : 1536 + 4 * entries] = struct.pack(">I", 12345) * entries

    began = time.monotonic()
    found = Vhd().inspect(files.Bytes(data))

    assert time.monotonic() - began < 10
    assert len(found.problems) < 40
    assert {"vhd-block-bounds", "vhd-block-overlap"} <= {item.rule for item in found.problems}


def test_a_reader_with_a_budget_is_not_asked_for_a_huge_table() -> None:
    data = ours(2040 << 30, [7])

    bounded = Vhd().inspect(BoundedReader(files.Bytes(data)))
    whole = Vhd().inspect(files.Bytes(data))

    assert bounded.details["table_checked"] is False
    assert whole.details["table_checked"] is True
    assert whole.problems == ()


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("options", ["subformat=dynamic", "subformat=dynamic,force_size=on"])
def test_qemus_dynamic_vhd_only_lacks_what_xenserver_wants(tmp_path: Path, options: str) -> None:
    raw = files.raw_disk(tmp_path / "disk.raw", 401 * MIB + 1536)
    files.qemu_img("convert", "-f", "raw", "-O", "vpc", "-o", options, raw, tmp_path / "q.vhd")

    found = rules((tmp_path / "q.vhd").read_bytes())

    expected = {"vhd-creator", "vhd-creator-version", "vhd-size-multiple", "vhd-batmap"}
    assert found - {"vhd-geometry"} == expected
    assert ("vhd-geometry" in found) == ("force_size" in options)


@pytest.mark.parametrize("creator", [b"vbox", b"vs  ", b"wa\0\0"])
def test_a_vhd_whose_creator_makes_some_qemu_take_the_geometry_is_told(creator: bytes) -> None:
    data = set_footer(good(), creator=creator, cylinders=60, heads=4, sectors=17)

    found = Vhd().inspect(files.Bytes(data))

    ambiguous = [item for item in found.problems if item.rule == "vhd-size-ambiguous"]
    assert found.virtual_size == 40 * MIB
    assert ["2088960 bytes" in item.detail for item in ambiguous] == [True]


def test_a_vhd_whose_writer_goes_by_the_geometry_is_two_disks() -> None:
    # given the size of Virtual PC's own disk of 127 GiB
    data = set_footer(
        good(), creator=b"vpc ", current_size=136365211648, cylinders=65278, heads=16, sectors=255
    )

    found = Vhd().inspect(files.Bytes(data))

    (detail,) = (item.detail for item in found.problems if item.rule == "container-disagreement")
    assert "imgprep reads 136365211648 bytes, qemu-img reads 136363130880" in detail
    assert "vhd-size-ambiguous" not in {item.rule for item in found.problems}


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("creator", [b"vpc ", b"qemu", b"win ", b"qem2", b"tap\0", b"CTXS"])
def test_the_size_that_qemu_reads_is_the_one_that_is_told(
    tmp_path: Path, creator: bytes, fixed: bool
) -> None:
    made = bytes(set_footer(good(), creator=creator, cylinders=60, heads=4, sectors=17))
    if fixed:
        changed = bytearray(made[-512:])
        changed[16:24], changed[63] = b"\xff" * 8, 2
        made = bytes(40 * MIB) + bytes(set_footer(changed))
    path = tmp_path / "x.vhd"
    path.write_bytes(made)
    told = subprocess.run(
        ["qemu-img", "info", "--output=json", "-f", "vpc", path], capture_output=True, check=True
    )
    theirs = json.loads(told.stdout)["virtual-size"]

    found = Vhd().inspect(files.Bytes(made))

    disagrees = [item for item in found.problems if item.rule == "container-disagreement"]
    assert bool(disagrees) == (theirs != found.virtual_size)
    assert all(str(theirs) in item.detail for item in disagrees)
