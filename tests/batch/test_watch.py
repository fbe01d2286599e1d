"""What is shown of a batch: the table, the lines, and the records for programs."""

import io
import json

import pytest
from rich.console import Console

from pipeline import events as inner
from pipeline.batch.events import (
    BatchEnded,
    BatchNote,
    BatchStarted,
    TaskEnded,
    TaskEvent,
    TaskStarted,
)
from pipeline.batch.ledger import State
from pipeline.cli.batch_watch import MOST_LINES, Board, Lines, event_record
from pipeline.model import StageStatus
from pipeline.profile import schemas

GIB = 1 << 30


def ended(task=1, state=State.DONE, reason=None, source="/i/web.qcow2"):
    return TaskEnded(task, source, GIB, state, "accepted", 2.5, reason)


EVENTS = [
    BatchStarted(30, 12, 9 * GIB),
    TaskStarted(1, "/i/web.qcow2", "rackspace", "worker-1"),
    TaskEvent(1, inner.StageStarted("convert")),
    TaskEvent(1, inner.Progress("convert", 5, None, "planning")),
    TaskEvent(1, inner.Note("convert", "it grows", "warning")),
    TaskEvent(1, inner.StageFinished("convert", StageStatus.DONE, 0.5)),
    ended(),
    ended(state=State.PENDING, reason="store-connection: gone; again in 2 s"),
    BatchNote("finishing 2 running jobs"),
    BatchEnded(dict.fromkeys(State, 0) | {State.DONE: 12}),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_fits_its_schema(event):
    record = json.loads(json.dumps(event_record(event)))

    assert schemas.problems("batch-event", record) == []
    assert schemas.problems("batch-event", record | {"colour": "red"})


def drawn(board):
    out = io.StringIO()
    Console(file=out, width=120).print(board)
    return out.getvalue()


def test_the_table_is_as_high_for_a_thousand_images_as_for_a_few():
    board = Board()
    board(BatchStarted(1000, 1000, 1000 * GIB))
    for number in range(40):
        board(TaskStarted(number, f"/i/{number}.qcow2", "rackspace", f"worker-{number}"))
    high = drawn(board).count("\n")
    assert high == MOST_LINES + 1
    assert "24 more run" in drawn(board)

    for number in range(38):
        board(ended(number))

    assert drawn(board).count("\n") == high
    assert "38 of 1000: 38 done; 38 GiB of 1000 GiB" in drawn(board)


def test_a_line_tells_stage_and_bytes():
    board = Board()
    board(BatchStarted(1, 1, GIB))
    board(TaskStarted(7, "/i/web.qcow2", "rackspace", "worker-1"))
    board(TaskEvent(7, inner.StageStarted("upload")))
    board(TaskEvent(7, inner.Progress("upload", GIB // 2, GIB, "uploading")))

    assert "web.qcow2" in drawn(board)
    assert "512 MiB of 1 GiB" in drawn(board)


def test_plain_lines_escape_what_could_steer_a_terminal():
    out = io.StringIO()
    lines = Lines(out)
    lines(BatchStarted(1, 1, GIB))
    lines(ended(source="/i/a\x1b[2Jb.qcow2", state=State.REFUSED, reason="iso-image"))

    assert "\x1b" not in out.getvalue()
    assert "refused in 2.5 s: iso-image" in out.getvalue()
