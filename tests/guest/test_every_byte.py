"""Every field of what is read from bytes at its edges, and every constant: what is said, word for word."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sqlite3
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import varied
from guests import KERNEL, disks, trees
from lzallright import LZOCompressor
from menus import bzimage, pe
from phony import Memory, files_of
from test_drivers import lz4_legacy

import pipeline.guest
from pipeline.guest import drivers, initramfs, kernels, packages, sqlitefile, windows
from pipeline.guest.boot import Configuration, uki
from pipeline.guest.boot import bzimage as linux_file
from pipeline.guest.boot.entries import Entry
from pipeline.guest.tree import Files, TreeError
from tests import every_field
from tests.every_field import Memory as Bytes
from tests.every_field import Structure, run

HERE = Path(__file__).parent
TABLES = varied.Tables(HERE / "said")
STRUCTURES, compare = TABLES.made, TABLES.compare


def said_of(reader: Bytes, question: Any) -> Mapping[str, Any]:
    """What is said of a file with these bytes."""
    return varied.told(lambda: question(files_of({"f": reader.read(0, reader.size)})))


# ------------------------------------------------------------------------------------- constants


def _values(value: Any) -> Any:
    """A constant as it is written in a table."""
    if isinstance(value, re.Pattern):
        return f"{value.pattern!r} {value.flags}"
    if isinstance(value, Mapping):
        return {str(key): _values(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
    return str(value) if not isinstance(value, int) else value


@TABLES
def constants() -> Iterator[str]:
    """What the room knows of systems, and where its limits are."""
    for found in pkgutil.walk_packages(pipeline.guest.__path__, "pipeline.guest."):
        module = importlib.import_module(found.name)
        for name, value in sorted(vars(module).items()):
            plain = isinstance(value, int | str | bytes | tuple | frozenset | Mapping | re.Pattern)
            if re.fullmatch(r"_?[A-Z][A-Z0-9_]+", name) and plain and "function" not in str(value):
                yield f"{found.name.removeprefix('pipeline.guest.')} {name}  {_values(value)}"


# ------------------------------------------------------------------------------------------ images


@TABLES
def unified_images() -> Iterator[str]:
    """The sections of a PE file."""
    release = b"ID=debian\nVERSION_ID=12\nIMAGE_VERSION=7\n"
    data = pe(
        linux=b"k" * 40,
        osrel=release,
        cmdline=b"root=UUID=1 ro\n\0x",
        initrd=b"i" * 9,
        uname=b"6.1",
    )
    table = 128 + 24 + 16
    fields = (
        (0, 2),
        (60, 4),
        (128, 4),
        (134, 2),
        (148, 2),
        *(f for n in range(5) for f in run(table + 40 * n, 8, 4)),
    )
    fields += tuple(f for n in range(5) for f in run(table + 40 * n + 16, 4, 4))
    cuts = (
        0,
        2,
        63,
        64,
        131,
        132,
        135,
        148,
        150,
        table,
        table + 39,
        table + 40,
        table + 200,
        4096,
        4136,
    )
    structure = Structure(data, fields, "little", cuts=cuts)

    def tell(files: Files) -> Any:
        tree = Files(
            Memory({"EFI/Linux/a.efi": files.read("/f"), "EFI/BOOT/BOOTX64.EFI": files.read("/f")})
        )
        return {
            "sections": uki.sections(files, "/f"),
            "entries": [[entry, order] for entry, order in uki.entries(tree, "")],
            "firmware": uki.by_firmware(tree, ""),
        }

    return iter(every_field.table(structure, lambda reader: said_of(reader, tell)))


@TABLES
def kernels_of_x86() -> Iterator[str]:
    """The version in a kernel's file."""
    structure = Structure(bzimage(KERNEL), ((0x202, 4), (0x20E, 2), (0x500, 2)), "little",
                          cuts=(0, 0x20F, 0x210, 0x500, 0x501, 0x50E, 0x510, 0x600))  # fmt: skip

    def tell(files: Files) -> Any:
        return {
            "version": linux_file.version(files, "/f"),
            "behind": linux_file.version(files, "/f", 16),
        }

    yield from every_field.table(structure, lambda reader: said_of(reader, tell))
    long = {f"{length} characters": bzimage("6" * length) for length in (2, 3, 79, 80, 81)}
    yield from varied.of_values(long, lambda raw: linux_file.version(files_of({"f": raw}), "/f"))


