"""What a Windows is and how it is left, from real registry hives."""

import pytest
from guests import Disk, facts
from phony import builder, planted

from pipeline.content.partitions import Partition, PartitionTable
from pipeline.guest import windows
from pipeline.guest.survey import Volume

pytestmark = pytest.mark.needs("module:hivex")
C = "ControlSet001"
MEMORY = f"{C}/Control/Session Manager/Memory Management"
NT = "Microsoft/Windows NT/CurrentVersion"
SERVICING = "Microsoft/Windows/CurrentVersion/Component Based Servicing"
UPDATE = "Microsoft/Windows/CurrentVersion/WindowsUpdate/Auto Update"
VERSION = {
    "ProductName": "Windows Server 2022",
    "EditionID": "ServerStandard",
    "CurrentBuildNumber": "20348",
}


@pytest.fixture
def looked_at(tmp_path):
    def look(**options):
        (tmp_path / "work").mkdir()
        tree = builder("guest_windows").tree(tmp_path / "work", **options)
        files = planted(tmp_path / "c", tree)
        return windows.facts(files, files.find("/").tree.hive)

    return look


@pytest.mark.parametrize(
    ("system", "name", "value"),
    [
        ({f"{C}/Services/viostor": {"Start": 0}}, "drivers", {"viostor": "boot"}),
        ({f"{C}/Services/netkvm": {"Start": 3}}, "drivers", {"netkvm": "demand"}),
        ({f"{C}/Services/storvsc": {"Start": 4}}, "drivers", {"storvsc": "disabled"}),
        ({f"{C}/Services/ena": {"Start": 77}}, "drivers", {}),
        ({f"{C}/Services/other": {"Start": 0}}, "drivers", {}),
        ({f"{C}/Services/cloudbase-init": {"Start": 2}}, "agents", ("cloudbase-init",)),
        ({f"{C}/Services/cloudbase-init": {"Start": 4}}, "agents", ()),
        ({f"{C}/Services/RdAgent": {"Start": 2}, f"{C}/Services/WindowsAzureGuestAgent": {"Start": 2}},
         "agents", ("azure-guest-agent",)),
        ({f"{C}/Control/Terminal Server": {"fDenyTSConnections": 0}}, "remote_desktop", True),
        ({f"{C}/Control/Terminal Server": {"fDenyTSConnections": 1}}, "remote_desktop", False),
        ({}, "remote_desktop", None),
        ({f"{C}/Control/Terminal Server/WinStations/RDP-Tcp": {"UserAuthentication": 1}},
         "network_level_authentication", True),
        ({f"{C}/Control/Terminal Server/WinStations/RDP-Tcp": {"UserAuthentication": 0}},
         "network_level_authentication", False),
        ({f"{C}/Control/Terminal Server/WinStations/RDP-Tcp": {"UserAuthentication": 2}},
         "network_level_authentication", False),
        ({}, "network_level_authentication", None),
        ({f"{C}/Control/Session Manager": {"PendingFileRenameOperations": ["\\??\\C:\\a", ""]}},
         "pending_reboot", ("files to be renamed at the next start",)),
        ({f"{C}/Control/Session Manager": {"PendingFileRenameOperations": []}}, "pending_reboot", ()),
        ({f"{C}/Control/Session Manager": {"PendingFileRenameOperations2": ["\\??\\C:\\a", ""]}},
         "pending_reboot", ("files to be renamed at the next start",)),
        ({MEMORY: {"PagingFiles": ["D:\\pagefile.sys 0 0", "?:\\pagefile.sys"]}},
         "page_files", ("D:\\pagefile.sys", "?:\\pagefile.sys")),
        ({f"{C}/Control/TimeZoneInformation": {"RealTimeIsUniversal": 1}}, "clock_is_utc", True),
        ({f"{C}/Control/TimeZoneInformation": {"TimeZoneKeyName": "UTC"}}, "time_zone", "UTC"),
        ({f"{C}/Control/Session Manager/Power": {"HiberbootEnabled": 1}}, "fast_startup", True),
        ({"Select": {"Current": 2}, "ControlSet002/Services/ena": {"Start": 0}}, "drivers", {"ena": "boot"}),
    ],
)  # fmt: skip
def test_what_the_system_hive_says(looked_at, system, name, value):
    assert getattr(looked_at(system=system), name) == value


