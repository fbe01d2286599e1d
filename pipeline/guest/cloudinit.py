"""cloud-init: whether it is there and on, where it looks for its data, what it left behind.

    kernel command line    cloud-init=disabled · ci.ds=, ci.datasource=, ds=
    ds-identify.cfg        policy: disabled · datasource: X
    cloud.cfg, cloud.cfg.d/*.cfg by name: later files win, key by key
                           datasource_list · cloud_init_modules, cloud_config_modules, cloud_final_modules

https://docs.cloud-init.io/en/latest/reference/base_config_reference.html;
https://docs.cloud-init.io/en/latest/howto/disable_cloud_init.html;
https://docs.cloud-init.io/en/latest/explanation/boot.html (the units)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.guest import units, yamlfile
from pipeline.guest.answers import Answer, ask
from pipeline.guest.packages import Packages
from pipeline.guest.tree import Files
from pipeline.guest.units import State, Units
from pipeline.text import clean

_PROGRAMS = ("/usr/bin/cloud-init", "/usr/local/bin/cloud-init")
_UNITS = (
    "cloud-init.service",
    "cloud-init-local.service",
    "cloud-init-network.service",
    "cloud-init.target",
    "cloud-init-main.service",
)
BOOT_UNITS: Mapping[str, tuple[str, ...]] = {
    "cloud-init-local.service": ("cloud-init-local.service",),
    "cloud-init.service": ("cloud-init.service", "cloud-init-network.service"),
    "cloud-config.service": ("cloud-config.service",),
    "cloud-final.service": ("cloud-final.service",),
}
"""Its four steps at boot, and the units that take them: 24.3 gave the second one another name."""

_STEPS = ("init", "config", "final")
MAX_MODULES = 200
_LIBRARIES = ("/usr/lib/python3/dist-packages", "/usr/lib/python3.6/site-packages",
              "/usr/lib/python3.9/site-packages", "/usr/lib/python3.12/site-packages",
              "/usr/lib/python2.7/site-packages")  # fmt: skip
_DISABLED = "/etc/cloud/cloud-init.disabled"
MAX_FILES = 64


@dataclass(frozen=True)
class CloudInit:
    """``section.CloudInitFacts``."""

    installed: bool
    version: str | None
    disabled: bool
    disabled_by: str | None
    datasource_list: tuple[str, ...] | None
    instance_state: Answer[tuple[str, ...]]
    network_disabled: bool
    ssh_deletekeys: bool | None
    ssh_pwauth: bool | None
    disable_root: bool | None
    modules: dict[str, tuple[str, ...]] | None
    units: dict[str, State] | None

    @property
    def writes_network(self) -> bool:
        """Whether it configures the network of each new server."""
        return self.installed and not self.disabled and not self.network_disabled


_ABSENT = CloudInit(
    installed=False,
    version=None,
    disabled=False,
    disabled_by=None,
    datasource_list=None,
    instance_state=Answer(()),
    network_disabled=False,
    ssh_deletekeys=None,
    ssh_pwauth=None,
    disable_root=None,
    modules=None,
    units=None,
)


def facts(
    files: Files, command_line: tuple[str, ...], started: Units, packages: Packages | None
) -> CloudInit:
    """All about cloud-init.  ``command_line`` is the kernel's, in words."""
    files.expect(*_PROGRAMS)
    units.expect(files, (name for names in BOOT_UNITS.values() for name in names))
    installed = any(files.is_file(path) for path in _PROGRAMS)
    if not installed:
        return _ABSENT
    config = configuration(files)
    identify = yamlfile.mapping(files.text("/etc/cloud/ds-identify.cfg"))
    why = _disabled_by(files, command_line, started, identify)
    network = config.get("network")
    return CloudInit(
        True,
        _version(files, packages),
        why is not None,
        why,
        _datasources(command_line, identify, config),
        ask(lambda: tuple(_state(files))),
        isinstance(network, dict) and network.get("config") == "disabled",
        _flag(config.get("ssh_deletekeys")),
        _flag(config.get("ssh_pwauth")),
        _flag(config.get("disable_root")),
        {step: tuple(_modules(config.get(f"cloud_{step}_modules"))) for step in _STEPS},
        {step: units.state(files, started, names) for step, names in BOOT_UNITS.items()},
    )


