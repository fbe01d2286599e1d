"""Where each driver of a kernel is that some cloud's machines need.

    modules.builtin ──▶ built-in      the kernel has it in itself
    initramfs       ──▶ initramfs     there before the root file system is
    modules.dep     ──▶ module        only once the root file system is mounted
                    ──▶ missing

What the modules directory holds says nothing about the initramfs: dracut has left xen-blkfront out
of it before, and servers on Xen stopped starting. So the initramfs itself is read.
https://github.com/coreos/fedora-coreos-config/pull/1293
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.guest import initramfs
from pipeline.guest.answers import Answer
from pipeline.guest.section import Place
from pipeline.guest.tree import Files
from pipeline.text import clean

DRIVERS: Mapping[str, tuple[str, str]] = {
    # module: directory below kernel/, option of the kernel's configuration
    "virtio_pci": ("drivers/virtio", "VIRTIO_PCI"),
    "virtio_blk": ("drivers/block", "VIRTIO_BLK"),
    "virtio_scsi": ("drivers/scsi", "SCSI_VIRTIO"),
    "virtio_net": ("drivers/net", "VIRTIO_NET"),
    "hv_vmbus": ("drivers/hv", "HYPERV"),
    "hv_storvsc": ("drivers/scsi", "HYPERV_STORAGE"),
    "hv_netvsc": ("drivers/net/hyperv", "HYPERV_NET"),
    "hv_utils": ("drivers/hv", "HYPERV_UTILS"),
    "pci-hyperv": ("drivers/pci/controller", "PCI_HYPERV"),
    "nvme": ("drivers/nvme/host", "BLK_DEV_NVME"),
    "ena": ("drivers/net/ethernet/amazon/ena", "ENA_ETHERNET"),
    "gve": ("drivers/net/ethernet/google/gve", "GVE"),
    "mlx4_en": ("drivers/net/ethernet/mellanox/mlx4", "MLX4_EN"),
    "mlx5_core": ("drivers/net/ethernet/mellanox/mlx5/core", "MLX5_CORE"),
    "mana": ("drivers/net/ethernet/microsoft/mana", "MICROSOFT_MANA"),
    "ixgbevf": ("drivers/net/ethernet/intel/ixgbevf", "IXGBEVF"),
    "e1000": ("drivers/net/ethernet/intel/e1000", "E1000"),
    "e1000e": ("drivers/net/ethernet/intel/e1000e", "E1000E"),
    "mptspi": ("drivers/message/fusion", "FUSION_SPI"),
    "mptsas": ("drivers/message/fusion", "FUSION_SAS"),
    "mpt3sas": ("drivers/scsi/mpt3sas", "SCSI_MPT3SAS"),
    "megaraid_sas": ("drivers/scsi/megaraid", "MEGARAID_SAS"),
    "vmw_pvscsi": ("drivers/scsi", "VMWARE_PVSCSI"),
    "vmxnet3": ("drivers/net/vmxnet3", "VMXNET3"),
    "ahci": ("drivers/ata", "SATA_AHCI"),
    "ata_piix": ("drivers/ata", "ATA_PIIX"),
    "sd_mod": ("drivers/scsi", "BLK_DEV_SD"),
    "udf": ("fs/udf", "UDF_FS"),
    "vfat": ("fs/fat", "VFAT_FS"),
    "xen-blkfront": ("drivers/block", "XEN_BLKDEV_FRONTEND"),
    "xen-netfront": ("drivers/net", "XEN_NETDEV_FRONTEND"),
}
"""Drivers that hypervisors and clouds ask for, by the module's file name: disks, network cards, media."""

XEN = ("xen-blkfront", "xen-netfront")
_SUFFIXES = ("", ".xz", ".zst", ".gz")
_LIST_LIMIT = 4 << 20  # bytes of modules.dep; a usual one has 0.6 to 1 MiB
_MODULE = re.compile(r"([^/\s]+)\.ko(?:\.\w+)?$")
_LISTED = re.compile(r"^(?:[^\s:]*/)?([^/\s:]+)\.ko(?:\.\w+)?(?=:|\s|$)", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """Where a kernel's parts are."""

    version: str
    initramfs: tuple[str, ...] = ()  # paths in the guest
    offset: int = 0  # of the initramfs in its file: a unified kernel image
    size: int | None = None


def places(files: Files, kernel: Source, wanted: tuple[str, ...] = ()) -> Answer[dict[str, Place]]:
    """Where each driver is; one whose place is not known is left out, and the answer says why."""
    modules = f"/lib/modules/{kernel.version}"
    builtin = files.text(f"{modules}/modules.builtin", _LIST_LIMIT)
    config = None if builtin else files.text(f"/boot/config-{kernel.version}", 1 << 20)
    if builtin is None and config is None and not files.is_directory(modules):
        version = clean(kernel.version, 80)
        return Answer({}, f"there are no modules of the kernel {version}")
    chosen = wanted or tuple(DRIVERS)
    inside = _listed(builtin or "")
    installed = _installed(files, modules, chosen)
    found: dict[str, Place] = {}
    for name in chosen:
        if _key(name) in inside or f"\nCONFIG_{DRIVERS[name][1]}=y\n" in f"\n{config or ''}\n":
            found[name] = "built-in"
        else:
            found[name] = "module" if _key(name) in installed else "missing"
    return _with_initramfs(files, kernel, found)


def _with_initramfs(
    files: Files, kernel: Source, found: dict[str, Place]
) -> Answer[dict[str, Place]]:
    searched = {_key(name): name for name, place in found.items() if place != "built-in"}
    early: dict[str, Place] = {}
    try:
        for name in _loaded_early(files, kernel, frozenset(searched)):
            early[searched[name]] = "initramfs"
    except initramfs.NotReadableError as error:
        kept = {name: place for name, place in found.items() if place == "built-in"} | early
        path = clean(kernel.initramfs[-1], 120)
        return Answer(kept, clean(f"{path} cannot be read: {error}", 300))
    return Answer({**found, **early})


def _loaded_early(files: Files, kernel: Source, wanted: frozenset[str]) -> Iterator[str]:
    """Which of the modules the initramfs holds; stops reading when all were seen."""
    left = set(wanted)
    for path in kernel.initramfs:
        for name in initramfs.names(files, path, kernel.offset, kernel.size) if left else ():
            match = _MODULE.search(name)
            if match and _key(match[1]) in left:
                left.discard(_key(match[1]))
                yield _key(match[1])
                if not left:
                    return


def _key(name: str) -> str:
    """Modules are the same with hyphen and underscore (kmod)."""
    return name.replace("-", "_")


def _listed(text: str) -> frozenset[str]:
    return frozenset(_key(name) for name in _LISTED.findall(text))


def _installed(files: Files, modules: str, wanted: tuple[str, ...]) -> frozenset[str]:
    """The modules in a kernel's directory, by its list or, without one, by their usual places."""
    listed = files.text(f"{modules}/modules.dep", _LIST_LIMIT)
    if listed:
        return _listed(listed)
    found = set()
    for name in wanted:
        directory = f"{modules}/kernel/{DRIVERS[name][0]}"
        candidates = [f"{form}.ko{suffix}" for form in {name, _key(name)} for suffix in _SUFFIXES]
        files.expect(*(f"{directory}/{candidate}" for candidate in candidates))
        if any(files.is_file(f"{directory}/{candidate}") for candidate in candidates):
            found.add(_key(name))
    return frozenset(found)