def at_another_place(program: bytes, at: int) -> bytes:
    """The same program with its PE header there."""
    return program[:60] + at.to_bytes(4, "little") + bytes(at - 64) + program[128:]


@TABLES
def programs_of_windows() -> Iterator[str]:
    """The processor in a PE header, and the first bytes of hiberfil.sys."""
    heads = {
        f"{machine:#x}": trees.pe(machine) for machine in (0x014C, 0x8664, 0xAA64, 0x01C4, 0x1234)
    }
    heads |= {f"at {at}": at_another_place(trees.pe(), at) for at in (64, 129, 132, 140)}
    yield from varied.of_values(
        heads,
        lambda it: windows._arch(files_of({"Windows/System32/cmd.exe": it, "hiberfil.sys": it})),
    )
    structure = Structure(
        trees.pe(), ((0, 2), (60, 4), (128, 4), (132, 2)), "little", cuts=(0, 63, 64, 131, 132, 134)
    )
    yield from every_field.table(
        structure,
        lambda reader: varied.told(
            lambda: windows._arch(
                files_of({"Windows/System32/cmd.exe": reader.read(0, reader.size)})
            )
        ),
    )


# --------------------------------------------------------------------------------------- databases


def database() -> bytes:
    """An rpm database whose table Name takes three pages."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "db"
        with sqlite3.connect(path) as made:
            made.execute("PRAGMA page_size=512")
            made.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
            made.execute(
                "CREATE TABLE Name (key TEXT NOT NULL, hnum INTEGER, idx INTEGER, x REAL, y "
                "BLOB, z TEXT)"
            )
            rows = [(f"p{n}" + "x" * n, 1 << n, n - 3, 0.5, b"b", "z") for n in range(24)]
            made.executemany("INSERT INTO Name VALUES (?, ?, ?, ?, ?, ?)", rows)
        made.close()
        return path.read_bytes()


@TABLES
def rpm_databases() -> Iterator[str]:
    """The header, the pages and the first records of an SQLite database."""
    data = database()
    pages = [512 * n for n in range(len(data) // 512)]
    fields = [(0, 2), (16, 2), (100, 1), (103, 2), (108, 2), (110, 2)]
    fields += [
        f for page in pages[1:] for f in ((page, 1), (page + 3, 2), (page + 8, 4), (page + 12, 2))
    ]
    for page in pages[1:]:
        if data[page] == 13:
            cell = page + int.from_bytes(data[page + 8 : page + 10], "big")
            fields += [(cell + at, 1) for at in range(14)]
    structure = Structure(
        data, tuple(fields), "big", cuts=(0, 99, 100, 511, 512, 1024, len(data) - 1)
    )

    def tell(files: Files) -> Any:
        database = sqlitefile.of_guest(files, "/f")
        return {
            "rows": list(sqlitefile.rows(database, "Name", 1000)),
            "three": list(sqlitefile.rows(database, "Name", 3)),
        }

    def short(reader: Bytes) -> dict[str, Any]:
        found = said_of(reader, tell)
        return {
            name: value if name.startswith(("error", "rows")) else str(value)
            for name, value in found.items()
        }

    return iter(every_field.table(structure, short))


@TABLES
def numbers_of_sqlite() -> Iterator[str]:
    """Numbers of one to nine bytes."""
    ways = {
        bytes(parts).hex(): bytes(parts)
        for length in range(11)
        for parts in ([0x81] * length + [last] for last in (0, 1, 0x7F, 0x80, 0xFF))
    }
    yield from varied.of_values(ways, lambda raw: {"number": sqlitefile._varint(raw, 0)})
    yield from varied.of_values(
        {str(kind): kind for kind in range(20)}, lambda kind: {"length": sqlitefile._length(kind)}
    )


@TABLES
def sizes() -> Iterator[str]:
    """Files that are as large as is read, and one byte larger."""
    rpm, initrd, hive = 16 * packages.LIMIT, initramfs.LARGEST, windows.LARGEST_HIVE
    for size in (0, 512, rpm - 1, rpm, rpm + 1):
        tree = {"var/lib/rpm/rpmdb.sqlite": disks.Sparse(size, b"SQLite")}
        yield from varied.of_values({f"rpm {size}": tree}, lambda it: packages.read(files_of(it)))
    for size in (initrd, initrd + 1, initrd + 2):
        tree = {"f": disks.Sparse(size, b"text, and no archive")}
        for offset in (0, 1):
            ways = {f"initramfs {size} {offset}": tree}
            yield from varied.of_values(ways, lambda it, offset=offset: listed(it, offset))
    for size in (hive - 1, hive, hive + 1):
        files = files_of({"Windows/System32/config/SOFTWARE": disks.Sparse(size)})
        ways = {f"hive {size}": files}
        yield from varied.of_values(
            ways, lambda it: list(windows._hive(it, lambda *_: ["read"], "SOFTWARE", []))
        )


# ------------------------------------------------------------------------------ kernels and drivers

LZOP = (
    struct.pack(
        ">9sHHHBBIIIIB", b"\x89LZO\0\r\n\x1a\n", 0x1030, 0x20A0, 0x0940, 1, 5, 0x3, 0o644, 1, 2, 1
    )
    + b"f\0\0\0\1"
)


@TABLES
def lzop_headers() -> Iterator[str]:
    """Flags, and where the first block is, by version and flags."""
    ways = {
        f"{version:#x} "
        f"{flags:#x}": struct.pack(">9sHHH", b"", version, 1, 2)[: 15 if version >= 0x0940 else 13]
        + struct.pack(">BB" if version >= 0x0940 else ">B", *([1, 5] if version >= 0x0940 else [1]))
        + struct.pack(">I", flags) + bytes(range(40))
        for version in (0x0900, 0x093F, 0x0940, 0x0941, 0x1030)
        for flags in (0, 0x3, 0x800, 0x7FF, 0xFFFFFFFF)
    }  # fmt: skip
    yield from varied.of_values(ways, lambda raw: list(initramfs._lzop_header(raw)))
    cut = {str(size): LZOP[:size] for size in range(len(LZOP) + 2)}

    def tell(raw: bytes) -> Any:
        try:
            return list(initramfs._lzop_header(raw))
        except initramfs.NotReadableError as error:
            return str(error)

    yield from varied.of_values(cut, tell)


def names(raw: bytes, offset: int = 0, size: int | None = None) -> Any:
    """The names in an initramfs, or why there are none."""
    return listed({"f": raw}, offset, size)


def listed(tree: dict[str, Any], offset: int = 0, size: int | None = None) -> Any:
    """The same of a tree's file /f."""
    found: list[str] = []
    try:
        found.extend(initramfs.names(files_of(tree), "/f", offset, size))
    except (initramfs.NotReadableError, TreeError) as error:
        return {
            "names": found,
            "error": str(error).partition(" (")[0],
        }  # a library has its own words
    return {"names": found}


