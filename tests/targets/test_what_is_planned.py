"""Which target is chosen, what is it already, and what is planned of a disk as it is: exact values."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from vhd_files import MemoryDisk

from pipeline.errors import EnvironmentFailed, ImgprepError, ToolError, UsageError
from pipeline.formats.vhd_layout import Piece
from pipeline.model import Target
from pipeline.targets import choice, qemu
from pipeline.targets.artifact import open_artifact
from pipeline.targets.linear import FixedVhd, LinearLayout, Raw
from pipeline.targets.qemu import QemuFile
from pipeline.targets.tap_vhd import TapVhd

MIB, GIB = 1 << 20, 1 << 30
BLOCK = 2 * MIB
ONE = UUID(int=1)

# --- choice

VHD = Target(format="vhd", variant="dynamic", creator="tap", suffix=".vhd")


@pytest.mark.parametrize(
    ("target", "wish", "foreign"),
    [
        (VHD, VHD, False),
        (VHD, Target(format="vhd", suffix=".x"), False),
        (Target(format="vhd", variant="fixed", suffix=""), VHD, True),
        (Target(format="vhd", suffix=""), VHD, True),
        (Target(format="raw", suffix=""), Target(format="raw", packing="gzip", suffix=""), True),
        (Target(format="raw", suffix=""), Target(format="qcow2", suffix=""), True),
        (Target(format="raw", suffix=""), Target(format="raw", suffix=""), False),
    ],
)
def test_what_is_foreign_to_a_profile(target: Target, wish: Target, foreign: bool) -> None:
    assert choice.is_foreign(target, wish) is foreign


def test_the_format_that_is_asked_for_or_the_profile_s_own_wish() -> None:
    wish = replace_target(VHD, size_multiple=MIB)

    assert choice.chosen(wish, None) is wish
    assert choice.chosen(wish, "vhd") is wish
    assert choice.chosen(wish, "raw") == Target(format="raw", suffix=".raw")
    assert choice.chosen(wish, "vhd-fixed").variant == "fixed"
    with pytest.raises(UsageError) as error:
        choice.chosen(wish, "vmx")
    assert error.value.code == "format-unknown"
    assert error.value.hint.startswith("choose one of vhd, vhd-fixed, qcow2, ")


def replace_target(target: Target, **changes: Any) -> Target:
    values = {name: getattr(target, name) for name in target.__struct_fields__}
    return Target(**(values | changes))


@pytest.mark.parametrize("name", choice.FORMATS)
def test_who_makes_a_format(name: str) -> None:
    recipe = choice.FORMATS[name]

    assert choice.driver(recipe.target) is recipe.driver
    assert recipe.driver.planned is (name in ("vhd", "vhd-fixed", "raw"))


def test_a_format_that_was_read_from_a_file_is_the_same_word() -> None:
    read = Target(format="".join(("qcow", "2")), suffix="")

    assert choice.driver(read) is choice.FORMATS["qcow2"].driver


def test_how_qemu_is_told_what_to_write() -> None:
    told = {name: recipe.driver for name, recipe in choice.FORMATS.items()}

    assert told["qcow2"] == QemuFile()
    assert told["qcow2-compressed"] == QemuFile(compress=True)
    assert told["vmdk-sparse"] == QemuFile(("subformat=monolithicSparse",))
    assert isinstance(choice.driver(Target(format="vhd", suffix="")), TapVhd)


@pytest.mark.parametrize(
    ("format_", "most"),
    [
        ("vhd", 2040 * GIB),
        ("vhdx", 64 << 40),
        ("vdi", (0x1FFFFF8) * MIB * 16),
        ("qcow2", 2 << 50),
        ("raw", None),
        ("vmdk", None),
    ],
)
def test_the_largest_disk_that_a_format_holds(format_: str, most: int | None) -> None:
    target = Target(format=format_, suffix="", size_multiple=1024)

    choice.require_holds(target, most or 1 << 60)
    if most is not None:
        choice.require_holds(target, most - 1023)
        with pytest.raises(UsageError, match=f"and a {format_} holds at most") as error:
            choice.require_holds(target, most + 1)
        assert error.value.code == "target-impossible"


@pytest.mark.parametrize(("variant", "words"), [(None, "zip, which"), ("x", "zip (x), which")])
def test_what_nobody_makes(variant: str | None, words: str) -> None:
    target = Target(format="zip", variant=variant, suffix="")

    with pytest.raises(UsageError) as error:
        choice.driver(target)

    assert words in error.value.message
    assert choice.describe(target) == words.removesuffix(", which")


# --- what is the target already


def container(**changes: Any) -> Any:
    return {
        "format": "raw",
        "variant": None,
        "creator": None,
        "virtual_size": MIB,
        "problems": [],
        "details": {},
    } | changes


@pytest.mark.parametrize(
    ("changes", "conforms"),
    [
        ({}, True),
        ({"format": "vhd"}, False),
        ({"format": "qcow2"}, False),
        ({"problems": [{}]}, False),
        ({"virtual_size": None}, False),
        ({"virtual_size": MIB + 1}, False),
        ({"virtual_size": MIB - 1}, False),
        ({"variant": "any"}, True),
    ],
)
def test_a_raw_disk_that_need_not_be_rewritten(changes: Any, conforms: bool) -> None:
    target = Target(format="raw", suffix=".raw", size_multiple=MIB)

    assert Raw().conforms(container(**changes), target) is conforms


@pytest.mark.parametrize(
    ("changes", "conforms"),
    [
        ({}, True),
        ({"format": "raw"}, False),
        ({"variant": "dynamic"}, False),
        ({"problems": [{}]}, False),
        ({"virtual_size": MIB + 1}, False),
        ({"virtual_size": None}, False),
    ],
)
def test_a_fixed_vhd_that_need_not_be_rewritten(changes: Any, conforms: bool) -> None:
    seen = container(**({"format": "vhd", "variant": "fixed"} | changes))

    assert FixedVhd().conforms(seen, Target(format="vhd", suffix=".vhd")) is conforms


@pytest.mark.parametrize(
    ("changes", "conforms"),
    [
        ({}, True),
        ({"creator": "vbox"}, False),
        ({"variant": "fixed"}, False),
        ({"details": {"block_size": MIB}}, False),
        ({"problems": [{}]}, False),
        ({"virtual_size": BLOCK + 512}, False),
        ({"virtual_size": None}, False),
    ],
)
def test_a_dynamic_vhd_that_need_not_be_rewritten(changes: Any, conforms: bool) -> None:
    seen = {"format": "vhd", "variant": "dynamic", "creator": "tap", "virtual_size": BLOCK}
    seen |= {"details": {"block_size": BLOCK}} | changes

    assert TapVhd().conforms(container(**seen), VHD) is conforms


@pytest.mark.parametrize(
    ("changes", "variant", "conforms"),
    [
        ({}, None, True),
        ({}, "x", True),
        ({}, "y", False),
        ({"format": "raw"}, None, False),
        ({"format": "luks"}, None, False),
        ({"problems": [{}]}, None, False),
        ({"virtual_size": None}, None, False),
        ({"virtual_size": 513}, None, False),
    ],
)
def test_what_qemu_need_not_rewrite(changes: Any, variant: str | None, conforms: bool) -> None:
    seen = container(**({"format": "qcow2", "variant": "x"} | changes))

    target = Target(format="qcow2", variant=variant, suffix="")
    assert QemuFile().conforms(seen, target) is conforms


def test_the_map_of_a_disk_is_asked_for_before_its_blocks() -> None:
    asked: list[bool] = []

    def view(*, map_first: bool = False) -> MemoryDisk:
        asked.append(map_first)
        return MemoryDisk(BLOCK, {0: b"x"})

    made: Any = SimpleNamespace(
        disk=SimpleNamespace(view=view),
        unique_id=ONE,
        timestamp=7,
        zero_scan=True,
        cancellation=None,
        progress=None,
    )

    planned = TapVhd().make(VHD, made)
    with open_artifact(planned, made.disk) as opened:
        assert opened.read(0, 8) == b"conectix"

    assert planned.suffix == ".vhd"
    assert asked == [True, True]


# --- what qemu-img writes

MEASURED = SimpleNamespace(required=5000)


@pytest.mark.parametrize(
    ("driver", "format_", "free", "fits"),
    [
        (QemuFile(), "qcow2", 4999, False),
        (QemuFile(), "qcow2", 5000, True),
        (QemuFile(), "qcow2", 5001, True),
        (QemuFile(), "vdi", 0, True),
        (QemuFile(compress=True), "qcow2", 0, True),
    ],
)
def test_room_for_what_qemu_img_can_measure(
    tmp_path: Path, monkeypatch: Any, driver: QemuFile, format_: str, free: int, fits: bool
) -> None:
    monkeypatch.setattr(qemu.qemu_img, "measure", lambda *_, **__: MEASURED)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    target, made = Target(format=format_, suffix=""), SimpleNamespace(cancellation=None)
    args: Any = (None, target, made, tmp_path)

    if fits:
        driver._require_space(*args)
        return
    with pytest.raises(EnvironmentFailed, match=r"4\.882 KiB free, the output needs 4\.883"):
        driver._require_space(*args)


@pytest.mark.parametrize(
    ("code", "free", "raised"),
    [
        ("tool-failed", (1 << 20) - 1, "no-space"),
        ("tool-failed", 1 << 20, "conversion-failed"),
        ("tool-killed", 0, "no-space"),
        ("tool-missing", 0, "tool-missing"),
    ],
)
def test_why_qemu_img_wrote_nothing(
    tmp_path: Path, monkeypatch: Any, code: str, free: int, raised: str
) -> None:
    def convert(*_: Any, **__: Any) -> None:
        raise ToolError(code, "it said so", hint="do so")

    monkeypatch.setattr(qemu.qemu_img, "convert", convert)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    made: Any = SimpleNamespace(disk=SimpleNamespace(size=1), cancellation=None)

    with pytest.raises(ImgprepError) as error:
        QemuFile()._write(None, Target(format="vdi", suffix=""), made, tmp_path / "a")  # type: ignore[arg-type]

    assert error.value.code == raised


def test_how_far_qemu_img_is_is_told_in_bytes(tmp_path: Path, monkeypatch: Any) -> None:
    def convert(*_: Any, on_progress: Any, **__: Any) -> None:
        for part in (0.0, 0.25, 1.0):
            on_progress(part)

    monkeypatch.setattr(qemu.qemu_img, "convert", convert)
    told: list[tuple[int, int]] = []
    made: Any = SimpleNamespace(
        disk=SimpleNamespace(size=1001), cancellation=None, progress=lambda *at: told.append(at)
    )

    QemuFile()._write(None, Target(format="vdi", suffix=""), made, tmp_path / "a")  # type: ignore[arg-type]

    assert told == [(0, 1001), (250, 1001), (1001, 1001)]


# --- linear


def test_the_pieces_of_a_disk_as_it_is() -> None:
    layout = LinearLayout(10, 16, b"tail")

    assert (layout.size, layout.grid) == (20, (0, 2 << 20))
    assert list(layout.pieces(0, 100)) == [
        Piece(0, 10, "source", source_offset=0),
        Piece(10, 6, "zero"),
        Piece(16, 4, "literal", data=b"tail"),
    ]
    assert list(layout.pieces(3, 4)) == [Piece(3, 4, "source", source_offset=3)]
    assert list(layout.pieces(9, 3)) == [
        Piece(9, 1, "source", source_offset=9),
        Piece(10, 2, "zero"),
    ]
    assert list(layout.pieces(17, 2)) == [Piece(17, 2, "literal", data=b"ai")]
    assert list(layout.pieces(10, 6)) == [Piece(10, 6, "zero")]
    assert list(layout.pieces(20, 5)) == []
    assert list(LinearLayout(16, 16).pieces(0, 99)) == [Piece(0, 16, "source", source_offset=0)]


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"kind": "raw", "source_size": 10},
        {"kind": "raw", "source_size": [], "virtual_size": 10},
        {"kind": "raw", "source_size": -1, "virtual_size": 10},
        {"kind": "raw", "source_size": 11, "virtual_size": 10},
        {"kind": "fixed-vhd", "source_size": 512, "virtual_size": 512, "uuid": 7, "timestamp": 0},
        {"kind": "fixed-vhd", "source_size": 512, "virtual_size": 512, "uuid": str(ONE)},
    ],
)
def test_a_plan_that_is_none(plan: Any) -> None:
    with pytest.raises(ValueError, match=r"plan of a disk|does not fit|badly formed"):
        LinearLayout.from_plan(plan)


@pytest.mark.parametrize("size", [0, 10])
def test_a_plan_whose_disk_fits(size: int) -> None:
    found = LinearLayout.from_plan({"kind": "raw", "source_size": size, "virtual_size": 10})

    assert found == LinearLayout(size, 10)


def making(size: int) -> Any:
    disk = SimpleNamespace(view=lambda: SimpleNamespace(size=size))
    return SimpleNamespace(disk=disk, unique_id=ONE, timestamp=7)


def test_what_is_planned_of_a_disk() -> None:
    target = Target(format="raw", suffix=".raw", size_multiple=MIB)
    fixed = Target(format="vhd", variant="fixed", suffix=".vhd")

    raw, vhd = Raw().make(target, making(MIB + 1)), FixedVhd().make(fixed, making(MIB))

    assert (raw.virtual_size, raw.size, raw.suffix) == (2 * MIB, 2 * MIB, ".raw")
    assert raw.plan == {"kind": "raw", "source_size": MIB + 1, "virtual_size": 2 * MIB}
    assert (vhd.format, vhd.variant, vhd.size) == ("vhd", "fixed", MIB + 512)
    footer = LinearLayout.from_plan(vhd.plan).tail
    assert (footer[:8], footer[16:24], footer[24:28]) == (b"conectix", b"\xff" * 8, b"\0\0\0\7")
    assert (footer[60:64], footer[68:84]) == (b"\0\0\0\2", ONE.bytes)
