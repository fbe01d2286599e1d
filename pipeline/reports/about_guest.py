"""The system inside an image, as labels and values for people.

    guest      Debian GNU/Linux 12 (bookworm), x86_64, starts by BIOS
    starts by  grub2 2.06-13+deb12u1, /boot/grub/grub.cfg
    packages   212 (dpkg)
    kernels    linux-image-6.1.0-56-cloud-amd64 6.1.176-1
    settings   time zone Etc/UTC, language C.UTF-8
    ages       packages last changed 2026-11-27, last started 2026-11-27

Nothing here is a secret: names, numbers and times.  Which directories are the largest is not told, as that
takes a walk through every inode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.text import clean

MOST_KERNELS = 4
_FIRMWARE = {
    "bios": "starts by BIOS",
    "uefi": "starts by UEFI",
    "both": "starts by BIOS or UEFI",
}


def name(guest: Any) -> str:
    """Which system it is, in one line, or why nobody knows."""
    if not isinstance(guest, Mapping) or guest.get("status") in ("skipped", "failed"):
        reason = guest.get("reason") if isinstance(guest, Mapping) else None
        return f"not inspected: {clean(str(reason))}" if reason else "not inspected"
    if not guest.get("os"):
        reason = (guest.get("unknown") or {}).get("os")
        return f"not known: {clean(str(reason))}" if reason else "no operating system found"
    shown = guest.get("product_name") or " ".join(
        str(guest[key]) for key in ("distro", "version") if guest.get(key)
    )
    parts = (shown or guest["os"], guest.get("arch"), _FIRMWARE.get(str(guest.get("firmware"))))
    return _listed(parts)


def rows(guest: Any) -> Iterator[tuple[str, str]]:
    """All that is worth a line where nothing is judged; what is not known has none."""
    yield "guest", name(guest)
    if not isinstance(guest, Mapping) or not guest.get("os"):
        return
    for label, value in (
        ("starts by", _loader(guest.get("boot") or {})),
        ("packages", _packages(guest.get("packages") or {})),
        ("settings", _settings(guest)),
        ("ages", _ages(guest)),
    ):
        if value:
            yield label, value
        if label == "packages":
            yield from _kernels(guest.get("packages") or {})


def _loader(boot: Mapping[str, Any]) -> str:
    known = " ".join(str(boot[key]) for key in ("loader", "version") if boot.get(key))
    return _listed((known, boot.get("config")))


def _packages(packages: Mapping[str, Any]) -> str:
    return f"{packages['count']} ({clean(str(packages['manager']))})" if packages else ""


def _kernels(packages: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    found = packages.get("kernels") or ()
    for number, kernel in enumerate(found[:MOST_KERNELS]):
        yield "" if number else "kernels", clean(str(kernel))
    if len(found) > MOST_KERNELS:
        yield "", f"and {len(found) - MOST_KERNELS} more"


def _settings(guest: Mapping[str, Any]) -> str:
    zone = guest.get("time_zone") or (guest.get("windows") or {}).get("time_zone")
    language = guest.get("locale")
    return _listed((zone and f"time zone {zone}", language and f"language {language}"))


def _ages(guest: Mapping[str, Any]) -> str:
    ages, windows = guest.get("ages") or {}, guest.get("windows") or {}
    return _listed(
        (
            _on("installed", windows.get("installed_at")),
            _on("packages last changed", ages.get("last_change")),
            _on("last started", ages.get("last_boot")),
        )
    )


def _on(what: str, seconds: Any) -> str:
    """A day, in UTC; nothing for a time that no calendar has."""
    try:
        return f"{what} {datetime.fromtimestamp(seconds, UTC).date()}"
    except (TypeError, ValueError, OverflowError, OSError):
        return ""


def _listed(parts: tuple[Any, ...]) -> str:
    return ", ".join(clean(str(part)) for part in parts if part)
