"""What the types in partition tables mean.

MBR: one byte (https://www.win.tue.nl/~aeb/partitions/partition_types-1.html).  GPT: a GUID
(https://uapi-group.org/specifications/specs/discoverable_partitions_specification/ and UEFI 2.10 §5.3).
"""

EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
MBR_EFI_SYSTEM = "0xef"
DYNAMIC_DISK = (
    "0x42",
    "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3",  # LDM metadata
    "AF9B60A0-1431-4F62-BC68-3311714A69AD",  # LDM data
)

MBR_NAMES = {
    0x01: "FAT12",
    0x04: "FAT16",
    0x05: "extended",
    0x06: "FAT16",
    0x07: "NTFS or exFAT",
    0x0B: "FAT32",
    0x0C: "FAT32",
    0x0E: "FAT16",
    0x0F: "extended",
    0x17: "hidden NTFS or ISO 9660",
    0x27: "Windows recovery",
    0x42: "Windows dynamic disk",
    0x82: "Linux swap",
    0x83: "Linux",
    0x85: "Linux extended",
    0x8E: "Linux LVM",
    0xA5: "FreeBSD",
    0xA6: "OpenBSD",
    0xA9: "NetBSD",
    0xAF: "HFS+",
    0xBF: "Solaris",
    0xEE: "GPT protective",
    0xEF: "EFI system",
    0xFD: "Linux RAID",
}
GPT_NAMES = {
    EFI_SYSTEM: "EFI system",
    BIOS_BOOT: "BIOS boot",
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4": "Linux",
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709": "Linux root (x86-64)",
    "44479540-F297-41B2-9AF7-D131D5F0458A": "Linux root (x86)",
    "B921B045-1DF0-41C3-AF44-4C6F280D3FAE": "Linux root (ARM64)",
    "BC13C2FF-59E6-4262-A352-B275FD6F7172": "Linux extended boot",
    "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F": "Linux swap",
    "E6D6D379-F507-44C2-A23C-238F2A3DF928": "Linux LVM",
    "A19D880F-05FC-4D3B-A006-743F0F84911E": "Linux RAID",
    "CA7D7CCB-63ED-4C53-861C-1742536059CC": "Linux LUKS",
    "933AC7E1-2EB4-4F13-B844-0E14E2AEF915": "Linux home",
    "9E1A2D38-C612-4316-AA26-8B49521E5A8B": "PReP boot",
    "E3C9E316-0B5C-4DB8-817D-F92DF00215AE": "Microsoft reserved",
    "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7": "Microsoft basic data",
    "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC": "Windows recovery",
    "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3": "Windows dynamic disk metadata",
    "AF9B60A0-1431-4F62-BC68-3311714A69AD": "Windows dynamic disk data",
    "516E7CB6-6ECF-11D6-8FF8-00022D09712B": "FreeBSD ZFS",
    "516E7CB4-6ECF-11D6-8FF8-00022D09712B": "FreeBSD",
}
