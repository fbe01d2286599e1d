"""What a person who waits is told without a terminal: how far, how fast, how long still."""

from __future__ import annotations

from pipeline.cli.monitors import Pace
from pipeline.events import Progress

GIB = 1 << 30


def test_rate_and_time_left_are_those_of_the_present_activity() -> None:
    pace = Pace()

    pace.describe(Progress("convert", 0, 20 * GIB, "planning"), 5.0)
    pace.describe(Progress("convert", 20 * GIB, 20 * GIB, "planning"), 6.0)
    first = pace.describe(Progress("convert", 0, 4 * GIB, "converting"), 7.0)
    later = pace.describe(Progress("convert", GIB, 4 * GIB, "converting"), 9.0)

    assert first == "converting, 0 bytes of 4 GiB"
    assert later == "converting, 1 GiB of 4 GiB, 512 MiB/s, 6.0 s left"


def test_without_a_known_end_there_is_no_time_left() -> None:
    pace = Pace()

    pace.describe(Progress("identify", 0, None), 0.0)

    assert pace.describe(Progress("identify", GIB, None), 1.0) == "1 GiB, 1 GiB/s"


def test_what_was_done_before_does_not_count_as_fast() -> None:
    pace = Pace()

    pace.describe(Progress("upload", 3 * GIB, 4 * GIB, "uploading"), 0.0)
    told = pace.describe(Progress("upload", 3 * GIB + GIB // 2, 4 * GIB, "uploading"), 2.0)

    assert told == "uploading, 3.5 GiB of 4 GiB, 256 MiB/s, 2.0 s left"
