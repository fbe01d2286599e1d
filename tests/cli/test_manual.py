"""The manual pages: one for each command, with every option, sound for the formatter."""

from __future__ import annotations

import subprocess

import pytest

from pipeline.cli import manual
from tests.core.test_project import commands


def test_each_command_has_a_page_with_every_option():
    pages = manual.pages()

    for name, options in commands().items():
        text = "\n".join(
            page for file, page in pages.items() if file.startswith(f"imgprep-{name}")
        ).replace("\\-", "-")
        assert text
        named = {option for option in options if option.startswith("-")}
        assert {option for option in named if f"{option}\\fR" not in text} <= {"--help", "-h"}


def test_the_first_page_lists_all_others():
    pages = manual.pages()
    overview = pages["imgprep.1"].replace("\\-", "-")

    for name in set(pages) - {"imgprep.1"}:
        assert f"\\fB{name.removesuffix('.1')}\\fR(1)" in overview


@pytest.mark.needs("mandoc")
def test_the_formatter_is_content(tmp_path):
    manual.write(tmp_path)
    (tmp_path / "imgprep-gone.1").touch()
    manual.write(tmp_path)

    found = sorted(tmp_path.glob("*.1"))
    done = subprocess.run(
        ["mandoc", "-Tlint", "-W", "error", *found], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stdout
    assert [path.name for path in found] == sorted(manual.pages())
