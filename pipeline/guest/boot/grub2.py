"""GRUB 2: grub.cfg with its menu, grubenv with what was saved, and which entry is the default.

    grubenv  "# GRUB Environment Block", NAME=VALUE lines, padded with # to 1,024 bytes
    default  an index, an id or a title; "2>0" or "Advanced…>Debian…" lead through submenus
    fallback entries to try, in order, when the default's kernel cannot be read
    blscfg   puts the entries of the Boot Loader Specification where it stands
    source   carries another file out: 41_custom does so with custom.cfg beside grub.cfg

What shows only when GRUB runs (which disks there are, the order of a directory's files) is in doubt; where
the default entry depends on it, its answer is unknown.

https://www.gnu.org/software/grub/manual/grub/grub.html (default, fallback, Environment block, submenu)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipeline.guest.boot import bls
from pipeline.guest.boot.entries import CONFIG_LIMIT, MAX_ENTRIES, Configuration, Entry
from pipeline.guest.boot.located import locate, matching
from pipeline.guest.boot.script import MAX_COMMANDS, Statement, parse
from pipeline.guest.boot.shell import Interpreter
from pipeline.guest.boot.words import UNKNOWN
from pipeline.guest.firmware import MAX_VENDORS
from pipeline.guest.tree import Files, TreeError
from pipeline.text import clean

_PLACES = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg")
_VENDORS = ("/boot/efi/EFI", "/efi/EFI", "/boot/EFI")
_ENVIRONMENTS = ("/boot/grub/grubenv", "/boot/grub2/grubenv")
_FEATURES = ("feature_menuentry_id", "feature_timeout_style", "feature_all_video_module")
_LINUX = re.compile(r"linux(?:16|efi)?|multiboot2?")
_WITH_VALUE = ("--class", "--users", "--hotkey", "--source", "--id")
_SOURCES = ("source", ".", "configfile")
_MAX_SOURCED = 16
_INITRD = re.compile(r"initrd(?:16|efi)?|module2?")


@dataclass
class _Menu:
    """A menu while grub.cfg is carried out."""

    items: list[Entry | _Submenu] = field(default_factory=list)
    fixed: int | None = None  # how many of them have a place that is known; None: all
    doubt: str = ""

    def suspect(self, doubt: str) -> None:
        """From here on nobody knows how many entries there are."""
        if self.fixed is None:
            self.fixed, self.doubt = len(self.items), doubt


@dataclass
class _Submenu:
    title: str
    id: str
    menu: _Menu


def configurations(files: Files) -> list[Configuration]:
    """Every grub.cfg that is there and is no mere pointer to another, the usual place first.

    Raises ``TreeError`` when which entry starts shows only when GRUB runs.
    """
    found = []
    vendors = [
        f"{top}/{name}/grub.cfg" for top in _VENDORS for name in files.names(top)[:MAX_VENDORS]
    ]
    for path in (*_PLACES, *vendors):
        text = files.text(path, CONFIG_LIMIT)
        if text is not None and not _points_elsewhere(text):
            found.append(_Reading(files, path).configuration(text))
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


class _Reading:
    """A grub.cfg while it is carried out."""

    def __init__(self, files: Files, path: str) -> None:
        self._files, self._path = files, path
        self._saved = environment(files, path)
        self._menus = [_Menu()]
        self._sourced = 0
        self._uses_bls = False

    def configuration(self, text: str) -> Configuration:
        """Its menu, and what starts by itself."""
        top, beside = self._menus[0], self._path.rpartition("/")[0]
        shell = Interpreter(
            {**dict.fromkeys(_FEATURES, "y"), "prefix": beside, "config_directory": beside},
            self._command,
            self._entry,
            exists=lambda name: _there(self._files, name, self._saved),
            matches=lambda pattern: matching(self._files, pattern),
            on_maybe=self._maybe,
        )
        shell.run(_script(text))
        if shell.steps > MAX_COMMANDS:
            raise TreeError(f"{self._path}: it goes on for more than {MAX_COMMANDS} commands")
        if not top.items and not self._uses_bls:
            top.items += _loose(text, shell, self._path)
        fallbacks = shell.variables.get("fallback", "").split()
        return _chosen(top, self._path, shell.variables.get("default", ""), fallbacks)

    def _command(self, words: list[str], shell: Interpreter) -> None:
        if words[0] == "load_env":
            shell.variables.update(self._saved)
        elif words[0] in _SOURCES and len(words) > 1:
            self._source(words[1], shell, certain=True)
        elif words[0] == "blscfg":
            self._uses_bls = True
            variables = shell.variables | _late(self._saved, shell)
            self._menus[-1].items += bls.grub_entries(self._files, variables)

    def _maybe(self, words: list[str], shell: Interpreter) -> None:
        if words[0] in _SOURCES and len(words) > 1:
            self._source(words[1], shell, certain=False)

    def _source(self, name: str, shell: Interpreter, *, certain: bool) -> None:
        other = locate(self._files, name) if self._sourced < _MAX_SOURCED else None
        self._sourced += 1
        if _is_open(name):
            self._menus[-1].suspect("it reads a file whose name shows only then")
        text = self._files.text(other, CONFIG_LIMIT) if other else None
        shell.run(_script(text or ""), certain=certain)

    def _entry(self, words: list[str], body: Sequence[Statement], shell: Interpreter) -> None:
        menu = self._menus[-1]
        if shell.guess and words[0] in ("menuentry", "submenu"):
            menu.suspect(shell.guess)
        if words[0] == "menuentry":
            menu.items.append(_entry(words, body, shell, self._path))
        elif words[0] == "submenu" and len(self._menus) < 8:
            inner = _Menu()
            arguments, name = _head(words)
            menu.items.append(_Submenu("".join(arguments[:1]), name, inner))
            self._menus.append(inner)
            shell.run(body)
            self._menus.pop()


def _script(text: str) -> tuple[Statement, ...]:
    """The statements of a file, in which nothing is unknown."""
    return parse(text.replace(UNKNOWN, ""))


def _late(saved: dict[str, str], shell: Interpreter) -> dict[str, str]:
    """Fedora's blscfg reads kernelopts from grubenv by itself when nothing set it."""
    return {} if "kernelopts" in shell.variables else {"kernelopts": saved.get("kernelopts", "")}


