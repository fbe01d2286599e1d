"""Network configuration that fits only the machine that the image came from.

    seen.py      what one file says          plain.py    ifcfg, interfaces(5), keyfiles, networkd
    netplan.py   YAML                        (here)      which files there are, what cloud-init rewrites

A file in /etc hides one of the same name in /run and /usr/lib, as systemd and NetworkManager have it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.guest import globs, units
from pipeline.guest.network import netplan, plain
from pipeline.guest.network.seen import MAC, Seen, without_comments
from pipeline.guest.tree import Files
from pipeline.guest.units import Units
from pipeline.text import clean

_GENERATED = re.compile(
    r"#.*(?:created by cloud-init|generated (?:from|by) .*(?:datasource|cloud-init))", re.IGNORECASE
)
_WRITTEN = re.compile(r"/(?:50-cloud-init|10-cloud-init-|cloud-init-)[^/]*$")
_LEFT_OVER = re.compile(
    r"~$|\.(?:bak|old|orig|swpx?|rpm(?:new|orig|save)|dpkg-\w+|ucf-\w+|pacnew|pacsave)$"
)
_RULES = ("/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
CLIENTS = (
    ("systemd-networkd", ("systemd-networkd.service",)),
    ("NetworkManager", ("NetworkManager.service",)),
    ("ifupdown", ("networking.service",)),
    ("network-scripts", ("network.service",)),
    ("wicked", ("wicked.service", "wickedd.service")),
    ("dhcpcd", ("dhcpcd.service",)),
)
MAX_FILES = 64  # of one directory

_Look = Callable[[str], Seen]


@dataclass(frozen=True)
class Network:
    """``section.NetworkFacts``."""

    hardware_addresses: tuple[str, ...]
    static_addresses: tuple[str, ...]
    persistent_rules: tuple[str, ...]
    rewritten: tuple[str, ...]
    dhcp: tuple[str, ...]
    interface_names: tuple[str, ...]
    clients: tuple[str, ...]
    no_auto_default: bool


def facts(files: Files, started: Units, *, cloud_init: bool) -> Network:
    """What is bound to one machine.

    With ``cloud_init`` what it wrote is told apart: it writes that anew for each server.
    """
    own: list[tuple[str, Seen]] = []
    rewritten: list[tuple[str, Seen]] = []
    for path, text, look in _files(files):
        found = rewritten if cloud_init and _from_cloud_init(path, text) else own
        found.append((path, look(text)))
    bound = [
        *((path, value) for path, seen in rewritten for value in (*seen.hardware, *seen.static))
    ]
    return Network(
        _words(item for path, seen in own for item in _lines_of(files, path, seen.hardware)),
        _words((path, value) for path, seen in own for value in seen.static),
        tuple(_rules(files)),
        _words(iter(bound)),
        tuple(clean(path, 200) for path, seen in (*own, *rewritten) if seen.dhcp),
        _words((path, value) for path, seen in own for value in seen.names),
        tuple(name for name, of in CLIENTS if units.state(files, started, of) == "enabled"),
        _no_auto_default(files),
    )


def _lines_of(files: Files, path: str, addresses: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each hardware address with the place that it stands in: ``FILE, line 4`` and that line.

    One that stands in a drop-in of the file is told as it is.
    """
    lines = (files.text(path) or "").splitlines()
    for address in addresses:
        number = next((n for n, line in enumerate(lines, 1) if address in line), None)
        if number is None:
            yield path, address
        else:
            yield f"{path}, line {number}", lines[number - 1].strip()