def configuration(files: Files) -> dict[str, Any]:
    """The merged configuration, top keys only: a later file replaces an earlier one's key."""
    merged: dict[str, Any] = {}
    paths = ["/etc/cloud/cloud.cfg"]
    paths += sorted(files.matching("/etc/cloud/cloud.cfg.d", ".cfg"))[:MAX_FILES]
    for path in paths:
        found = yamlfile.mapping(files.text(path))
        merged.update({key: value for key, value in found.items() if isinstance(key, str)})
    return merged


def _flag(value: Any) -> bool | None:
    """YAML's booleans, and the words that cloud-init takes for them."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    return words.get(str(value).lower())


def _disabled_by(
    files: Files, command_line: tuple[str, ...], started: Units, identify: dict[str, Any]
) -> str | None:
    why = _switched_off(files, command_line)
    if why is not None:
        return why
    policy = str(identify.get("policy", "")).split(",")[0]
    told = [word.partition("=")[2] for word in command_line if word.startswith("ci.di.policy=")]
    if (told[-1].split(",")[0] if told else policy) == "disabled":
        return "policy: disabled in /etc/cloud/ds-identify.cfg" if not told else "ci.di.policy="
    masked = [unit for unit in _UNITS if unit in started.masked]
    return f"{masked[0]} is masked" if masked else None


def _switched_off(files: Files, command_line: tuple[str, ...]) -> str | None:
    """What its generator and its units ask first: the kernel's command line, and a file.

    In Debian 13 and what is newer the units themselves ask, and nothing turns it on again.  Before, only the
    generator did: it stopped at the first answer, and took cloud-init=enabled and cloud-init.enabled for one.
    """
    told = [word for word in command_line if word.startswith("cloud-init=")]
    marked = _DISABLED if files.entry(_DISABLED) else None
    by_kernel = "cloud-init=disabled on the kernel command line"
    if _units_ask(files):
        return marked or (by_kernel if "cloud-init=disabled" in told else None)
    if told[-1:] == ["cloud-init=disabled"]:
        return by_kernel
    enabled = told[-1:] == ["cloud-init=enabled"] or files.entry("/etc/cloud/cloud-init.enabled")
    return None if enabled else marked


def _units_ask(files: Files) -> bool:
    paths = (
        f"{top}/cloud-init-local.service"
        for top in ("/usr/lib/systemd/system", "/lib/systemd/system")
    )
    return any(f"ConditionPathExists=!{_DISABLED}" in (files.text(path) or "") for path in paths)


def _datasources(
    command_line: tuple[str, ...], identify: dict[str, Any], config: dict[str, Any]
) -> tuple[str, ...] | None:
    for word in command_line:
        match = re.match(r"(?:ci\.ds|ci\.datasource|ds)=([\w,]+)", word)
        if match:
            name = match[1].split(",")[0]
            return ("NoCloud" if name.lower() == "nocloud" else clean(name, 60),)
    named = identify.get("datasource")
    if isinstance(named, str) and named:
        return (clean(named, 60),)
    listed = config.get("datasource_list")
    if isinstance(listed, list):
        return tuple(clean(str(item), 60) for item in listed[:64])
    if isinstance(listed, str):
        return tuple(clean(item.strip(), 60) for item in listed.split(",") if item.strip())[:64]
    return None


def _modules(listed: Any) -> Iterator[str]:
    """Names as cloud-init compares them.

    ``scripts-vendor``, ``[scripts-vendor, always]`` and ``{name: scripts_vendor}`` are all
    ``scripts_vendor``.
    """
    for item in listed[:MAX_MODULES] if isinstance(listed, list) else ():
        first = item[0] if isinstance(item, list) and item else item
        name = first.get("name") if isinstance(first, dict) else first
        if isinstance(name, str):
            yield clean(name, 60).replace("-", "_").removesuffix(".py")


def _version(files: Files, packages: Packages | None) -> str | None:
    if packages is not None and (known := packages.version("cloud-init")):
        return known
    for directory in _LIBRARIES:
        for name in files.names(directory):
            match = re.match(r"cloud_init-([\d.]+)", name)
            if match:
                return match[1].rstrip(".")
    return None


def _state(files: Files) -> list[str]:
    """What names an instance that ran: the link to it, its directory, its result."""
    found = []
    if files.entry("/var/lib/cloud/instance", follow=False):
        found.append("/var/lib/cloud/instance")
    found += [
        f"/var/lib/cloud/instances/{name}" for name in files.names("/var/lib/cloud/instances")
    ]
    return [clean(path, 200) for path in found[:8]]
