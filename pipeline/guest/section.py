"""The section ``guest`` of the facts, typed: what ``schemas/facts.schema.json`` says, for Python.

    GuestFacts ─┬─ what the disk alone tells: filesystems, encrypted, unclean, firmware, …
                ├─ a Linux system: boot, kernels, drivers, fstab, network, ssh, users, packages, …
                └─ windows

A fact that is not known is None, and ``unknown`` maps its path inside the section ("ssh.enabled") to
the reason; None without a reason: there is none.  Sizes are bytes, times seconds since 1970 (UTC).
Strings come from the image and are cleaned of control characters.  No secret value is in any fact.
A test compares these types with the schema, name by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from pipeline.guest.units import State

Place = Literal["built-in", "initramfs", "module", "missing"]
"""Where a driver is: in the kernel itself; there before the root file system is; only in /lib/modules."""


class FileSystemFacts(TypedDict):
    """One volume of the disk."""

    device: str  # as Linux names it where this is the only disk
    type: str | None
    size: int
    uuid: str | None
    label: str | None
    use: str | None  # mount point, "swap", "lvm", "esp"
    clean: bool | None
    read_by: NotRequired[list[str]]  # "direct", "appliance": who read its files


class RootFileSystemFacts(TypedDict):
    """The volume that holds the system."""

    device: str
    type: str | None
    size: int
    free: int | None
    free_inodes: int | None
    lvm: bool
    last_on_disk: bool | None  # nothing but free space lies behind its partition
    growpart: bool  # a tool that grows the partition at the first start is installed


class FstabLineFacts(TypedDict):
    """One line of /etc/fstab."""

    spec: str
    mountpoint: str
    type: str
    options: list[str]


class BootEntryFacts(TypedDict):
    """Something that the boot loader can start."""

    title: str
    kernel: str | None  # as the configuration names it; None: it starts no Linux
    initramfs: list[str]
    root: str | None
    source: str  # the file that says so


class BootFacts(TypedDict):
    """The boot loader's configuration."""

    loader: str | None  # grub2, grub-legacy, extlinux, systemd-boot, uki
    config: str | None  # the file that decides; None: none was found
    version: str | None  # of the boot loader's package, or as its program says
    entries: list[BootEntryFacts]
    default: int | None  # index in entries; None: nothing that starts a kernel
    chosen_by: str | None  # why that one is the default
    missing: list[str] | None  # files that the default entry names and that are not there
    other_problems: list[str]  # what keeps the other entries from starting
    root_on_disk: bool | None  # whether the default entry's root= is on this disk
    consoles: list[str]  # console= of the default entry, the last one is /dev/console
    graphical: bool  # rhgb or splash: messages are hidden
    net_ifnames: bool  # False: net.ifnames=0, so interfaces are called eth0, eth1, …


class KernelFacts(TypedDict):
    """A kernel that is installed."""

    version: str
    initramfs: str | None
    default: bool
    drivers: dict[str, Place] | None  # see pipeline.guest.drivers for the names


class XenDriverFacts(TypedDict, total=False):
    """The two Xen drivers of the kernel that starts; keys are modules' file names."""

    kernel: str


class CloudInitFacts(TypedDict):
    """cloud-init."""

    installed: bool
    version: str | None
    disabled: bool
    disabled_by: str | None
    datasource_list: list[str] | None  # None: all are tried
    instance_state: list[str] | None  # what an earlier instance left
    network_disabled: bool  # network: {config: disabled}
    ssh_deletekeys: bool | None  # False: host keys stay as they are
    ssh_pwauth: bool | None
    disable_root: bool | None
    modules: dict[str, list[str]] | None  # by the step of the boot: init, config, final
    units: dict[str, State] | None  # of its four steps: enabled, disabled, masked, absent


class SshFacts(TypedDict):
    """The SSH server."""

    server: bool  # installed
    enabled: bool | None  # starts by itself; None: nobody can tell
    disabled_by: str | None
    host_keys: list[str]  # private keys' file names in /etc/ssh, full paths elsewhere
    authorized_keys: list[str] | None
    root_login: str | None  # PermitRootLogin in force
    password_login: bool | None  # PasswordAuthentication in force
    ports: list[int]


class UserFacts(TypedDict):
    """Accounts; presence of passwords only."""

    with_password: list[str]
    empty_password: list[str]
    root_password: Literal["set", "empty", "locked", "absent"]
    private_keys: list[str] | None
    histories: list[str] | None


