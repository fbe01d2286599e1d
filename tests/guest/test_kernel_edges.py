"""Kernels and where their drivers are, at the edges: how many are looked into, and which stands for which."""

import pytest
from guests import KERNEL, trees
from phony import files_of
from test_boot_odd import bzimage

from pipeline.guest import cloudinit, databases, drivers, kernels, packages, settings
from pipeline.guest.boot import bls
from pipeline.guest.boot.entries import Configuration, Entry


def booted(*versions, default=None):
    """Kernels of these versions in /boot, and an entry for each."""
    tree = {
        f"boot/{name}-{version}": "x" for version in versions for name in ("vmlinuz", "initrd.img")
    }
    entries = tuple(
        Entry(f"e{v}", f"/boot/vmlinuz-{v}", "", (f"/boot/initrd.img-{v}",)) for v in versions
    )
    configuration = Configuration("grub2", "/g", entries, default) if entries else None
    return files_of(tree), configuration


@pytest.mark.parametrize(
    ("count", "default", "found"),
    [(3, 0, [3, 2, 1]), (16, None, [*range(16, 0, -1)]), (17, None, [*range(17, 1, -1)]),
     (18, 0, [*range(18, 2, -1), 1]), (18, 1, [*range(18, 2, -1), 2]), (18, 2, [*range(18, 2, -1)])],
)  # fmt: skip
def test_sixteen_kernels_and_the_one_that_starts(count, default, found):
    files, configuration = booted(*(f"6.{n}" for n in range(1, count + 1)), default=default)

    told = kernels.kernels(files, configuration)

    assert [kernel.version for kernel in told] == [f"6.{n}" for n in found]
    starts = f"6.{count if default is None else default + 1}"
    assert [kernel.version for kernel in told if kernel.default] == [starts]


@pytest.mark.parametrize(
    ("default", "read"),
    [(None, [6, 5, 4]), (0, [6, 5, 1]), (4, [6, 5, 4]), (5, [6, 5, 4]), (2, [6, 5, 3])],
)
def test_two_kernels_besides_the_one_that_starts_are_looked_into(default, read):
    files, configuration = booted(*(f"6.{n}" for n in range(1, 7)), default=default)

    told = kernels.reports(files, kernels.kernels(files, configuration))

    looked = [report.version for report in told if report.drivers.reason is not None]
    assert looked == [f"6.{n}" for n in read]  # each has no modules, and that is said


def test_an_entry_without_its_kernel_starts_none():
    files, _ = booted("6.1", "6.2")
    entries = (Entry("gone", "/boot/vmlinuz-9"), Entry("e", "/boot/vmlinuz-6.1"))

    told = kernels.kernels(files, Configuration("grub2", "/g", entries, 0))

    assert [(kernel.version, kernel.default) for kernel in told] == [("6.2", False), ("6.1", False)]


def test_of_several_parts_of_an_initramfs_the_last_is_shown():
    tree = {
        "boot/vmlinuz-6.1": "x",
        "boot/ucode": "u",
        "boot/extra": "e",
        "boot/initrd": "not an archive",
    }
    entry = Entry("e", "/boot/vmlinuz-6.1", "", ("/ucode", "/extra", "/initrd"))
    tree |= {"lib/modules/6.1/modules.dep": "kernel/drivers/net/virtio_net.ko:\n"}
    tree |= {"boot/ucode": trees.cpio(["u"]), "boot/extra": trees.cpio(["e"])}
    files = files_of(tree)

    (told,) = kernels.reports(
        files, kernels.kernels(files, Configuration("grub2", "/g", (entry,), 0))
    )

    assert told.initramfs == "/boot/initrd"
    assert told.drivers.reason.startswith("/boot/initrd cannot be read: ")


def test_a_kernel_that_bls_calls_a_unified_image_and_that_is_none():
    tree = {"efi/loader/entries/a.conf": "uki /k\n", "efi/k": bzimage(KERNEL)}
    files = files_of(tree)
    (configuration,) = bls.systemd_boot(files)

    (told,) = kernels.kernels(files, configuration)

    assert (told.version, told.initramfs, told.default) == (KERNEL, (), True)


# ----------------------------------------------------------------------------------------- drivers


