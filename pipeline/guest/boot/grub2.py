"""GRUB 2: grub.cfg with its menu, grubenv with what was saved, and which entry is the default.

    grubenv  "# GRUB Environment Block", NAME=VALUE lines, padded with # to 1,024 bytes
    default  an index, an id or a title; "2>0" or "Advanced…>Debian…" lead through submenus
    fallback entries to try, in order, when the default's kernel cannot be read
    blscfg   puts the entries of the Boot Loader Specification where it stands
    source   carries another file out: 41_custom does so with custom.cfg beside grub.cfg

https://www.gnu.org/software/grub/manual/grub/grub.html (default, fallback, Environment block, submenu)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.guest.boot import bls
from pipeline.guest.boot.entries import CONFIG_LIMIT, MAX_ENTRIES, Configuration, Entry
from pipeline.guest.boot.located import locate
from pipeline.guest.boot.script import Interpreter, Statement, parse
from pipeline.guest.tree import Files
from pipeline.text import clean

_PLACES = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg")
_VENDORS = ("/boot/efi/EFI", "/efi/EFI", "/boot/EFI")
_ENVIRONMENTS = ("/boot/grub/grubenv", "/boot/grub2/grubenv")
_FEATURES = ("feature_menuentry_id", "feature_timeout_style", "feature_all_video_module")
_LINUX = re.compile(r"linux(?:16|efi)?|multiboot2?")
_WITH_VALUE = ("--class", "--users", "--hotkey", "--source", "--id")
_MAX_SOURCED = 16
_INITRD = re.compile(r"initrd(?:16|efi)?|module2?")


@dataclass
class _Menu:
    """A menu while grub.cfg is carried out."""

    items: list[Entry | _Submenu] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


@dataclass
class _Submenu:
    title: str
    id: str
    menu: _Menu


def configurations(files: Files) -> list[Configuration]:
    """Every grub.cfg that is there and is no mere pointer to another, the usual place first."""
    found = []
    vendors = [f"{top}/{name}/grub.cfg" for top in _VENDORS for name in files.names(top)]
    for path in (*_PLACES, *vendors):
        text = files.text(path, CONFIG_LIMIT)
        if text is not None and not _points_elsewhere(text):
            found.append(_configuration(files, path, text))
    return found


def _points_elsewhere(text: str) -> bool:
    """Debian's and Fedora's grub.cfg in the EFI system partition only loads the real one."""
    return "configfile" in text and "menuentry" not in text and "blscfg" not in text


def environment(files: Files, beside: str = "") -> dict[str, str]:
    """The variables that grubenv keeps."""
    found: dict[str, str] = {}
    for path in (*_ENVIRONMENTS, *([f"{beside.rsplit('/', 1)[0]}/grubenv"] if beside else [])):
        for line in (files.text(path, 4096) or "").splitlines():
            key, sign, value = line.partition("=")
            if sign and not line.startswith("#"):
                found[key] = value
    return found


def _configuration(files: Files, path: str, text: str) -> Configuration:
    saved = environment(files, path)
    top = _Menu()
    menus = [top]
    sourced: list[str] = []
    uses_bls = False

    def on_command(words: list[str], shell: Interpreter) -> None:
        nonlocal uses_bls
        if words[0] == "load_env":
            shell.variables.update(saved)
        elif words[0] in ("source", ".", "configfile") and len(words) > 1:
            other = locate(files, words[1]) if len(sourced) < _MAX_SOURCED else None
            sourced.append(words[1])
            shell.run(parse(files.text(other, CONFIG_LIMIT) or "") if other else ())
        elif words[0] == "blscfg":
            uses_bls = True
            menus[-1].items += bls.grub_entries(files, shell.variables | _late(saved, shell))

    def on_entry(words: list[str], body: Sequence[Statement], shell: Interpreter) -> None:
        if words[0] == "menuentry":
            menus[-1].items.append(_entry(words, body, shell, path))
        elif words[0] == "submenu" and len(menus) < 8:
            inner = _Menu()
            menus[-1].items.append(_Submenu(*_names(words), inner))
            menus.append(inner)
            shell.run(body)
            menus.pop()

    beside = path.rpartition("/")[0]
    variables = {**dict.fromkeys(_FEATURES, "y"), "prefix": beside, "config_directory": beside}
    shell = Interpreter(variables, on_command, on_entry, lambda name: _there(files, name, saved))
    shell.run(parse(text))
    top.items += _loose(text, shell, path) if not top.items and not uses_bls else []
    fallbacks = shell.variables.get("fallback", "").split()
    return _chosen(top, path, shell.variables.get("default", ""), fallbacks)


def _late(saved: dict[str, str], shell: Interpreter) -> dict[str, str]:
    """Fedora's blscfg reads kernelopts from grubenv by itself when nothing set it."""
    return {} if "kernelopts" in shell.variables else {"kernelopts": saved.get("kernelopts", "")}


