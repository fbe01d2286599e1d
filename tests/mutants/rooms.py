"""Which tests answer for which room: a mutant is shown to the tests of its own room, and to no others.

What needs a browser, an appliance or a server, or makes many real file systems, is left out: it says little
about one line, and slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "mutants"


@dataclass(frozen=True)
class Room:
    """A part of the code, and the tests beside it; paths from the top."""

    name: str
    code: tuple[str, ...]  # files and folders
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()  # tests that are not asked
    budget_s: float = (
        30.0  # of processor time for one mutant: dear tests that find nothing are not asked
    )

    @property
    def sources(self) -> list[str]:
        """Its files of code."""
        return _files(self.code, "*.py")

    @property
    def test_files(self) -> list[str]:
        """Its files of tests."""
        return [name for name in _files(self.tests, "test_*.py") if name not in self.without]


def _files(paths: tuple[str, ...], pattern: str) -> list[str]:
    found = [path for each in paths for path in ([ROOT / each], (ROOT / each).rglob(pattern))]
    return sorted(
        str(file.relative_to(ROOT)) for group in found for file in group if file.is_file()
    )


ROOMS = {
    room.name: room
    for room in (
        Room("formats", ("pipeline/formats",), ("tests/formats",)),
        Room(
            "content",
            ("pipeline/content",),
            ("tests/content",),
            without=(
                "tests/content/free_space/test_free_by_tools.py",
                "tests/content/free_space/test_free_churn.py",
                "tests/content/free_space/test_free_damaged.py",
                "tests/content/free_space/test_free_kernel.py",
                "tests/content/free_space/test_free_left.py",
            ),
        ),
        Room("guest", ("pipeline/guest",), ("tests/guest",)),
        Room(
            "profile",
            ("pipeline/profile",),
            (
                "tests/test_profile_judging.py",
                "tests/test_profile_bad_input.py",
                "tests/test_profile_clouds.py",
                "tests/test_profile_documents.py",
                "tests/test_profile_loading.py",
                "tests/test_profile_templates.py",
                "tests/test_profile_rackspace.py",
                "tests/schemas/test_profiles.py",
                "tests/schemas/test_explain.py",
                "tests/schemas/test_schema_files.py",
            ),
            budget_s=12.0,
        ),
        Room("targets", ("pipeline/targets",), ("tests/targets",), budget_s=12.0),
        Room(
            "retry",
            ("pipeline/transfer/retry.py", "pipeline/transfer/retrying.py"),
            ("tests/transfer/test_retry.py",),
        ),
        Room(
            "reports",
            ("pipeline/reports",),
            ("tests/reports",),
            without=("tests/reports/test_html_in_a_browser.py",),
            budget_s=12.0,
        ),
    )
}
