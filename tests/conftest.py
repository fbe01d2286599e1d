"""What every test shares: the honest skip.

A test that needs a program says so with ``@pytest.mark.needs("qemu-img")``.  On a laptop a missing
one skips the test with its name; under ``CI=true`` it fails, so that nothing is skipped unseen.
"""

import importlib.util
import os
import shutil

import pytest


def missing(need: str) -> bool:
    if need.startswith("module:"):
        return importlib.util.find_spec(need.removeprefix("module:")) is None
    return shutil.which(need, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None


def skip_or_fail(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true: nothing may be skipped)")
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    needs = [need for mark in request.node.iter_markers("needs") for need in mark.args]
    absent = [need for need in needs if missing(need)]
    if absent:
        skip_or_fail(f"missing: {', '.join(absent)}")
