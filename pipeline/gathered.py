"""What a run has brought together, and the report that is made of it.

    Outcome, Outcome, … ──add──▶ Gathered ──make_report──▶ Report   verdict, exit code, everything known

Whatever happened, there is a report: of a job that failed it holds what was known by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pipeline import __version__
from pipeline.errors import ImgprepError, Interrupted
from pipeline.model import (
    Artifact,
    ErrorRecord,
    ExitCode,
    Facts,
    Job,
    JudgedBy,
    Judgement,
    Outcome,
    Receipt,
    Report,
    StageRecord,
    StageStatus,
    Verdict,
    to_json,
)
from pipeline.profile import Profile, verdict


@dataclass
class Gathered:
    """The makings of the report, so far."""

    profile: Profile | None = None
    facts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    judgement: Judgement | None = None
    result: Judgement | None = None
    artifact: Artifact | None = None
    receipt: Receipt | None = None
    tools: dict[str, str] = field(default_factory=dict)
    records: list[StageRecord] = field(default_factory=list)
    refused: bool = False
    cut_short: bool = False  # stages were left out because the image is refused

    def add(self, outcome: Outcome) -> None:
        """Keep what an outcome adds."""
        self.facts.update(outcome.facts)
        self.tools.update(outcome.tools)
        self.judgement = outcome.judgement or self.judgement
        self.result = outcome.result or self.result
        self.artifact = outcome.artifact or self.artifact
        self.receipt = outcome.receipt or self.receipt
        self.refused = self.refused or outcome.status is StageStatus.REFUSED

    def branch(self, profile: Profile | None) -> Gathered:
        """The same so far, to be gone on with for another profile."""
        return replace(
            self,
            profile=profile,
            facts=dict(self.facts),
            tools=dict(self.tools),
            records=list(self.records),
        )


def make_report(
    job: Job,
    job_id: str,
    progress: Gathered,
    error: ImgprepError | None,
    started: datetime,
) -> Report:
    """The whole truth of one job, as far as it went."""
    judgement = progress.judgement or Judgement()
    word, code = _conclude(job, progress, error)
    return Report(
        imgprep_version=__version__,
        job={
            "id": job_id,
            "source": job.source,
            "profile": job.profile,
            "destination": job.destination,
            "options": to_json(job.options),
        },
        verdict=word,
        exit_code=code,
        findings=judgement.findings,
        passed=judgement.passed,
        not_applicable=judgement.not_applicable,
        facts=progress.facts,
        stages=tuple(progress.records),
        artifact=_summary(progress.artifact, progress.receipt),
        receipt=progress.receipt,
        result=progress.result,
        error=ErrorRecord(error.code, error.title, error.message, error.hint) if error else None,
        tools=progress.tools,
        started=started.isoformat(timespec="milliseconds"),
        finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
        profile=_judged_by(progress, job.destination),
    )


def _judged_by(progress: Gathered, destination: str | None) -> JudgedBy | None:
    profile = progress.profile
    if profile is None:
        return None
    size = (progress.facts.get("container") or {}).get("virtual_size")
    limits = {
        name: parameter["maximum"]
        for name, key in _LIMITS.items()
        if (parameter := profile.parameters.get(key))
    }
    target = profile.target.outcome(size)
    scheme, separator, _ = (destination or "").partition("://")
    found = profile.imports.get(scheme.lower() if separator else "file") if destination else None
    command = found.command if found else None
    return JudgedBy(profile.name, profile.digest, target, limits, command)


_LIMITS = {"virtual_size": "max-virtual-size", "file_size": "max-file-size"}
"""The parameters of a profile that a report draws a size against."""


def _conclude(job: Job, progress: Gathered, error: ImgprepError | None) -> tuple[Verdict, int]:
    if isinstance(error, Interrupted):
        return Verdict.INTERRUPTED, error.exit_code
    if error is not None:
        return Verdict.FAILED, error.exit_code
    if progress.judgement is None:
        known = progress.facts.get("container", {}).get("format") != "unknown"
        # nothing was judged; but a file of no known format was not inspected either
        return (
            (Verdict.UNDETERMINED, ExitCode.OK) if known else (Verdict.REJECTED, ExitCode.REFUSED)
        )
    chosen = job.options
    word, code = verdict(progress.judgement, fail_on=chosen.fail_on, strict=chosen.strict)
    if code == ExitCode.OK and progress.refused and progress.result is not None:
        return Verdict.UNDETERMINED, ExitCode.UNDETERMINED  # nobody knows what was made
    if code == ExitCode.OK and progress.cut_short:
        # --fail-on never makes no difference to an image that was too dangerous to go on with
        return word, ExitCode.REFUSED
    return word, code


def _summary(artifact: Artifact | None, receipt: Receipt | None) -> Facts | None:
    if artifact is None:
        return None
    summary: dict[str, Any] = {
        "format": artifact.format,
        "virtual_size": artifact.virtual_size,
        "size": artifact.size,
    }
    sha256 = artifact.sha256 or (receipt.sha256 if receipt else None)
    segments = len(receipt.segments) if receipt and receipt.segments else artifact.segments
    if artifact.variant:
        summary["variant"] = artifact.variant
    if artifact.packing:
        summary["packing"] = artifact.packing
    if sha256:
        summary["sha256"] = sha256
    if segments:
        summary["segments"] = segments
    return summary
