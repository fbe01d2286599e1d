"""Every key of a Windows guest's registry otherwise: what is said then, word for word."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import varied
from guests import Disk, facts, trees
from phony import Directory, Memory, builder, files_of

from pipeline.guest import databases, windows
from pipeline.guest.survey import Volume
from tests import every_field

HERE = Path(__file__).parent
TABLES = varied.Tables(HERE / "said")
STRUCTURES, compare = TABLES.made, TABLES.compare
pytestmark = pytest.mark.needs("module:hivex")

C, CV = "ControlSet001", "Microsoft/Windows/CurrentVersion"
SESSION = f"{C}/Control/Session Manager"
SYSTEM: dict[str, dict[str, Any]] = {
    "Select": {"Current": 1},
    f"{C}/Control/ProductOptions": {"ProductType": "ServerNT"},
    f"{SESSION}/Power": {"HiberbootEnabled": 1},
    SESSION: {"PendingFileRenameOperations": ["a", ""], "PendingFileRenameOperations2": ["", ""]},
    f"{SESSION}/Memory Management": {"PagingFiles": ["C:\\p f.sys 16 32", "?:\\pagefile.sys", ""]},
    f"{C}/Control/Terminal Server": {"fDenyTSConnections": 1},
    f"{C}/Control/Terminal Server/WinStations/RDP-Tcp": {"UserAuthentication": 1},
    f"{C}/Control/TimeZoneInformation": {"RealTimeIsUniversal": 1, "TimeZoneKeyName": "UTC"},
    f"{C}/Services/viostor": {"Start": 0},
    f"{C}/Services/netkvm": {"Start": 3},
    f"{C}/Services/QEMU-GA": {"Start": 2},
    f"{C}/Services/RdAgent": {"Start": 3},
}
SOFTWARE: dict[str, dict[str, Any]] = {
    "Microsoft/Windows NT/CurrentVersion": {
        "ProductName": "Windows Server 2022 Standard Evaluation",
        "InstallationType": "Server",
        "EditionID": "ServerStandardEval",
        "CurrentBuildNumber": "20348",
        "CurrentMajorVersionNumber": 10,
        "CurrentMinorVersionNumber": 0,
        "CurrentVersion": "6.3",
        "InstallDate": 1_700_000_000,
    },
    "Microsoft/Windows NT/CurrentVersion/Winlogon": {"AutoAdminLogon": "1"},
    f"{CV}/Setup/State": {"ImageState": "IMAGE_STATE_COMPLETE"},
    f"{CV}/Component Based Servicing/RebootPending": {"x": 1},
    f"{CV}/WindowsUpdate/Auto Update/RebootRequired": {"x": 1},
    "Microsoft/Updates": {"UpdateExeVolatile": 1},
}
FILES: dict[str, Any] = {
    "WINDOWS/system32/config/SOFTWARE": b"x",
    "WINDOWS/system32/config/SYSTEM": b"x",
    "WINDOWS/system32/cmd.exe": trees.pe(),
    "WINDOWS/WinSxS/pending.xml": b"x",
    "ProgramData/Amazon/EC2-Windows/Launch/a": b"x",
    "hiberfil.sys": b"HIBR....",
    "Program Files/Microsoft SQL Server/MSSQL15.X/MSSQL/DATA/master.MDF": b"x",
    "Program Files/Microsoft SQL Server/Client/x": b"x",
}
Hives = Mapping[str, Mapping[str, Mapping[str, Any]]]


def read(
    hives: Hives, path: str, wanted: Sequence[tuple[Sequence[str], Sequence[str]]]
) -> list[Any]:
    """What a real hive with these keys answers."""
    with tempfile.TemporaryDirectory() as directory:
        keys = {key: dict(values) for key, values in hives[path.rsplit("/", 1)[1]].items()}
        builder("guest_windows").hive(Path(directory) / "hive", keys)
        return Directory(Path(directory)).hive("/hive", wanted)


def tell(hives: Hives, files: Mapping[str, Any] = FILES) -> dict[str, Any]:
    """All that is said of a Windows."""
    tree = files_of(dict(files))
    found = varied.told(lambda: windows.facts(tree, lambda path, wanted: read(hives, path, wanted)))
    return found | {"root": windows.looks_like_root(tree), "databases": databases.windows(tree)}


def _otherwise(values: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in values.items():
        yield f"{name} gone", {other: values[other] for other in values if other != name}
        changed: Sequence[Any] = ([], ["", "x"], "text", 1)
        if isinstance(value, int):
            changed = (0, 1, 2, 3, 4, 5, 999, 1000, 0xFFFFFFFF, "1")
        elif isinstance(value, str):
            changed = (
                "",
                "0",
                "1",
                " 1 ",
                f"{value}x",
                value.lower(),
                "EnterpriseEval",
                "ServerEvalCor",
                1,
            )
        for new in changed:
            yield f"{name} = {new!r}", {**values, name: new}


@TABLES
def registry() -> Iterator[str]:
    """Each key without, and each value otherwise."""
    hives = {"SYSTEM": SYSTEM, "SOFTWARE": SOFTWARE}
    known = tell(hives)
    yield from every_field.otherwise({}, known).split("; ")
    for hive, keys in hives.items():
        for key, values in keys.items():
            gone = {other: keys[other] for other in keys if other != key}
            ways = [
                ("gone", gone),
                *((label, {**keys, key: new}) for label, new in _otherwise(values)),
            ]
            for label, new_keys in ways:
                said = tell({**hives, hive: new_keys})
                yield f"{key} {label}  {varied.otherwise(known, said)}".rstrip()


@TABLES
def starts_of_services() -> Iterator[str]:
    """Each driver and agent at each way to start."""
    for start in range(6):
        services = {
            f"{C}/Services/{name}": {"Start": start} for name in (*windows.DRIVERS, *windows.AGENTS)
        }
        found = tell({"SYSTEM": {**SYSTEM, **services}, "SOFTWARE": {}})
        yield from (
            f"{start} {name}  {found[name]}"
            for name in found
            if name.startswith(("drivers", "agents"))
        )
    for current in (1, 2, 999, 1000):
        other = {
            "Select": {"Current": current},
            f"ControlSet{current:03}/Services/ena": {"Start": 0},
        }
        yield f"set {current}  {every_field.otherwise({}, tell({'SYSTEM': other, 'SOFTWARE': {}}))}"


@TABLES
def files_of_windows() -> Iterator[str]:
    """Each file otherwise."""
    hives: Hives = {"SYSTEM": {}, "SOFTWARE": {}}
    known = tell(hives)
    for label, files in varied.trees(FILES):
        yield f"{label}  {varied.otherwise(known, tell(hives, files))}".rstrip()
    for head in (b"hibr", b"HIBR", b"wake", b"\0\0\0\0", b"hib", b"hibrx", b"x"):
        yield f"{head!r}  {tell(hives, {**FILES, 'hiberfil.sys': head})['hibernated']}"


class Tree(Memory):
    """A volume with a Windows on it, whose hives are real ones."""

    def hive(self, path: str, wanted: Any) -> Any:
        return read({"SYSTEM": SYSTEM, "SOFTWARE": SOFTWARE}, path, wanted)


class WindowsDisk(Disk):
    """A disk with that volume."""

    def mount(self, device: str, kind: str) -> Memory:
        return Tree(FILES)


@TABLES
def windows_section() -> Iterator[str]:
    """All that the section says of a Windows."""
    volume = Volume("/dev/sda1", 0, 1 << 30, "ntfs", 1, clean=True)
    guest = WindowsDisk((volume,), (FILES,))
    yield from every_field.otherwise({}, varied.told(lambda: facts(guest))).split("; ")


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said_of_every_window(name: str) -> None:
    compare(name)
