"""Reports of every kind of end: what their views are tested with."""

import io
from dataclasses import replace

from pipeline import reports
from pipeline.model import (
    ErrorRecord,
    Options,
    Receipt,
    StageRecord,
    StageStatus,
    Verdict,
)
from tests import samples
from tests.samples import problem

SKIPPED = {"status": "skipped", "reason": "--guest=off was given"}
HOSTILE = "\x1b]0;x\x07<script>alert(1)</script> | `a` **b** ]]> %0A::error:: \u202e\n# c"


def good():
    return samples.report(samples.facts())


def bad(**changes):
    """Two errors, one of them with its bytes; a warning; a conversion; a waiver; unknowns."""
    facts = samples.facts(
        {
            "virtual_size": 200 << 30,
            "external_references": ["base.img"],
            "problems": [
                problem("backing-file", "base.img", offset=4096, length=8),
                problem("iso-in-partition", "partition 2"),
            ],
        },
        of=samples.QCOW2,
    ) | {"guest": SKIPPED}
    options = Options(guest="off", allow={"virtual-size-limit": "agreed in case 4711"})
    return samples.report(facts, options=options, **changes)


def stored():
    return replace(
        samples.report(samples.facts(of=samples.QCOW2)),
        artifact={
            "format": "vhd",
            "virtual_size": 10 << 30,
            "size": 950 << 20,
            "sha256": "ab" * 32,
        },
        receipt=Receipt(
            url="file:///srv/out%20dir/disk.vhd",
            size=950 << 20,
            segments=({"name": "1", "offset": 0, "size": 950 << 20, "md5": "0" * 32},),
            checksum="sha256:" + "ab" * 32,
            sha256="ab" * 32,
            verified="readback",
        ),
        stages=(
            StageRecord("check", StageStatus.DONE, 0.1),
            StageRecord("convert", StageStatus.DONE, 2.5),
        ),
    )


def failed():
    error = ErrorRecord(
        "source-missing", "the source cannot be used", "there is no file 'x'", "look"
    )
    return replace(
        good(),
        verdict=Verdict.FAILED,
        exit_code=3,
        findings=(),
        passed=(),
        not_applicable=(),
        facts={},
        stages=(),
        error=error,
    )


def hostile():
    facts = samples.facts(
        {"creator": HOSTILE, "problems": [problem("vhd-bat", HOSTILE, offset=0, length=1)]},
        guest={"product_name": HOSTILE},
    )
    error = ErrorRecord("tool-failed", "a tool failed", HOSTILE, HOSTILE)
    options = Options(allow={"uefi-only": HOSTILE})
    found = samples.report(
        facts | {"guest": facts["guest"] | {"firmware": "uefi"}}, options=options
    )
    return replace(found, job={**found.job, "source": f"{HOSTILE}.vhd"}, error=error)


def inspected():
    """What ``imgprep inspect`` gives: facts, and nothing judged."""
    stages = (StageRecord("identify", StageStatus.DONE, 0.1),)
    return replace(
        good(),
        verdict=Verdict.UNDETERMINED,
        findings=(),
        passed=(),
        not_applicable=(),
        stages=stages,
    )


ALL = {f.__name__: f for f in (good, bad, stored, failed, hostile, inspected)}


def healthy(**options):
    """A qcow2 that nothing is wrong with, whose guest nobody looked at."""
    found = samples.facts(of=samples.QCOW2) | {"guest": SKIPPED}
    return samples.report(found, options=Options(guest="off", **options))


def summary(report, **environment):
    out = io.StringIO()
    reports.print_summary(report, out)
    return out.getvalue()