@TABLES
def parts_of_an_initramfs() -> Iterator[str]:
    """Parts behind one another, plain and packed, cut and padded."""
    one, two = trees.cpio(["a", "b/c.ko"], {"a": 5}), trees.cpio(["d"])
    packed = lz4_legacy(two)
    ways = {
        "plain": one,
        "two": one + two,
        "zeros between": one + bytes(512) + two,
        "packed behind": one + packed,
        "packed, and packed": packed + packed,
        "packed, zeros, plain": packed + bytes(8) + one,
        "packed, an empty block": packed + bytes(4) + packed,
        "nothing": b"",
        "zeros": bytes(1024),
        "text": b"no archive at all, but long enough to be looked at",
        "many": two * 16,
        "too many": two * 17,
        "sixteen packed": packed * 16,
        "seventeen packed": packed * 17,
    }
    yield from varied.of_values(ways, names)
    yield from varied.of_values(
        {f"packed {n}": packed[:n] for n in range(0, len(packed), 3)}, names
    )
    most = initramfs._LZ4_BLOCK + initramfs._LZ4_BLOCK // 255 + 16
    blocks = {
        f"a block of {n}": packed + n.to_bytes(4, "little") + bytes(40)
        for n in (1, 41, most, most + 1)
    }
    yield from varied.of_values(blocks, names)
    whole = bytes(100) + one + two
    ends = (0, 1, len(one), len(one) + len(two), len(whole), len(whole) + 1)
    yield from varied.of_values(
        {
            f"{at}+{size}": (at, size)
            for at in (0, 100, len(whole), len(whole) + 1)
            for size in (None, *ends)
        },
        lambda where: names(whole, *where),
    )