def _there(files: Files, name: str, saved: dict[str, str]) -> bool:
    if name.endswith("/grubenv"):
        return bool(saved)
    return name.endswith(".cfg") and locate(files, name) is not None


def _names(words: list[str]) -> tuple[str, str]:
    """Title and id of a menu entry."""
    at = 1
    while at < len(words) and words[at].startswith("--"):  # options may come first
        at += 2 if words[at] in _WITH_VALUE else 1
    title = words[at] if at < len(words) else ""
    marked = [at for at, word in enumerate(words[:-1]) if word == "--id"]
    told = next((word[5:] for word in words if word.startswith("--id=")), "")
    return title, words[marked[0] + 1] if marked else told


def _arguments(words: list[str]) -> list[str]:
    """What the commands of an entry call $1, its title, and $2, …: all words that are no options."""
    found, at = list[str](), 1
    while at < len(words):
        if not words[at].startswith("--"):
            found.append(words[at])
        at += 2 if words[at] in _WITH_VALUE else 1
    return found


def _entry(words: list[str], body: Sequence[Statement], shell: Interpreter, path: str) -> Entry:
    title, name = _names(words)
    kernel: list[str] = []
    initramfs: list[str] = []

    def on_command(command: list[str], _: Interpreter) -> None:
        if _LINUX.fullmatch(command[0]) and len(command) > 1 and not _is_hypervisor(command):
            kernel[:] = command[1:]
        elif command[0] in ("module", "module2") and not kernel and len(command) > 1:
            kernel[:] = [word for word in command[1:] if word != "--nounzip"]
        elif _INITRD.fullmatch(command[0]):
            initramfs.extend(word for word in command[1:] if not word.startswith("--"))

    functions = dict(shell.functions)
    inner = Interpreter(dict(shell.variables), on_command, lambda *_: None, shell.exists, functions)
    inner.with_arguments(_arguments(words), body)
    return Entry(
        clean(title, 200),
        kernel[0] if kernel else None,
        " ".join(_quoted(word) for word in kernel[1:]),
        tuple(initramfs),
        path,
        name,
    )


def _quoted(word: str) -> str:
    return f'"{word}"' if re.search(r"\s", word) else word


def _is_hypervisor(command: list[str]) -> bool:
    """A Xen host starts /boot/xen.gz and hands it the kernel as a module."""
    return command[0].startswith("multiboot")


def _loose(text: str, shell: Interpreter, path: str) -> list[Entry | _Submenu]:
    """A grub.cfg without menu entries that starts a kernel by itself."""
    entry = _entry(["menuentry", "grub.cfg"], parse(text), shell, path)
    return [entry] if entry.kernel else []


# ------------------------------------------------------------------------------------------ default


def _chosen(menu: _Menu, path: str, default: str, fallbacks: Sequence[str]) -> Configuration:
    entries = list(_flat(menu))
    wanted = _resolve(menu, default)
    how = f"default={default}" if default else "the first entry"
    if wanted is None:
        wanted = _resolve(menu, "0")
        how = f"default={default} names no entry, so the first one" if default else how
    index = next((at for at, entry in enumerate(entries) if entry is wanted), None)
    kept = tuple(entries[:MAX_ENTRIES])
    if index is not None and index >= MAX_ENTRIES:
        kept, index = (*kept[:-1], entries[index]), MAX_ENTRIES - 1
    others = (_item(menu, name) for name in fallbacks)
    behind = tuple(at for item in others for at, entry in enumerate(kept) if entry is item)
    return Configuration("grub2", path, kept, index, clean(how, 200) if kept else None, behind)


def _flat(menu: _Menu) -> list[Entry]:
    found: list[Entry] = []
    for item in menu.items:
        found += _flat(item.menu) if isinstance(item, _Submenu) else [item]
    return found


def _resolve(menu: _Menu, default: str) -> Entry | None:
    """The entry that a default means; None when there is no such entry.

    ">>" within a title stands for ">".
    """
    first, _, rest = default.replace(">>", "\0").partition(">")
    name = first.replace("\0", ">")
    item = _item(menu, name)
    if isinstance(item, _Submenu):
        return _resolve(item.menu, rest.replace("\0", ">>")) or _resolve(item.menu, "0")
    return item


def _item(menu: _Menu, name: str) -> Entry | _Submenu | None:
    if name.isdigit():
        at = int(name[:6])
        return menu.items[at] if at < len(menu.items) else None
    if not name:
        return menu.items[0] if menu.items else None
    return next((item for item in menu.items if name in (item.id, item.title)), None)
