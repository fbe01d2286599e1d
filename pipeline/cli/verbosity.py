"""``-v``, ``-vv`` and ``--log FILE``: what happened when, down to each child process.

-v      each stage with its time and each note        --log FILE  all of it, appended, with dates
-vv     and each program that was started, with its arguments, how it ended and how long it took
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.events import (
    Event,
    JobFinished,
    JobStarted,
    Monitor,
    Note,
    StageFinished,
    StageStarted,
)
from pipeline.text import clean, duration

REQUESTS = "imgprep.requests"  # of pipeline.stores.tracing
LOGGER = "imgprep"
"""Every part of imgprep that has something to tell logs below this name."""


@contextmanager
def logging_to(verbose: int, log: Path | None) -> Iterator[Monitor]:
    """Log to stderr and to a file while the block lasts; the monitor logs what happens."""
    logger = logging.getLogger(LOGGER)
    handlers: list[logging.Handler] = []
    if verbose:
        handlers.append(_stderr(verbose))
    if log is not None:
        handlers.append(_file(log))
    for handler in handlers:
        logger.addHandler(handler)
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield _monitor(logger)
    finally:
        logger.setLevel(before[0])
        logger.propagate = before[1]
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def _stderr(verbose: int) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    if verbose == 1:
        handler.addFilter(lambda record: record.levelno >= logging.INFO or record.name == REQUESTS)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    return handler


def _file(path: Path) -> logging.Handler:
    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            "log-unwritable",
            f"--log {path}: {error.strerror}",
            hint="give a file in a directory that you may write to",
        ) from error
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


def _monitor(logger: logging.Logger) -> Monitor:
    def monitor(event: Event) -> None:
        match event:
            case JobStarted():
                logger.info("job %s: %s", event.job_id, clean(event.source, 2000))
            case StageStarted():
                logger.info("%s: started", event.stage)
            case StageFinished():
                reason = f": {clean(event.reason, 2000)}" if event.reason else ""
                took = duration(event.seconds)
                logger.info("%s: %s in %s%s", event.stage, event.status, took, reason)
            case Note():
                level = logging.WARNING if event.level == "warning" else logging.INFO
                logger.log(level, "%s: %s", event.stage, clean(event.text, 2000))
            case JobFinished():
                report = event.report
                logger.info("job ended: %s, exit code %s", report.verdict, report.exit_code)

    return monitor