def _words(found: Iterator[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(clean(f"{path}: {value}", 200) for path, value in found)


def _from_cloud_init(path: str, text: str) -> bool:
    return bool(_WRITTEN.search(path)) or any(_GENERATED.match(x) for x in text[:1000].splitlines())


def _files(files: Files) -> Iterator[tuple[str, str, _Look]]:
    for path, look in _places(files):
        text = files.text(path)
        if text is not None:
            yield path, text, look
    yield from _ifupdown(files)
    found = _layered(files, "systemd/network", (".network", ".link", ".netdev"))
    files.expect(*(f"{place}.d" for path in found for place in (path, _in_etc(path))))
    for path in found:
        drop_ins = [f"{path}.d"] if path.startswith("/etc") else [f"{path}.d", _in_etc(f"{path}.d")]
        parts = [path, *(each for top in drop_ins for each in files.matching(top, ".conf"))]
        yield path, "\n".join(files.text(part) or "" for part in parts[:MAX_FILES]), plain.networkd


def _places(files: Files) -> Iterator[tuple[str, _Look]]:
    for directory in ("/etc/sysconfig/network-scripts", "/etc/sysconfig/network"):
        for name in files.names(directory)[:MAX_FILES]:
            if name.startswith("ifcfg-") and name != "ifcfg-lo" and not _left_over(name):
                yield f"{directory}/{name}", plain.ifcfg
    for path in _layered(files, "netplan", (".yaml", ".yml")):
        yield path, netplan.look
    for path in _layered(files, "NetworkManager/system-connections", ("",)):
        if not _left_over(path.rsplit("/", 1)[1]):
            yield path, plain.keyfile


def _left_over(name: str) -> bool:
    """What editors and package managers leave, which no reader of a directory takes."""
    return name.startswith(".") or _LEFT_OVER.search(name) is not None


def _layered(files: Files, directory: str, suffixes: tuple[str, ...]) -> list[str]:
    """The files of a directory below /usr/lib, /run and /etc; the later hides the same name.

    A link to /dev/null hides it too.
    """
    found: dict[str, str] = {}
    for top in ("/usr/lib", "/run", "/etc"):
        paths = list(files.matching(f"{top}/{directory}", *suffixes))[:MAX_FILES]
        files.expect(*paths)
        for path in paths:
            name = path.rsplit("/", 1)[1]
            found.pop(name, None)
            if files.is_file(path):
                found[name] = path
    return [found[name] for name in sorted(found)]


def _in_etc(path: str) -> str:
    return re.sub(r"^/(?:usr/lib|run)/", "/etc/", path)


def _ifupdown(files: Files) -> Iterator[tuple[str, str, _Look]]:
    todo, seen = ["/etc/network/interfaces"], set[str]()
    while todo and len(seen) < MAX_FILES:
        path = todo.pop(0)
        text = None if path in seen else files.text(path)
        seen.add(path)
        if text is None:
            continue
        yield path, text, plain.interfaces
        for word, pattern in plain.sources(text):
            todo += _sourced(files, word, posixpath.join(posixpath.dirname(path), pattern))


def _sourced(files: Files, word: str, pattern: str) -> list[str]:
    """The files that a source line means: a pattern, or directories of plain names (interfaces(5))."""
    paths = globs.expand(files, pattern)
    if word == "source":
        return paths
    names = [(path, name) for path in paths for name in files.names(path)]
    return [posixpath.join(*each) for each in names if re.fullmatch(r"[\w-]+", each[1])][:MAX_FILES]


def _rules(files: Files) -> Iterator[str]:
    """Rules of udev that give an interface its name by its hardware address, whatever the file's name."""
    for directory in _RULES:
        for path in list(files.matching(directory, ".rules"))[:256]:
            if directory != _RULES[0] and "persistent-net" not in path:
                continue  # what a distribution ships names no card
            text = without_comments((files.text(path) or "").replace("\\\n", " "))
            if any(_names_by_address(line) for line in text.splitlines()):
                yield clean(path, 200)


def _names_by_address(line: str) -> bool:
    about = re.search(r"ATTRS?\{(?:address|permaddr)\}|ENV\{(?:ID_NET_NAME_MAC|MAC)", line)
    return bool(about and "NAME" in line and MAC.search(line))


def _no_auto_default(files: Files) -> bool:
    paths = ["/etc/NetworkManager/NetworkManager.conf"]
    for top in ("/usr/lib/NetworkManager/conf.d", "/etc/NetworkManager/conf.d"):
        paths += list(files.matching(top, ".conf"))[:MAX_FILES]
    return any(
        re.search(r"^[ \t]*no-auto-default\s*=\s*\*", files.text(path) or "", re.MULTILINE)
        for path in paths
    )
