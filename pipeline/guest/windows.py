r"""What a Windows guest is, from its registry and a few files.

    SOFTWARE  Microsoft\Windows NT\CurrentVersion          ProductName, InstallationType, build
    SYSTEM    Select: Current                              which ControlSet00N is in force
              ControlSet00N\Control\ProductOptions         ProductType: WinNT, ServerNT, LanmanNT
    hiberfil.sys                                           its first bytes: "hibr" while hibernated

InstallationType cannot tell a domain controller from another server; ProductType can (LanmanNT).
https://learn.microsoft.com/windows-server/administration/performance-tuning (ProductOptions);
https://github.com/libyal/winreg-kb
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from pipeline.guest.tree import Files, TreeError
from pipeline.text import clean

LARGEST_HIVE = 256 << 20  # bytes; SOFTWARE usually has 60 to 100 MiB

ReadHive: TypeAlias = Callable[
    [str, Sequence[tuple[Sequence[str], Sequence[str]]]], Sequence[Mapping[str, Any]]
]
"""Values of a registry hive: path within the tree, then (keys from its root, value names)."""

_VERSION = ("Microsoft", "Windows NT", "CurrentVersion")
_VERSION_VALUES = (
    "ProductName",
    "InstallationType",
    "EditionID",
    "CurrentBuildNumber",
    "CurrentMajorVersionNumber",
    "CurrentMinorVersionNumber",
    "CurrentVersion",
)
_PE_MACHINES = {0x014C: "i386", 0x8664: "x86_64", 0xAA64: "aarch64", 0x01C4: "arm"}


def looks_like_root(files: Files) -> bool:
    """Whether a file system holds a Windows system."""
    return fold(files, "/Windows/System32/config/SOFTWARE") is not None


def fold(files: Files, path: str) -> str | None:
    """The path as the file system writes it: Windows does not mind upper or lower case."""
    done = ""
    for part in path.strip("/").split("/"):
        if files.entry(f"{done}/{part}") is None:
            names = (name for name in files.names(done or "/") if name.lower() == part.lower())
            found = next(names, None)
            if found is None:
                return None
            part = found
        done = f"{done}/{part}"
    return done


def facts(files: Files, read_hive: ReadHive) -> dict[str, Any]:
    """The ``windows`` fact, with ``product_name``, ``version`` and ``arch`` among it."""
    software = _hive(files, read_hive, "SOFTWARE", [(_VERSION, _VERSION_VALUES)])[0]
    return {
        "product_name": _text(software.get("ProductName")),
        "installation_type": _text(software.get("InstallationType")),
        "edition": _text(software.get("EditionID")),
        "version": _version(software),
        "arch": _arch(files),
        **_system(files, read_hive),
        "hibernated": _hibernated(files),
    }


def _system(files: Files, read_hive: ReadHive) -> dict[str, Any]:
    current = _hive(files, read_hive, "SYSTEM", [(("Select",), ("Current",))])[0].get("Current")
    chosen = f"ControlSet{current if isinstance(current, int) and 0 < current < 1000 else 1:03}"
    options, power = _hive(
        files,
        read_hive,
        "SYSTEM",
        [
            ((chosen, "Control", "ProductOptions"), ("ProductType",)),
            ((chosen, "Control", "Session Manager", "Power"), ("HiberbootEnabled",)),
        ],
    )
    fast = power.get("HiberbootEnabled")
    return {
        "product_type": _text(options.get("ProductType")),
        "fast_startup": None if fast is None else bool(fast),
    }


def _hive(
    files: Files,
    read_hive: ReadHive,
    name: str,
    wanted: Sequence[tuple[Sequence[str], Sequence[str]]],
) -> Sequence[Mapping[str, Any]]:
    path = fold(files, f"/Windows/System32/config/{name}")
    found = files.find(path) if path else None
    if found is None or found.entry.kind != "file":
        raise TreeError(f"there is no registry hive {name}")
    if found.entry.size > LARGEST_HIVE:
        raise TreeError(f"the registry hive {name} has {found.entry.size} bytes")
    return read_hive(found.path, wanted)


def _text(value: Any) -> str | None:
    return clean(value, 200) if isinstance(value, str) and value else None


def _version(software: Mapping[str, Any]) -> str | None:
    """``10.0.20348``; before Windows 10 the first two parts stood in CurrentVersion."""
    build = software.get("CurrentBuildNumber")
    major, minor = (software.get(f"Current{part}VersionNumber") for part in ("Major", "Minor"))
    start = f"{major}.{minor}" if major is not None else software.get("CurrentVersion")
    return clean(f"{start}.{build}" if build else str(start), 60) if start else None


def _arch(files: Files) -> str | None:
    """From a program's PE header: its offset stands at 60, the machine 4 bytes behind it."""
    path = fold(files, "/Windows/System32/cmd.exe")
    head = files.read(path, 4096) if path else None
    if not head or head[:2] != b"MZ" or len(head) < 64:
        return None
    at = int.from_bytes(head[60:64], "little")
    if head[at : at + 4] != b"PE\0\0":
        return None
    return _PE_MACHINES.get(int.from_bytes(head[at + 4 : at + 6], "little"))


def _hibernated(files: Files) -> bool:
    """Zeros or "wake" mean that the file was used up."""
    path = fold(files, "/hiberfil.sys")
    head = files.read(path, 4) if path else None
    return head is not None and head.lower() == b"hibr"
