"""Paths, patterns, versions, YAML and limits: what comes of them and what is asked of the guest, word "
"for word."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import varied
from guests import GRUB_CFG, VOLUME, Disk, Link
from phony import Memory, files_of

from pipeline.guest import (
    boot,
    cloudinit,
    fstab,
    globs,
    leftovers,
    network,
    packages,
    passwd,
    sshd,
    units,
    versions,
    yamlfile,
)
from pipeline.guest.boot import located
from pipeline.guest.boot.entries import Entry
from pipeline.guest.survey import Survey
from pipeline.guest.tree import Entry as Node
from pipeline.guest.tree import Files, TreeError, Unreadable
from pipeline.guest.volumes import Volumes
from tests import every_field

HERE = Path(__file__).parent
TABLES = varied.Tables(HERE / "said")
STRUCTURES, compare = TABLES.made, TABLES.compare


class Asked(Memory):
    """A tree that writes down what it is asked."""

    def __init__(self, tree: dict[str, Any]) -> None:
        super().__init__(tree)
        self.log: list[str] = []

    def stat(self, directory: str, names: Sequence[str]) -> list[Node | None]:
        self.log.append(f"stat {directory} {' '.join(names)}")
        return super().stat(directory, names)

    def names(self, directory: str) -> list[str]:
        self.log.append(f"names {directory}")
        return super().names(directory)

    def readlink(self, path: str) -> str:
        self.log.append(f"readlink {path}")
        return super().readlink(path)

    def read(self, path: str, offset: int, length: int) -> bytes:
        self.log.append(f"read {path} {offset}+{length}")
        return super().read(path, offset, length)


TREE: dict[str, Any] = {
    "etc/a": "text",
    "etc/empty": "",
    "etc/large": b"x" * 20_000,
    "etc/link": Link("a"),
    "etc/up": Link("../etc/./link"),
    "etc/root": Link("/etc/a"),
    "etc/beyond": Link("../../../../etc/a"),
    "etc/loop": Link("loop"),
    "etc/dead": Link("nothing"),
    "etc/through": Link("a/b"),
    "etc/dir": Link("../usr"),
    "usr/share/x": "x",
    "usr/share/.y": "y",
    "usr/share/z.conf": b"\xff",
    **{f"l/{n}": Link(f"{n - 1}" if n else "/etc/a") for n in range(18)},
}
PATHS = (
    "/",
    "",
    "/etc",
    "/etc/",
    "etc/a",
    "//etc//./a",
    "/etc/../etc/a",
    "/usr/share/../share/x",
    "/../etc/a",
    "/etc/link",
    "/etc/up",
    "/etc/root",
    "/etc/beyond",
    "/etc/loop",
    "/etc/dead",
    "/etc/through",
    "/etc/a/b",
    "/etc/a/",
    "/etc/dir/share/x",
    "/etc/dir",
    "/none",
    "/none/x",
    "/usr/share",
    "/l/14",
    "/l/15",
    "/l/16",
    "/l/17",
)


@TABLES
def questions() -> Iterator[str]:
    """What each path leads to, and what is asked for it the first time and again."""
    for path in PATHS:
        tree = Asked(TREE)
        files = Files(tree)
        said = [
            files.find(path) and files.find(path).guest_path,  # type: ignore[union-attr]
            files.entry(path, follow=False) and files.entry(path, follow=False).kind,  # type: ignore[union-attr]
            files.is_file(path),
            files.is_directory(path),
            files.names(path),
            files.text(path, 10),
        ]
        yield f"{path}  {said} {tree.log}"
        tree.log.clear()
        files.names(path)
        files.text(path, 10)
        yield f"{path} again  {tree.log}"
    whole = Asked(TREE)
    files = Files(whole)
    for _ in range(2):
        for length in (0, 1, 4, 5, 16 * 1024, 16 * 1024 + 1, 20_000, 30_000):
            content = files.read("/etc/large", length)
            yield f"large {length}  {len(content or b'')} {whole.log}"
            whole.log.clear()
    for at in (0, 1, 3, 4, 5):
        yield f"at {at}  {[files.read_at(path, at, 2) for path in ('/etc/a', '/etc', '/none')]}"
    yield f"{list(files.matching('/usr/share', '.conf', 'x'))} {list(files.matching('/usr/share/', ''))}"


@TABLES
def expected() -> Iterator[str]:
    """How many questions it takes to learn of many paths."""
    lists: tuple[tuple[str, ...], ...] = (
        ("/etc/a", "/etc/b", "/usr/share/x", "/usr/share/q"),
        ("/etc/dir/share/x", "/etc/dir/none/x"),
        ("/none/a", "/none/b"),
        ("/etc/a/b", "/"),
        (),
    )
    for paths in lists:
        tree = Asked(TREE)
        files = Files(tree)
        files.expect(*paths)
        first = list(tree.log)
        files.expect(*paths)
        found = [files.entry(path) is not None for path in paths]
        yield f"{paths}  {first} {tree.log[len(first) :]} {found}"
    tree = Asked(TREE)
    files = Files(tree)
    files.prefetch("/etc", ["a", "b"])
    files.prefetch("/etc/", ["a", "c"])
    files.prefetch("/etc", ["a"])
    files.prefetch("/none", ["a"])
    files.prefetch("/etc/a", ["a"])
    files.prefetch("/", ["etc", "x"])
    yield f"prefetch  {tree.log}"


@TABLES
def mounts_of_trees() -> Iterator[str]:
    """Trees in trees, their prefixes, and what cannot be read."""
    for prefix in ("", "/sub", "/sub/deep"):
        top, boot_tree = (
            Asked({f"{prefix.strip('/')}/{name}".strip("/"): x for name, x in TREE.items()}),
            Asked({"in/k": "k"}),
        )
        files = Files(top, prefix)
        before = [files.entry("/boot/k") is not None, files.names("/boot")]
        for point, inner in (("/boot", "/in"), ("/usr/", ""), ("/lost", "")):
            files.attach(point, Unreadable("it is away") if point == "/lost" else boot_tree, inner)
        for path in (
            "/boot/k",
            "/boot",
            "/usr/in/k",
            "/usr",
            "/bootx",
            "/etc/a",
            "/etc/dir/in/k",
            "/lost",
            "/lost/x",
            "/boot/../etc/a",
        ):
            try:
                said: Any = [files.text(path), files.names(path), files.find(path) is not None]
            except TreeError as error:
                said = str(error)
            yield f"{prefix} {path}  {before} {said}"
        yield f"{prefix}  {top.log} {boot_tree.log}"


@TABLES
def patterns() -> Iterator[str]:
    """Patterns of paths, as glob(7) has them and as GRUB has them."""
    tree = {
        "a/b1": "",
        "a/b2": "",
        "a/.c": "",
        "a/d/e": "",
        "a/f/e": "",
        "boot/v-1": "",
        "boot/efi/w[1]": "",
        "x": Link("no"),
    }
    tree |= {f"many/{n:03}": "" for n in range(70)}
    asked = (
        "/a/b?",
        "/a/*",
        "/a/.*",
        "/*/b1",
        "/a/*/e",
        "/a/b[1]",
        "/a/b[!1]",
        "/none/*",
        "/none",
        "/*",
        "/many/*",
        "/many/*9",
        "/x",
        "/?",
        "(hd0)/v-*",
        "/v-*",
        "v-?",
        "/w[*",
        "(hd0,1)/boot/v-*",
        "()/many/06?",
    )
    for pattern in asked:
        found = [look(files_of(tree), pattern) for look in (globs.expand, located.matching)]
        yield f"{pattern}  {found}"
    for path in (
        "/v-1",
        "(hd0)/v-1",
        '"/v-1"',
        "/x/boot/v-1",
        "/x/v-1",
        "/w[1]",
        "v-1",
        "/boot/v-1",
        "/a",
        "/",
        "",
    ):
        yield f"{path}  {located.locate(files_of(tree), path)}"


@TABLES
def lacking() -> Iterator[str]:
    """What of an entry's files is missing."""
    tree = {f"boot/{n}": "" for n in range(12)}
    for names in (
        (),
        ("/0",),
        ("/gone",),
        ("/z", "/k"),
        ("/0", "/gone", "/1"),
        tuple(f"/gone{n}" for n in range(12)),
        ("/k", "/k"),
    ):
        for kernel in (None, "/k", "/boot/1"):
            for broken in (False, True):
                for used in ((), ("/dev/sda1",)):
                    guest = Disk((VOLUME,), ("broken" if broken else {"k": ""},))
                    some = Volumes(
                        Survey(guest.table, guest.volumes, (), (), truncated=False), guest
                    )
                    entry = Entry("e", kernel, initramfs=names, source="/s")
                    found = varied.told(
                        lambda entry=entry, some=some, used=used: located.missing(
                            files_of(tree), some, entry, frozenset(used)
                        )
                    )
                    yield f"{kernel} {names} {broken} {used}  {every_field.otherwise({}, found)}"


