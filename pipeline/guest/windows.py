r"""What a Windows guest is, from its registry and a few files.

    SOFTWARE  Microsoft\Windows NT\CurrentVersion          ProductName, InstallationType, build
              …\Setup\State                                ImageState: how far sysprep is
              …\Component Based Servicing\RebootPending    the key is there: an update waits for a restart
              …\WindowsUpdate\Auto Update\RebootRequired   likewise
              Microsoft\Updates: UpdateExeVolatile         not 0: likewise, of an installer
              …\Winlogon: AutoAdminLogon                   "1": somebody is logged on at each start
    SYSTEM    Select: Current                              which ControlSet00N is in force
              ControlSet00N\Control\ProductOptions         ProductType: WinNT, ServerNT, LanmanNT
              ControlSet00N\Services\NAME                  Start: 0 boot … 4 disabled
              ControlSet00N\Control\Terminal Server        fDenyTSConnections: 0 lets remote desktop in
              ControlSet00N\Control\Session Manager        PendingFileRenameOperations, PagingFiles
    hiberfil.sys                                           its first bytes: "hibr" while hibernated

InstallationType cannot tell a domain controller from another server; ProductType can (LanmanNT).
https://learn.microsoft.com/windows-server/administration/performance-tuning (ProductOptions);
https://learn.microsoft.com/windows-hardware/manufacture/desktop/windows-setup-states;
https://learn.microsoft.com/windows-hardware/drivers/install/hklm-system-currentcontrolset-services-registry-tree;
https://github.com/libyal/winreg-kb
https://learn.microsoft.com/windows-server/get-started/upgrade-conversion-options (an evaluation's days)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.guest.registry import KEY, ReadHive
from pipeline.guest.tree import Files, TreeError
from pipeline.text import clean

LARGEST_HIVE = 256 << 20  # bytes; SOFTWARE usually has 60 to 100 MiB

_VERSION = ("Microsoft", "Windows NT", "CurrentVersion")
_VERSION_VALUES = (
    "ProductName",
    "InstallationType",
    "EditionID",
    "CurrentBuildNumber",
    "CurrentMajorVersionNumber",
    "CurrentMinorVersionNumber",
    "CurrentVersion",
    "InstallDate",
)
_WINDOWS = ("Microsoft", "Windows", "CurrentVersion")
_STATE = (*_WINDOWS, "Setup", "State")
_WAITING: tuple[tuple[tuple[str, ...], str, str], ...] = (
    ((*_WINDOWS, "Component Based Servicing", "RebootPending"), KEY,
     "component servicing (RebootPending)"),
    ((*_WINDOWS, "WindowsUpdate", "Auto Update", "RebootRequired"), KEY,
     "Windows Update (RebootRequired)"),
    (("Microsoft", "Updates"), "UpdateExeVolatile", "an update's installer (UpdateExeVolatile)"),
)  # fmt: skip
"""Keys of SOFTWARE, a value that is not 0, and what of it waits for a restart."""

_LOGON = (*_VERSION, "Winlogon")
_DAY = 86400
_EVALUATION_DAYS = {"server": 180, "client": 90}
_PE_MACHINES = {0x014C: "i386", 0x8664: "x86_64", 0xAA64: "aarch64", 0x01C4: "arm"}
_STARTS = ("boot", "system", "auto", "demand", "disabled")

DRIVERS = (
    "viostor", "vioscsi", "netkvm", "balloon",  # virtio
    "vmbus", "storvsc", "netvsc",  # Hyper-V
    "stornvme", "nvme", "storahci", "atapi", "intelide",
    "ena", "gve", "awsnvme",
    "xenbus", "xenvbd", "xenvif", "xennet", "xenfilt",
    "pvscsi", "vmxnet3ndis6", "LSI_SAS", "LSI_SCSI", "megasas",
)  # fmt: skip
"""Services of drivers that hypervisors and clouds ask for, in the writing of the facts."""

AGENTS = {
    "cloudbase-init": "cloudbase-init",
    "Ec2Config": "ec2config",
    "Amazon EC2Launch": "ec2launch",
    "AmazonSSMAgent": "amazon-ssm-agent",
    "GCEAgent": "google-guest-agent",
    "WindowsAzureGuestAgent": "azure-guest-agent",
    "RdAgent": "azure-guest-agent",
    "QEMU-GA": "qemu-guest-agent",
    "VMTools": "vmware-tools",
    "XenSvc": "xen-guest-agent",
    "xenagent": "xen-guest-agent",
    "VBoxService": "virtualbox-guest",
}
_AGENT_PLACES = (
    ("ec2launch", "/ProgramData/Amazon/EC2-Windows/Launch"),
    ("ec2launch", "/Program Files/Amazon/EC2Launch"),
)


@dataclass(frozen=True)
class Windows:
    """``section.WindowsFacts`` without what the disk tells."""

    product_name: str | None
    installation_type: str | None
    edition: str | None
    version: str | None
    arch: str | None
    product_type: str | None
    fast_startup: bool | None
    hibernated: bool
    evaluation: bool | None
    installed_at: int | None
    evaluation_ends: int | None
    drivers: dict[str, str]
    agents: tuple[str, ...]
    remote_desktop: bool | None
    network_level_authentication: bool | None
    sysprep_state: str | None
    pending_reboot: tuple[str, ...]
    page_files: tuple[str, ...]
    clock_is_utc: bool | None
    time_zone: str | None
    automatic_logon: bool


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


def facts(files: Files, read_hive: ReadHive) -> Windows:
    """All about a Windows guest.  Raises ``TreeError``."""
    software, state, logon, *waiting = _hive(
        files,
        read_hive,
        "SOFTWARE",
        [
            (_VERSION, _VERSION_VALUES),
            (_STATE, ("ImageState",)),
            (_LOGON, ("AutoAdminLogon",)),
            *((keys, (value,)) for keys, value, _ in _WAITING),
        ],
    )
    system = _system(files, read_hive)
    edition = _text(software.get("EditionID"))
    installed = _number(software.get("InstallDate"))
    denied = system.flag("desktop", "fDenyTSConnections")
    asked_first = system.number("rdp", "UserAuthentication")
    return Windows(
        product_name=_text(software.get("ProductName")),
        installation_type=_text(software.get("InstallationType")),
        edition=edition,
        version=_version(software),
        arch=_arch(files),
        product_type=_text(system.values["options"].get("ProductType")),
        fast_startup=system.flag("power", "HiberbootEnabled"),
        hibernated=_hibernated(files),
        evaluation=None if edition is None else _is_evaluation(edition),
        installed_at=installed,
        evaluation_ends=_evaluation_ends(edition, installed),
        drivers=system.drivers,
        agents=_agents(files, system.services),
        remote_desktop=None if denied is None else not denied,
        network_level_authentication=None if asked_first is None else asked_first == 1,
        sysprep_state=_text(state.get("ImageState")),
        pending_reboot=tuple(_pending(files, system, waiting)),
        page_files=tuple(_page_files(system)),
        clock_is_utc=bool(system.flag("zone", "RealTimeIsUniversal")),
        time_zone=_text(system.values["zone"].get("TimeZoneKeyName")),
        automatic_logon=str(logon.get("AutoAdminLogon", "0")).strip() == "1",
    )


def _is_evaluation(edition: str) -> bool:
    """``ServerStandardEval``, ``ServerDatacenterEvalCor``, ``EnterpriseEval``, ``EnterpriseSEval``."""
    return re.search(r"eval(?:cor)?$", edition, re.IGNORECASE) is not None


def _evaluation_ends(edition: str | None, installed: int | None) -> int | None:
    """When the evaluation ends, seconds since 1970, unless somebody extends it (slmgr /rearm)."""
    if edition is None or installed is None or not _is_evaluation(edition):
        return None
    kind = "server" if edition.lower().startswith("server") else "client"
    return installed + _EVALUATION_DAYS[kind] * _DAY


@dataclass(frozen=True)
class _System:
    """What the SYSTEM hive says."""

    values: Mapping[str, Mapping[str, Any]]  # by the name in _KEYS
    services: Mapping[str, int]  # service: Start

    def flag(self, name: str, value: str) -> bool | None:
        """Whether a number is not 0; None: there is no such number."""
        found = self.number(name, value)
        return None if found is None else found != 0

    def number(self, name: str, value: str) -> int | None:
        found = self.values[name].get(value)
        return found if isinstance(found, int) else None

    @property
    def drivers(self) -> dict[str, str]:
        named = {name: self.services[name] for name in DRIVERS if name in self.services}
        return {name: _STARTS[start] for name, start in named.items() if start < len(_STARTS)}


_RENAMES = ("PendingFileRenameOperations", "PendingFileRenameOperations2")
_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "options": (("Control", "ProductOptions"), ("ProductType",)),
    "power": (("Control", "Session Manager", "Power"), ("HiberbootEnabled",)),
    "session": (("Control", "Session Manager"), _RENAMES),
    "memory": (("Control", "Session Manager", "Memory Management"), ("PagingFiles",)),
    "desktop": (("Control", "Terminal Server"), ("fDenyTSConnections",)),
    "rdp": (("Control", "Terminal Server", "WinStations", "RDP-Tcp"), ("UserAuthentication",)),
    "zone": (("Control", "TimeZoneInformation"), ("RealTimeIsUniversal", "TimeZoneKeyName")),
}


def _system(files: Files, read_hive: ReadHive) -> _System:
    current = _hive(files, read_hive, "SYSTEM", [(("Select",), ("Current",))])[0].get("Current")
    chosen = f"ControlSet{current if isinstance(current, int) and 0 < current < 1000 else 1:03}"
    names = (*DRIVERS, *AGENTS)
    wanted: list[tuple[Sequence[str], Sequence[str]]] = [
        ((chosen, *keys), values) for keys, values in _KEYS.values()
    ]
    wanted += [((chosen, "Services", name), ("Start",)) for name in names]
    found = _hive(files, read_hive, "SYSTEM", wanted)
    starts = {
        name: item["Start"]
        for name, item in zip(names, found[len(_KEYS) :], strict=True)
        if isinstance(item.get("Start"), int)
    }
    return _System(dict(zip(_KEYS, found[: len(_KEYS)], strict=True)), starts)


def _agents(files: Files, services: Mapping[str, int]) -> tuple[str, ...]:
    found = [agent for service, agent in AGENTS.items() if services.get(service, 4) != 4]
    found += [name for name, path in _AGENT_PLACES if fold(files, path) is not None]
    return tuple(dict.fromkeys(found))


def _pending(files: Files, system: _System, waiting: Sequence[Mapping[str, Any]]) -> list[str]:
    """What waits for a restart; ``waiting``: what the keys of ``_WAITING`` hold."""
    found = [
        words
        for (_, value, words), seen in zip(_WAITING, waiting, strict=True)
        if seen.get(value, 0) != 0
    ]
    if fold(files, "/Windows/WinSxS/pending.xml") is not None:
        found.append("component servicing (WinSxS\\pending.xml)")
    session = system.values["session"]
    if any(text for name in _RENAMES for text in _strings(session.get(name))):
        found.append("files to be renamed at the next start")
    return found


def _page_files(system: _System) -> list[str]:
    r"""``C:\pagefile.sys`` of "C:\pagefile.sys 0 0"; "?:" is the system's own choice."""
    listed = _strings(system.values["memory"].get("PagingFiles"))
    return [clean(re.sub(r"(?: \d+)+$", "", item), 120) for item in listed if item][:8]


def _strings(value: Any) -> list[str]:
    """The strings of a REG_MULTI_SZ, which comes as hexadecimal."""
    if not isinstance(value, str):
        return []
    try:
        return bytes.fromhex(value).decode("utf-16-le", "replace").split("\0")
    except ValueError:
        return [value]


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


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


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