@TABLES
def blocks_of_lzo() -> Iterator[str]:
    """Blocks that are stored and packed ones, with each checksum."""
    plain = trees.cpio(["a", "b/c.ko"], {"a": 500})
    packed = bytes(LZOCompressor().compress(plain))
    for flags in (0, 0x1, 0x2, 0x3, 0x100, 0x200, 0x300, 0x303):
        head = LZOP[:17] + flags.to_bytes(4, "big") + LZOP[21:]
        for name, data in (("stored", plain), ("packed", packed)):
            for sums in range(5):
                block = struct.pack(">II", len(plain), len(data)) + bytes(4 * sums) + data
                found = names(head + block + bytes(4))
                yield f"{name} {flags:#x} {sums}  {found.get('names')} {'error' in found}"


class Counting(Memory):
    """A tree that tells how it was read."""

    def __init__(self, tree: dict[str, Any]) -> None:
        super().__init__(tree)
        self.reads: list[tuple[int, int]] = []

    def read(self, path: str, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return super().read(path, offset, length)


@TABLES
def pieces_of_a_file() -> Iterator[str]:
    """How a large file is read: what is asked of the guest for what is asked here."""
    mib = 1 << 20
    content = bytes(range(256)) * (3 * mib // 256) + b"end"
    for start, size in ((0, len(content)), (mib + 3, mib + 7), (len(content) - 3, 3)):
        for asked in (
            [(0, 4)], [(0, 4), (2, 8)], [(0, mib)], [(0, 4), (mib - 2, 4)],
            [(8, 4), (2, 4), (mib + 6, 4)], [(mib - 2, 4)], [(0, size)], [(4, 2), (0, 2)],
            [(size - 1, 4)], [(size, 1)], [(mib, 1), (mib, 2), (mib - 1, 1)], [(0, 0)], [(mib // 2, mib)],
        ):  # fmt: skip
            tree = Counting({"f": content})
            found = Files(tree).find("/f")
            assert found is not None
            reader = initramfs._GuestFile(found, start, size)
            for at, length in asked:
                assert reader.read(at, length) == content[start : start + size][at : at + length]
            yield f"{start}+{size} {asked}  {tree.reads}"


MODULES = f"usr/lib/modules/{KERNEL}"
LISTS: dict[str, Any] = {
    f"{MODULES}/modules.builtin": "kernel/drivers/block/virtio_blk.ko\n"
    "kernel/drivers/nvme/host/nvme.ko.xz\n",
    f"{MODULES}/modules.dep": "kernel/drivers/net/virtio_net.ko: kernel/x.ko\n"
    "kernel/drivers/net/xen-netfront.ko.zst:\n",
    f"boot/config-{KERNEL}": "CONFIG_ENA_ETHERNET=y\n# CONFIG_GVE is not set\nCONFIG_NVME=m\n",
    f"{MODULES}/kernel/drivers/scsi/virtio_scsi.ko.gz": "x",
    f"{MODULES}/kernel/drivers/block/xen_blkfront.ko": "x",
    "boot/initrd": trees.cpio(
        ["usr/lib/modules/1/xen-blkfront.ko", "lib/virtio-net.ko.zst", "a.txt"]
    ),
    "boot/none": b"no archive, and no compression that is known",
    "lib": varied.Link("usr/lib"),
}


@TABLES
def places_of_drivers() -> Iterator[str]:
    """Where a kernel's drivers are, by its lists and its initramfs."""
    for paths in (
        (),
        ("/boot/initrd",),
        ("/boot/none", "/boot/initrd"),
        ("/boot/initrd", "/boot/none"),
        ("/gone",),
    ):
        source = drivers.Source(KERNEL, paths)
        yield from varied.of_tree(
            LISTS,
            lambda files, source=source: {"places": drivers.places(files, source)},
            f"{MODULES}/modules.builtin",
            f"{MODULES}/modules.dep",
            f"boot/config-{KERNEL}",
            whole=not paths or paths == ("/boot/initrd",),
        )
    source = drivers.Source(KERNEL, ("/boot/initrd",))
    yield from varied.of_values(
        {
            " ".join(wanted): wanted
            for wanted in (drivers.XEN, ("virtio_net",), ("nvme",), ("ahci",))
        },
        lambda wanted: drivers.places(files_of(LISTS), source, wanted),
    )


BOOT: dict[str, Any] = {
    **{f"boot/vmlinuz-6.{n}": b"" for n in range(1, 19)},
    "boot/kernel-5.9": b"",
    "boot/vmlinuz-0-rescue-x": b"",
    "boot/vmlinuz-linux": bzimage("7.1-arch1"),
    "boot/initrd.img-6.1": b"",
    "boot/initramfs-6.2.img": b"",
    "boot/initrd-6.3": b"",
    "boot/initramfs-6.4": b"",
    "boot/initrd-6.5.img": b"",
    "boot/initramfs-linux.img": b"",
    "vmlinuz": varied.Link("boot/vmlinuz-6.7"),
    "boot/u.efi": pe(linux=bzimage("8.8"), initrd=b"i"),
}


@TABLES
def kernels_in_boot() -> Iterator[str]:
    """Which kernels there are, and which starts, whatever the menu says."""
    menus: dict[str, Any] = {
        "none": None,
        "no entry": (),
        "a": (Entry("a", "/boot/vmlinuz-6.3"),),
        "old": (
            Entry("a", "/boot/kernel-5.9", "", ("/boot/initrd-6.3",)),
            Entry("b", "/boot/vmlinuz-6.3"),
        ),
        "link": (Entry("a", "/vmlinuz", "", ("/gone", "/boot/initrd-6.3")),),
        "gone": (Entry("a", "/boot/gone"), Entry("b", "/boot/vmlinuz-6.3")),
        "chain": (Entry("a", None), Entry("b", "/boot/vmlinuz-6.3")),
        "unified": (Entry("a", "/boot/u.efi", unified=True, said_version="u"),),
        "stub": (Entry("a", "/boot/vmlinuz-linux", unified=True),),
        "arch": (Entry("a", "/boot/vmlinuz-linux", "", ("/boot/initramfs-linux.img",)),),
    }
    for default in (None, 0, -1):
        for name, entries in menus.items():
            if entries or default is None:
                at = None if default is None or not entries else default % len(entries)
                menu = None if entries is None else Configuration("grub2", "/g", entries, at)
                found = varied.told(lambda menu=menu: kernels.kernels(files_of(BOOT), menu))
                yield f"{name} {default}  {every_field.otherwise({}, found)}"
                reported = kernels.reports(files_of(BOOT), kernels.kernels(files_of(BOOT), menu))
                for each in reported:
                    yield f"  {each.version} {each.initramfs} {each.default} {each.drivers.reason}"


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_said_of_bytes(name: str) -> None:
    compare(name)