VERSIONS = (
    "",
    "1",
    "1.2",
    "1.10",
    "1-2",
    "1~rc1",
    "1^x",
    "1.2.3-amd64",
    "a",
    "A",
    "a-1",
    "a.conf",
    "a-1.conf",
    "a10",
    "a9",
    "1a",
    "~",
    "^",
    "-",
    ".",
    "1_2",
    "1+2",
    "6.1.0-18-amd64",
    "6.10.0",
    "9" * 20,
    "x" * 600,
    "1." * 300,
)


@TABLES
def orders() -> Iterator[str]:
    """How versions are sorted."""
    for name, key in (("version", versions.version_key), ("uapi", versions.uapi_key)):
        for text in VERSIONS[:-2]:
            yield f"{name} {text}  {key(text)}"
        yield from (f"{name} {text[:5]}  {len(key(text))}" for text in VERSIONS[-2:])
        yield f"{name}  {sorted(VERSIONS[:-2], key=key)}"  # type: ignore[arg-type]


@TABLES
def command_lines() -> Iterator[str]:
    """The words of a kernel's command line, its root, and the version and kind of an entry."""
    lines = (
        "",
        "ro",
        "root=a",
        'root="a b" x',
        "root='a",
        "root=a root=b",
        'root=LABEL="x"',
        "console=tty0 console=ttyS0,1 rootx=1",
        "root=",
        "x" * 4090 + " root=a",
        "x" * 4088 + " root=a",
        "a\\ b",
    )
    for line in lines:
        entry = Entry("t", "/k", line)
        shown = [word[:20] for word in entry.options]
        yield f"{line[:30]} {len(line)}  {shown} {entry.root} {entry.option('console')}"
    kernels = (
        None,
        "",
        "/",
        "/boot/vmlinuz-6.1",
        "/vmlinux-6",
        "/bzImage",
        "/Image-6",
        "/kernel-6",
        "/linux-6",
        "/linux",
        "/6.1/linux",
        "/x/6.1/linux",
        "/x/6.1/vmlinuz",
        "/x/6.1/vmlinuz/",
        "/x/y/linux",
        "/vmlinuz-0-rescue-x",
        "/rescue/vmlinuz-6",
    )
    for kernel in kernels:
        for title in ("t", "Recovery mode", "a RESCUE b"):
            entry = Entry(title, kernel)
            said = Entry(title, kernel, said_version="s").version
            yield f"{kernel} {title}  {entry.version} {entry.rescue} {said}"


