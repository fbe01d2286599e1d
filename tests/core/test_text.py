import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import text


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, "unknown"),
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (160 * 10**9, "149 GiB"),
        (1 << 40, "1 TiB"),
        (1010 << 20, "1010 MiB"),
    ],
)
def test_sizes_read_well(count, words):
    assert text.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.4, "59.4 s"), (185, "3 min 5 s"), (7260, "2 h 1 min")],
)
def test_durations_read_well(seconds, words):
    assert text.duration(seconds) == words


@given(st.text() | st.binary())
def test_nothing_that_steers_a_terminal_survives(value):
    shown = text.clean(value)

    assert shown.isprintable()
    assert len(shown) <= 400


def test_a_forged_line_stays_on_its_line():
    assert text.clean("ok\n\x1b[2Jimgprep: accepted\u202e") == (
        "ok\\n\\x1b[2Jimgprep: accepted\\u202e"
    )