def _there(files: Files, name: str, saved: dict[str, str]) -> bool:
    if name.endswith("/grubenv"):
        return bool(saved)
    return locate(files, name) is not None


def _head(words: list[str]) -> tuple[list[str], str]:
    """What the commands of a menu entry call $1, its title, and $2, …; and its id, the last one told.

    Options may stand anywhere among them.
    """
    arguments, name, left = list[str](), "", iter(words[1:])
    for word in left:
        if word in _WITH_VALUE:
            value = next(left, "")
            name = value if word == "--id" else name
        elif word.startswith("--id="):
            name = word.removeprefix("--id=")
        elif not word.startswith("--"):
            arguments.append(word)
    return arguments, name


def _entry(words: list[str], body: Sequence[Statement], shell: Interpreter, path: str) -> Entry:
    arguments, name = _head(words)
    sure, maybe = _Started(), _Started()
    inner = replace(
        shell,
        variables=dict(shell.variables),
        on_command=lambda command, _: sure.command(command),
        on_entry=lambda *_: None,
        on_maybe=lambda command, _: maybe.command(command),
        functions=dict(shell.functions),
        steps=0,
        guess="",
    )
    inner.with_arguments(arguments, body)
    title = clean(_shown("".join(arguments[:1])), 200)
    kernel, initramfs = sure.kernel or maybe.kernel, sure.initramfs or maybe.initramfs
    options = [word for word in kernel[1:] if UNKNOWN not in word]
    if _doubtful(sure, maybe) or inner.steps > MAX_COMMANDS:
        doubt = f"what {title} starts shows only when GRUB runs"
        return Entry(title, None, source=path, id=name, doubt=doubt)
    return Entry(
        title,
        _shown(kernel[0]) if kernel else None,
        " ".join(_quoted(word) for word in options),
        tuple(map(_shown, initramfs)),
        path,
        name,
    )


def _shown(path: str) -> str:
    """A path on a device that GRUB will search for: ``(…)/vmlinuz``."""
    return path.replace(UNKNOWN, "…")


