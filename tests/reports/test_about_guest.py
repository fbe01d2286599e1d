"""What ``inspect`` tells about the system inside: each line from facts, none of what is not known."""

import pytest

from pipeline.reports import about_guest

DEBIAN = {
    "status": "done",
    "os": "linux",
    "product_name": "Debian GNU/Linux 12 (bookworm)",
    "arch": "x86_64",
    "firmware": "bios",
    "boot": {"loader": "grub2", "version": "2.06-13", "config": "/boot/grub/grub.cfg"},
    "packages": {
        "manager": "dpkg",
        "count": 217,
        "names": [],
        "kernels": [f"linux-image-{number} 6.1" for number in range(6)],
    },
    "time_zone": "Europe/Berlin",
    "locale": "C.UTF-8",
    "ages": {"last_change": 1_700_000_000, "last_boot": 1_710_000_000},
    "windows": None,
}
WINDOWS = {
    "status": "done",
    "os": "windows",
    "product_name": "Windows Server 2022 Standard",
    "windows": {"time_zone": "W. Europe Standard Time", "installed_at": 1_700_000_000},
}


def test_every_fact_has_its_line():
    assert list(about_guest.rows(DEBIAN)) == [
        ("guest", "Debian GNU/Linux 12 (bookworm), x86_64, starts by BIOS"),
        ("starts by", "grub2 2.06-13, /boot/grub/grub.cfg"),
        ("packages", "217 (dpkg)"),
        ("kernels", "linux-image-0 6.1"),
        ("", "linux-image-1 6.1"),
        ("", "linux-image-2 6.1"),
        ("", "linux-image-3 6.1"),
        ("", "and 2 more"),
        ("settings", "time zone Europe/Berlin, language C.UTF-8"),
        ("ages", "packages last changed 2023-11-14, last started 2024-03-09"),
    ]


def test_a_windows_guest_has_what_its_registry_says():
    assert list(about_guest.rows(WINDOWS))[1:] == [
        ("settings", "time zone W. Europe Standard Time"),
        ("ages", "installed 2023-11-14"),
    ]


@pytest.mark.parametrize(
    "guest",
    [
        {"status": "done", "os": "linux", "distro": "debian", "version": "12"},
        {"status": "done", "os": "linux", "distro": "debian", "version": "12", "boot": None}
        | dict.fromkeys(("packages", "time_zone", "locale", "ages", "windows")),
    ],
    ids=["absent", "null"],
)
def test_what_is_not_known_has_no_line(guest):
    assert list(about_guest.rows(guest)) == [("guest", "debian 12")]


def test_times_that_no_calendar_has_are_left_out():
    ages = {"last_change": 1 << 62, "last_boot": None}

    assert "ages" not in dict(about_guest.rows({**DEBIAN, "ages": ages}))


def test_a_guest_that_was_not_read_says_why_and_nothing_else():
    skipped = {"status": "skipped", "reason": "it was turned off"}

    assert list(about_guest.rows(skipped)) == [("guest", "not inspected: it was turned off")]


def test_nothing_steers_the_terminal():
    hostile = {**DEBIAN, "time_zone": "\x1b[2J", "locale": "\n", "product_name": "\x1b]0;x\x07"}

    assert all(value.isprintable() for _, value in about_guest.rows(hostile))