@pytest.mark.parametrize(
    ("software", "name", "value"),
    [
        ({NT: {**VERSION, "EditionID": "ServerStandardEval"}}, "evaluation", True),
        ({NT: VERSION}, "evaluation", False),
        ({NT: {**VERSION, "InstallDate": 1_700_000_000}}, "installed_at", 1_700_000_000),
        *(
            (
                {NT: {**VERSION, "EditionID": edition, "InstallDate": 1_700_000_000}},
                "evaluation_ends",
                ends,
            )
            for edition, ends in (
                ("ServerStandardEval", 1_700_000_000 + 180 * 86400),
                ("ServerDatacenterEvalCor", 1_700_000_000 + 180 * 86400),
                ("EnterpriseEval", 1_700_000_000 + 90 * 86400),
                ("ServerStandard", None),
            )
        ),
        ({NT: {**VERSION, "EditionID": "ServerStandardEval"}}, "evaluation_ends", None),
        ({NT: {**VERSION, "EditionID": "ServerStandardEvalCor"}}, "evaluation", True),
        (
            {f"{SERVICING}/RebootPending": {}},
            "pending_reboot",
            ("component servicing (RebootPending)",),
        ),
        ({f"{SERVICING}/RebootInProgress": {}}, "pending_reboot", ()),
        (
            {f"{UPDATE}/RebootRequired": {"2b1c0d6a-0000-4000-8000-000000000000": 1}},
            "pending_reboot",
            ("Windows Update (RebootRequired)",),
        ),
        ({UPDATE: {"AUOptions": 4}}, "pending_reboot", ()),
        (
            {"Microsoft/Updates": {"UpdateExeVolatile": 3}},
            "pending_reboot",
            ("an update's installer (UpdateExeVolatile)",),
        ),
        ({"Microsoft/Updates": {"UpdateExeVolatile": 0}}, "pending_reboot", ()),
        (
            {
                "Microsoft/Windows/CurrentVersion/Setup/State": {
                    "ImageState": "IMAGE_STATE_COMPLETE"
                }
            },
            "sysprep_state",
            "IMAGE_STATE_COMPLETE",
        ),
        ({}, "sysprep_state", None),
    ],
)
def test_what_the_software_hive_says(looked_at, software, name, value):
    assert getattr(looked_at(software=software), name) == value


@pytest.mark.parametrize(
    ("files", "name", "value"),
    [
        (
            {"Windows/WinSxS/pending.xml": "<x/>"},
            "pending_reboot",
            ("component servicing (WinSxS\\pending.xml)",),
        ),
        ({"Program Files/Amazon/EC2Launch/EC2Launch.exe": b"MZ"}, "agents", ("ec2launch",)),
        ({"hiberfil.sys": b"HIBR"}, "hibernated", True),
        ({"hiberfil.sys": b"wake"}, "hibernated", False),
    ],
)
def test_what_files_say(looked_at, files, name, value):
    assert getattr(looked_at(files=files), name) == value


def test_the_whole_section_with_what_the_disk_tells():
    volume = Volume("/dev/sda2", 0, 1 << 30, "ntfs", 2, clean=True)
    locked = Volume("/dev/sda3", 0, 1 << 30, "BitLocker", 3)
    parts = (Partition(2, 0, 1 << 30, "0x42", "Windows dynamic disk", "", bootable=True),)
    guest = Disk(
        (volume, locked),
        ({"Windows/System32/config/SOFTWARE": b"x"}, {}),
        PartitionTable("mbr", parts),
    )

    found = facts(guest)

    assert (found["os"], found["windows"]) == ("windows", None)
    assert "there are no hives here" in found["unknown"]["windows"] or found["unknown"]["windows"]
    assert found["encrypted"] == ["/dev/sda3: BitLocker"]