@pytest.mark.parametrize(
    ("line", "place"),
    [("kernel/drivers/nvme/host/nvme.ko", "built-in"), ("nvme.ko.xz", "built-in"),
     ("kernel/nvme.kox", "missing"),
     ("kernel/xnvme.ko", "missing"), ("kernel/nvme-core.ko", "missing"), ("# kernel/nvme.ko", "missing"),
     ("kernel/nvme.ko: kernel/x.ko", "built-in")],
)  # fmt: skip
def test_a_line_of_modules_builtin(line, place):
    files = files_of({f"lib/modules/{KERNEL}/modules.builtin": f"kernel/x.ko\n{line}\n"})

    assert drivers.places(files, drivers.Source(KERNEL), ("nvme",)).value == {"nvme": place}


@pytest.mark.parametrize(
    ("text", "place"),
    [("CONFIG_BLK_DEV_NVME=y\n", "built-in"), ("A=y\nCONFIG_BLK_DEV_NVME=y", "built-in"),
     ("CONFIG_BLK_DEV_NVME=m\n", "missing"), ("#CONFIG_BLK_DEV_NVME=y\n", "missing"),
     ("CONFIG_BLK_DEV_NVME=yes\n", "missing"),
     ("XCONFIG_BLK_DEV_NVME=y\n", "missing")],
)  # fmt: skip
def test_a_line_of_a_kernel_s_configuration(text, place):
    files = files_of({f"boot/config-{KERNEL}": text})

    assert drivers.places(files, drivers.Source(KERNEL), ("nvme",)).value == {"nvme": place}


@pytest.mark.parametrize("name", ["xen-blkfront", "xen_blkfront"])
@pytest.mark.parametrize("suffix", ["", ".xz", ".zst", ".gz"])
def test_a_module_s_file_may_have_hyphens_and_be_packed(name, suffix):
    path = f"lib/modules/{KERNEL}/kernel/drivers/block/{name}.ko{suffix}"

    found = drivers.places(files_of({path: "x"}), drivers.Source(KERNEL), ("xen-blkfront", "nvme"))

    assert found.value == {"xen-blkfront": "module", "nvme": "missing"}
    other = drivers.places(
        files_of({f"{path}.bz2": "x"}), drivers.Source(KERNEL), ("xen-blkfront",)
    )
    assert other.value == {"xen-blkfront": "missing"}


# -------------------------------------------------------------------- packages, programs, databases


@pytest.mark.parametrize(
    ("tree", "version"),
    [({"cloud_init-23.1.egg-info": None}, "23.1"), ({"cloud_init-24.": None}, "24"),
     ({"cloud_init": None}, None),
     ({"xcloud_init-23.1": None}, None), ({"cloud_init-x": None}, None)],
)  # fmt: skip
def test_the_version_of_cloud_init_by_its_library(tree, version):
    for top in ("usr/lib/python3/dist-packages", "usr/lib/python3.12/site-packages"):
        files = files_of({f"{top}/{name}": content for name, content in tree.items()})
        assert cloudinit._version(files, None) == version
    known = packages.Packages("dpkg", {"cloud-init": "9"})
    assert cloudinit._version(files, known) == "9"


def test_the_loader_s_version_by_its_package_or_its_program():
    known = packages.Packages("dpkg", {"grub-common": "2", "grub2": "3", "syslinux": "6"})
    program = b"MZ\0#### LoaderInfo: systemd-boot 252 ####\0#### LoaderInfo: other ####"
    files = files_of({"efi/EFI/systemd/systemd-bootx64.efi": program})

    def told(loader):
        return settings.loader_version(files, loader, known)

    assert [told(name) for name in ("grub2", "grub-legacy", "extlinux")] == ["2", None, "6"]
    assert {told(name) for name in ("systemd-boot", "uki", "bls")} == {"systemd-boot 252"}
    assert [told(name) for name in ("lilo", None)] == [None, None]


def test_databases_of_sql_server_in_any_case():
    top = "Program Files/Microsoft SQL Server"
    tree = {f"{top}/MSSQL15.A/MSSQL/DATA/a.MDF": "x", f"{top}/MSSQL15.B/MSSQL/DATA/b.ldf": "x",
            f"{top}/MSSQL15.C/MSSQL/DATA/c.mdf": "x"}  # fmt: skip

    assert databases.windows(files_of(tree)) == [
        f"mssql: /{top}/MSSQL15.{n}/MSSQL/DATA" for n in "AC"
    ]
