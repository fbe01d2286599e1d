"""What is said, word for word, of every file that the tests beside this one make, and of ``edges``.

One table for each group of files in ``said``, written by ``python tests/every_field.py``.  The tests that
make the files say what is right about them; here nothing else may change unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import edges
import handmade
import pytest
import test_identify
import test_optical
import test_qcow2
import test_raw_and_packed
import test_vhd
import test_vmdk_vdi_vhdx
from handmade import MIB, Memory
from test_every_field import tell

from pipeline.source import Reader
from tests import every_field

HERE = Path(__file__).parent


def _first(cases: Mapping[str, tuple[bytes, object]]) -> dict[str, bytes]:
    return {name: image for name, (image, _) in cases.items()}


def _damaged() -> dict[str, bytes]:
    whole = bytes(test_vhd.good())
    timeless = [name for name in test_vhd.MUTATIONS if name != "made in the future"]
    changes = {name: test_vhd.MUTATIONS[name][0] for name in timeless} | test_vhd.HARMLESS
    return {name: bytes(change(bytearray(whole))) for name, change in changes.items()}


def _fixed() -> dict[str, bytes]:
    starts = {
        "mbr": handmade.mbr().ljust(MIB, b"\0"),
        "disc": handmade.iso(),
        "luks": b"LUKS\xba\xbe\0\1".ljust(MIB, b"\0"),
        "qcow2": handmade.qcow2(),
        "cpio": b"070701".ljust(512, b"\0"),
    }
    return {name: test_identify.fixed_vhd(start) for name, start in starts.items()}


GROUPS: dict[str, Callable[[], Mapping[str, Reader | bytes]]] = {
    "made-qcow2": lambda: _first(test_qcow2.HOSTILE),
    "made-others": lambda: _first(test_vmdk_vdi_vhdx.HOSTILE) | test_vmdk_vdi_vhdx.VMDK_TEXTS,
    "made-discs": lambda: {name: case[0] for name, case in test_optical.DISCS.items()},
    "made-packed": lambda: _first(test_raw_and_packed.PACKED),
    "made-raw": lambda: _first(test_raw_and_packed.NO_DISKS) | test_raw_and_packed.RAW,
    "made-polyglots": lambda: test_identify.POLYGLOTS,
    "made-fixed": _fixed,
    "made-vhd": _damaged,
    **edges.GROUPS,
}
STRUCTURES = tuple(GROUPS)


def compare(name: str) -> None:
    """One group with the table that is stored; a case whose name has a dot is a file of that name."""
    told = {case: _tell(case, image) for case, image in GROUPS[name]().items()}
    every_field.check(HERE / "said", name, every_field.cases(told, lambda facts: facts))


def _tell(name: str, image: Reader | bytes) -> dict[str, Any]:
    reader = Memory(image) if isinstance(image, bytes) else image
    return tell(name if "." in name else "")(reader)


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said_of_every_case(name: str) -> None:
    compare(name)
