"""Whether cloud-init is there, on, and where it looks for its data.

The list in force is the last one in /etc/cloud/cloud.cfg and then, by name, /etc/cloud/cloud.cfg.d;
ds-identify.cfg and the kernel command line go before both.
https://docs.cloud-init.io/en/latest/reference/base_config_reference.html
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.guest.tree import Files
from pipeline.text import clean

_PROGRAMS = ("/usr/bin/cloud-init", "/usr/local/bin/cloud-init")
_LIST = re.compile(r"^datasource_list\s*:[ \t]*(.*)$", re.MULTILINE)
_ITEM = re.compile(r"\s+-\s*(.+)|\s*-\s+(.+)")
_UNITS = (
    "cloud-init.service",
    "cloud-init-local.service",
    "cloud-init.target",
    "cloud-init-main.service",
)


def facts(files: Files, command_line: str | None) -> dict[str, Any]:
    """``installed``, ``disabled`` and ``datasource_list`` (None: all sources are tried)."""
    files.prefetch("/usr/bin", ["cloud-init"])
    installed = any(files.is_file(path) for path in _PROGRAMS)
    return {
        "installed": installed,
        "disabled": installed and _disabled(files, command_line or ""),
        "datasource_list": _datasources(files, command_line or "") if installed else None,
    }


def _disabled(files: Files, command_line: str) -> bool:
    if files.entry("/etc/cloud/cloud-init.disabled") or "cloud-init=disabled" in command_line:
        return True
    files.prefetch("/etc/systemd/system", _UNITS)
    return any(_masked(files, f"/etc/systemd/system/{unit}") for unit in _UNITS)


def _masked(files: Files, path: str) -> bool:
    """Whether a unit is masked, which is a link to /dev/null (systemctl(1))."""
    found = files.find(path, follow=False)
    if found is None or found.entry.kind != "link":
        return False
    return found.tree.readlink(found.path) == "/dev/null"


def _datasources(files: Files, command_line: str) -> list[str] | None:
    match = re.search(r"(?:^|\s)(?:ci\.ds|ci\.datasource|ds)=([\w,]+)", command_line)
    if match:
        return [clean(match[1].split(",")[0], 60)]
    named = re.search(
        r"^[ \t]*datasource:\s*(\w+)", files.text("/etc/cloud/ds-identify.cfg") or "", re.MULTILINE
    )
    if named:
        return [named[1]]
    found = None
    paths = ["/etc/cloud/cloud.cfg", *files.matching("/etc/cloud/cloud.cfg.d", ".cfg")]
    for path in paths:
        text = files.text(path)
        if text:
            listed = _listed(text)
            found = found if listed is None else listed
    return found


def _listed(text: str) -> list[str] | None:
    """The list of a ``datasource_list`` key, in either of YAML's two forms; None: no such key."""
    for match in reversed(list(_LIST.finditer(text))):
        rest = match[1].split(" #")[0].strip()
        if rest.startswith("["):
            inline = (rest + " " + text[match.end() :]).split("]")[0].lstrip("[")
            return [_word(item) for item in inline.split(",") if _word(item)]
        if rest in ("", "|") or rest.startswith("#"):
            return _block(text[match.end() :])
    return None


def _block(text: str) -> list[str]:
    found = []
    for line in text.splitlines()[1:]:
        item = _ITEM.fullmatch(line)
        if item:
            found.append(_word(item[1] or item[2]))
        elif line.strip() and not line.strip().startswith("#"):
            break
    return found


def _word(text: str) -> str:
    return clean(text.split("#")[0].strip().strip("\"'"), 60)
