"""Reports of jobs that could not make their own, and which failures pass by themselves."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime

from pipeline import __version__
from pipeline.model import ErrorRecord, ExitCode, Job, JsonObject, Report, Verdict, to_json

TEMPORARY = frozenset(
    {
        "worker-died", "job-locked", "no-space", "nbd-connect-failed", "tool-killed", "tool-timeout",
        "guest-timeout", "guest-temporary-full", "segment-mismatch", "store-connection",
        "store-failed", "store-lost-object", "store-short-read", "store-conflict",
    }
)  # fmt: skip
"""Codes of errors that may not come again when the machine, the line or the store is less busy."""


def is_temporary(report: JsonObject) -> bool:
    """Whether the same job may succeed a little later."""
    error = report["error"]
    return error is not None and error["code"] in TEMPORARY


def bug_report(job: Job, error: Exception) -> JsonObject:
    """The report of a job in which we failed; the traceback (without values) is its message's end."""
    where = traceback.format_exception(error)[-3:]
    return _failed(
        job,
        ErrorRecord(
            "imgprep-bug",
            "this is a bug",
            f"{error!r}; {' '.join(' '.join(where).split())}"[-2000:],
            "please report it; the other images are not concerned",
        ),
        ExitCode.BUG,
    )


def died_report(job: Job, reason: str) -> JsonObject:
    """The report of a job whose workers died, one after the other."""
    return _failed(
        job,
        ErrorRecord(
            "worker-died",
            "a worker died",
            f"whoever worked on {job.source} died: {reason}",
            "is there enough memory? fewer --jobs need less; "
            "if it is this image alone, it may be built to crash its reader",
        ),
        3,
    )


def _failed(job: Job, error: ErrorRecord, exit_code: int) -> JsonObject:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    report = Report(
        imgprep_version=__version__,
        job={
            "id": "",
            "source": job.source,
            "profile": job.profile,
            "destination": job.destination,
            "options": to_json(job.options),
        },
        verdict=Verdict.FAILED,
        exit_code=exit_code,
        findings=(),
        passed=(),
        not_applicable=(),
        facts={},
        stages=(),
        artifact=None,
        receipt=None,
        error=error,
        tools={},
        started=now,
        finished=now,
    )
    found: JsonObject = to_json(report)
    return found
