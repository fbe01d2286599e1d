"""The HTML report as a person sees it: at two widths, light and dark, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import reports
from tests import made_reports as made
from tests import samples
from tests.browser import browser

pytestmark = [pytest.mark.needs("chromium", "bash"), pytest.mark.timeout(180)]


def detailed():
    """A report with everything that is drawn."""
    parts = [
        {"number": 1, "start": 1 << 20, "size": 512 << 20, "type": "EFI", "content": "vfat"},
        {"number": 2, "start": 513 << 20, "size": 8 << 30, "type": "Linux", "content": "ext4"},
    ]
    disk = {
        "partitions": parts,
        "allocation": {"cell": (10 << 30) // 64, "data": [100, 40, 0, 7] * 16},
    }
    guest = {
        "fstab": [
            {"spec": f"UUID={'0a' * 18}", "mountpoint": "/", "type": "ext4", "options": ["ro"] * 20}
        ],
        "filesystems": [
            {"device": "/dev/sda2", "type": "ext4", "size": 8 << 30, "label": "x" * 60, "use": "/"}
        ],
    }
    return samples.report(
        samples.facts({"virtual_size": 200 << 30}, disk, guest), source="a/" + "long-name-" * 20
    )


PAGES = {
    "detailed": lambda: reports.render("html", detailed()),
    "bad": lambda: reports.render("html", made.bad()),
    "hostile": lambda: reports.render("html", made.hostile()),
    "failed": lambda: reports.render("html", made.failed()),
    "several": lambda: reports.render("html", [detailed(), made.bad(), made.good()]),
}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("name", PAGES)
def test_it_fits_the_window_and_complains_about_nothing(chromium, tmp_path, name, width):
    page = tmp_path / "report.html"
    page.write_text(PAGES[name]())

    seen = chromium.look(page, width)

    assert seen.content_width <= width, seen.widest
    assert seen.complaints == ()
    assert seen.requests == ()


def test_what_is_folded_on_a_screen_is_printed(chromium, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(PAGES["detailed"]())

    screen, printed = chromium.heights(page)

    assert printed > screen * 1.2


def test_a_dark_page_is_printed_light(chromium, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(PAGES["detailed"]())

    light, dark = (chromium.look(page, 800, dark=dark, media="print") for dark in (False, True))

    assert light.png == dark.png


def test_light_and_dark_are_two_pictures(chromium, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(PAGES["detailed"]())

    light, dark = chromium.look(page, 1280), chromium.look(page, 1280, dark=True)

    assert light.png[:8] == dark.png[:8] == b"\x89PNG\r\n\x1a\n"
    assert light.png != dark.png
    if keep := os.environ.get("IMGPREP_KEEP_SCREENSHOTS"):  # to look at them oneself
        for name, seen in (("light", light), ("dark", dark)):
            Path(keep, f"{name}.png").write_bytes(seen.png)
        Path(keep, "narrow.png").write_bytes(chromium.look(page, 360).png)