@dataclass
class _Started:
    """What the commands of an entry start."""

    kernel: list[str] = field(default_factory=list)
    initramfs: list[str] = field(default_factory=list)
    ways: set[tuple[str, ...]] = field(default_factory=set)  # its kernel, and root=
    strange: bool = False  # a command whose name nobody knows

    def command(self, words: list[str]) -> None:
        """Look at one."""
        if _LINUX.fullmatch(words[0]) and len(words) > 1 and not _is_hypervisor(words):
            self._starts(words[1:])
        elif words[0] in ("module", "module2") and not self.kernel and len(words) > 1:
            self._starts([word for word in words[1:] if word != "--nounzip"])
        elif _INITRD.fullmatch(words[0]):
            self.initramfs += [word for word in words[1:] if not word.startswith("--")]
        elif UNKNOWN in words[0]:
            self.strange = True

    def _starts(self, kernel: list[str]) -> None:
        self.kernel = kernel
        self.ways.add(_way(kernel))


def _doubtful(sure: _Started, maybe: _Started) -> bool:
    """Whether it shows only when GRUB runs what an entry starts.

    What several ways agree on (linux here, linuxefi there) is sure, as is what lies on any device.
    """
    kernel = sure.kernel or maybe.kernel
    if not kernel:
        return sure.strange or maybe.strange
    files = [kernel[0], *(sure.initramfs or maybe.initramfs)]
    path, *root = _way(kernel)
    unknown_root = any(UNKNOWN in word for word in (root or kernel[1:]))
    return bool(maybe.ways - {(path, *root)}) or unknown_root or any(map(_is_open, files))


def _way(kernel: list[str]) -> tuple[str, ...]:
    """A kernel and its root, if it is told."""
    return (kernel[0], *[word for word in kernel if word.startswith("root=")][-1:])


def _is_open(path: str) -> bool:
    """Whether a path, on whatever device, is not known; a pattern that means one file is that file."""
    return re.search(rf"[*?{UNKNOWN}]", re.sub(r"^\([^)]*\)", "", path)) is not None


def _quoted(word: str) -> str:
    return f'"{word}"' if re.search(r"\s", word) else word


def _is_hypervisor(command: list[str]) -> bool:
    """A Xen host starts /boot/xen.gz and hands it the kernel as a module."""
    return command[0].startswith("multiboot")


def _loose(text: str, shell: Interpreter, path: str) -> list[Entry | _Submenu]:
    """A grub.cfg without menu entries that starts a kernel by itself."""
    entry = _entry(["menuentry", "grub.cfg"], _script(text), shell, path)
    return [entry] if entry.kernel or entry.doubt else []


# ------------------------------------------------------------------------------------------ default


def _chosen(menu: _Menu, path: str, default: str, fallbacks: Sequence[str]) -> Configuration:
    entries = list(_flat(menu))
    if UNKNOWN in default:
        raise TreeError(f"{path}: its default is set to what shows only when GRUB runs")
    wanted = _resolve(menu, default)
    how = f"default={default}" if default else "the first entry"
    if wanted is None:
        wanted = _resolve(menu, "0")
        how = f"default={default} names no entry, so the first one" if default else how
    if wanted and wanted.doubt:
        raise TreeError(f"{path}: {wanted.doubt}")
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

    ">>" within a title stands for ">".  Raises ``TreeError`` when that shows only when GRUB runs.
    """
    first, _, rest = default.replace(">>", "\0").partition(">")
    name = first.replace("\0", ">")
    item = _item(menu, name)
    if isinstance(item, _Submenu):
        return _resolve(item.menu, rest.replace("\0", ">>")) or _resolve(item.menu, "0")
    return item


def _item(menu: _Menu, name: str) -> Entry | _Submenu | None:
    if name.isdigit() or not name:
        at = int(name[:6] or 0)
        found = menu.items[at] if at < len(menu.items) else None
        known = menu.fixed is None or at < menu.fixed
    else:
        found = next((item for item in menu.items if name in (item.id, item.title)), None)
        known = found is not None or menu.fixed is None
    if not known:
        raise TreeError(
            f"which boot entry starts shows only when GRUB runs: {clean(menu.doubt, 200)}"
        )
    return found