@TABLES
def yaml_files() -> Iterator[str]:
    """YAML as it is read, and what is not read of it."""
    aliases = {n: "a: &a 1\nb: [" + ", ".join(["*a"] * n) + "]\n" for n in (1, 63, 64, 65)}
    deep = {n: "[" * n + "]" * n for n in (1, 18, 19, 20, 21)}
    long = {n: "a: " + "x" * (n - 3) for n in (64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1)}
    texts: dict[str, str] = {f"{n} aliases": text for n, text in aliases.items()}
    texts |= {f"{n} deep": f"a: {text}" for n, text in deep.items()} | {
        f"{n} long": text for n, text in long.items()
    }
    texts |= {
        text: text
        for text in (
            "",
            "a",
            "a: b",
            "a: 52:54:00",
            "- a",
            "a: !!python/object:x {}",
            "a: [",
            "{a: 1, a: 2}",
            "? [a]\n: b",
            "a: 2001-99-99",
            "%YAML 9.9\n---\na: 1",
            "a: 1\n---\nb: 2",
            "1: 2",
        )
    }
    for name, text in texts.items():
        for typed in (True, False):
            shown = str(yamlfile.parse(text, typed=typed))[:60]
            yield f"{name!r} {typed}  {shown} {len(yamlfile.mapping(text, typed=typed))}"


def _people(count: int) -> str:
    return "".join(f"u{n}:x:{1000 + n}:1::/home/{n}:/bin/sh\n" for n in range(count))


LINE = "LABEL=a /a ext4\n"