class NetworkFacts(TypedDict):
    """Network configuration, each as "file: value"."""

    hardware_addresses: list[str]  # what is bound to the old card
    static_addresses: list[str]
    persistent_rules: list[str]  # udev rules that name an interface by its hardware address
    rewritten: list[str]  # bound too, but cloud-init writes these files anew for each server
    dhcp: list[str]  # files that ask for DHCP
    interface_names: list[str]  # interfaces that are named as the old machine's hardware had them
    clients: list[str]  # what configures the network at boot: systemd-networkd, NetworkManager, …
    no_auto_default: bool  # NetworkManager is told not to use DHCP by itself


class LeftoverFacts(TypedDict):
    """What identifies the old machine or its people, or only costs space; paths."""

    cloud_credentials: list[str] | None
    certificates: list[str] | None  # subscriptions, Kerberos keytabs
    random_seeds: list[str] | None
    dhcp_leases: list[str] | None
    package_caches: list[str] | None
    logs: list[str] | None
    jobs: list[str] | None  # cron and at jobs of users
    proxies: list[str] | None
    install_media: list[str] | None
    first_boot_prompts: list[str] | None


class SelinuxFacts(TypedDict):
    """SELinux."""

    mode: str | None  # enforcing, permissive, disabled; None: not there
    relabel: bool  # /.autorelabel is there: the first start relabels


class PackageFacts(TypedDict):
    """Packages as the package manager's database has them."""

    manager: str | None  # dpkg, rpm, apk, pacman
    count: int
    names: list[str]
    kernels: list[str]  # "name version" of kernel packages


class AgeFacts(TypedDict):
    """Times, seconds since 1970; None: no file tells."""

    last_change: int | None  # of the installed packages
    last_boot: int | None


class LvmFacts(TypedDict):
    """LVM."""

    root: bool
    groups: list[str]
    devices_file: bool


class WindowsFacts(TypedDict):
    """A Windows guest."""

    product_name: str | None
    installation_type: str | None
    edition: str | None
    version: str | None
    arch: str | None
    product_type: str | None  # WinNT, ServerNT, LanmanNT: a domain controller
    fast_startup: bool | None
    hibernated: bool
    evaluation: bool | None
    installed_at: int | None
    evaluation_ends: int | None  # unless it is extended; 180 days for servers, 90 for others
    drivers: dict[str, str]  # service name: boot, system, auto, demand, disabled
    agents: list[str]
    remote_desktop: bool | None
    network_level_authentication: bool | None
    sysprep_state: str | None  # ImageState, e.g. IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE
    pending_reboot: list[str]
    page_files: list[str]
    clock_is_utc: bool | None
    time_zone: str | None
    automatic_logon: bool
    bitlocker: list[str]  # volumes
    dynamic_disk: bool


class GuestFacts(TypedDict):
    """The system on the disk.  ``status`` is "done"; a section not read has only status and reason."""

    status: Literal["done"]
    os: str | None
    distro: str | None
    version: str | None
    arch: str | None
    product_name: str | None
    systems: int | None
    found_by: str | None
    firmware: Literal["bios", "uefi", "both"] | None
    boot_code: str | None
    efi_loaders: list[str] | None
    efi_fallback: bool | None
    root_file_system: RootFileSystemFacts | None
    fstab: list[FstabLineFacts] | None
    fstab_by_name: list[str] | None  # without those that are absent
    fstab_absent: list[str] | None  # the first start fails for want of these
    fstab_slow: list[str] | None  # the first start only waits for these
    boot: BootFacts | None
    boot_root: str | None  # root= of the default entry
    command_line: str | None  # of the default entry
    kernels: list[KernelFacts] | None
    drivers: dict[str, Place] | None  # of the kernel that starts
    xen_drivers: XenDriverFacts | None
    cloud_init: CloudInitFacts | None
    agents: list[str] | None
    ssh: SshFacts | None
    machine_id: Literal["set", "empty", "uninitialized", "missing"] | None
    sudo_users: list[str] | None
    users: UserFacts | None
    network: NetworkFacts | None
    firewall: list[str] | None  # firewalls that start at boot
    databases: list[str] | None
    leftovers: LeftoverFacts | None
    selinux: SelinuxFacts | None
    packages: PackageFacts | None
    time_zone: str | None
    locale: str | None
    clock_is_utc: bool | None
    time_sync: list[str] | None  # services that set the clock, enabled at boot
    ages: AgeFacts | None
    lvm: LvmFacts | None
    swap_partitions: list[str] | None
    root_free: int | None
    windows: WindowsFacts | None
    filesystems: list[FileSystemFacts] | None
    encrypted: list[str] | None
    unclean: list[str] | None
    before_replay: (
        list[str] | None
    )  # volumes whose files were read without what their journals hold
    unknown: dict[str, str]
    appliance: NotRequired[Mapping[str, Any]]  # how it ran, when it had to be asked