@TABLES
def most() -> Iterator[str]:
    """How many of a kind are looked at."""
    files: Callable[[dict[str, Any]], Files] = files_of
    for n in (49, 50, 51, 52):
        homes = {
            "etc/passwd": _people(n),
            **{
                f"home/{k}/.ssh/{name}": "key x"
                for k in range(n)
                for name in ("id_rsa", "authorized_keys")
            },
        }
        homes |= {f"home/{k}/.netrc": "x" for k in range(n)}
        found = files(homes)
        keys = passwd.users(found)
        yield f"{n} homes  {len(keys.private_keys.value or ()) if keys else None} " + str(
            [
                len(sshd.facts(found, units.read(found)).authorized_keys.value or ()),
                len(leftovers.facts(found).cloud_credentials.value or ()),
            ]
        )
    for n in (19, 20, 21):
        logs = {f"var/spool/cron/{k:02}": "x" for k in range(n)}
        yield f"{n} jobs  {len(leftovers.facts(files(logs)).jobs.value or ())}"
    for n in (999, 1000, 1001):
        yield f"{n} accounts  {len(passwd.accounts(files({'etc/passwd': _people(n)})))}"
    for n in (199, 200, 201):
        yield f"{n} lines of fstab  {len(fstab.parse(LINE * n))}"
    for n in (30, 31, 32, 33):
        configs = {
            "etc/ssh/sshd_config": "Include /etc/ssh/c/*\n",
            **{f"etc/ssh/c/{k:02}": "Port 1\n" for k in range(n)},
        }
        yield f"{n} includes  {len(sshd._settings(files(configs)).get('port', []))}"
    for n in (7, 8, 9):
        ports = sshd.facts(
            files({"etc/ssh/sshd_config": "Port 1\n" * n}), units.read(files({}))
        ).ports
        state = cloudinit._state(files({f"var/lib/cloud/instances/{k}": None for k in range(n)}))
        yield f"{n} ports and instances  {len(ports)} {len(state)}"
    for n in (63, 64, 65):
        each = ", ".join(f"e{k}: {{addresses: [10.0.0.{k + 1}/24]}}" for k in range(n))
        text = f"network: {{ethernets: {{{each}}}}}"
        listed = ", ".join(f"10.0.0.{k + 1}/24" for k in range(n))
        one = f"network: {{ethernets: {{e: {{addresses: [{listed}]}}}}}}"
        netplan = [len(network.netplan.look(each).static) for each in (text, one)]
        cfg = {f"etc/cloud/cloud.cfg.d/{k:03}.cfg": f"k{k}: 1\n" for k in range(n)}
        rules = {
            f"etc/netplan/{k:03}.yaml": "network: {ethernets: {e: {dhcp4: true}}}" for k in range(n)
        }
        rules |= {f"etc/sysconfig/network/ifcfg-{k:03}": "BOOTPROTO=dhcp\n" for k in range(n)}
        looked = network.facts(files(rules), units.read(files({})), cloud_init=False)
        merged = cloudinit.configuration(files(cfg))
        yield f"{n} of network and cloud-init  {netplan} {len(merged)} {len(looked.dhcp)}"
        menu = "".join(f"menuentry {k} {{ linux /{k}; }}\n" for k in range(n))
        entries = {f"efi/loader/entries/{k:03}.conf": f"linux /{k}\n" for k in range(n)}
        found_menus = [boot.configuration(files(each)) for each in ({GRUB_CFG: menu}, entries)]
        yield f"{n} entries  {[len(each.entries) for each in found_menus if each]}"
    for n in (499, 500, 501):
        links = {f"etc/systemd/system/a.wants/{k:03}.service": Link("/x") for k in range(n)}
        links |= {f"etc/rc2.d/S20{k:03}": Link("/x") for k in range(n)} | {
            f"etc/runlevels/boot/r{k:03}": Link("/x") for k in range(n)
        }
        read = units.read(files(links))
        yield f"{n} links  {len(read.wanted)} {len(read.rc)}"
    for n in (199, 200, 201):
        yield f"{n} modules  {len(list(cloudinit._modules(['m'] * n)))}"
    pac = packages.read(files({f"var/lib/pacman/local/p{k}-1-1": None for k in range(30)}))
    yield f"pacman  {len(pac.versions) if pac else None}"


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_comes_of_every_path(name: str) -> None:
    compare(name)
