"""What a person wants to know of a report, in the order in which they want to know it.

    Report (JSON) ──summarize──▶ Summary ──▶ terminal, markdown, html, github

Only the report's JSON is looked at: a report that was stored yesterday gives the same summary.
Every string in a ``Summary`` is clean of control characters; markup is the renderer's business.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.model import JsonObject
from pipeline.profile import words
from pipeline.text import clean, duration
from pipeline.text import size as short_size

SEVERITIES = ("error", "warning", "info")

VERDICTS: Mapping[str, str] = {
    "accepted": "The image meets every requirement.",
    "accepted-with-advice": "The image meets every requirement that decides; there is advice.",
    "rejected": "The image does not meet the requirements.",
    "undetermined": "Not everything could be judged.",
    "failed": "The job failed; this is no verdict on the image.",
    "interrupted": "The job was interrupted; the same command continues it.",
}


@dataclass(frozen=True)
class Line:
    """One finding of one rule, for people."""

    rule: str
    severity: str
    title: str
    messages: tuple[str, ...]  # one for each piece of evidence
    expected: str
    remedy: str
    address: str  # of the source
    dated: str  # the source's date, and what is to be said about it
    vendor_code: str | None
    where: tuple[str, ...]  # byte ranges, or the fact's path
    reason: str | None = None  # of a waiver


@dataclass(frozen=True)
class Unknown:
    """Requirements that could not be judged, for one and the same reason."""

    reason: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """Everything that a readable report shows."""

    source: str
    profile: str | None  # None: nothing was judged
    verdict: str
    sentence: str
    exit_code: int
    image: tuple[tuple[str, str], ...]  # label and value: what the image is
    judged: str  # how many requirements came out how
    failed: tuple[Line, ...]  # errors first
    mended: tuple[Line, ...]  # what the conversion mends
    waived: tuple[Line, ...]
    unknown: tuple[Unknown, ...]
    result: tuple[tuple[str, str], ...]  # label and value: what was made, and where it is
    stages: tuple[tuple[str, str], ...]
    error: tuple[str, str, str, str] | None  # title, message, hint, code
    next_command: str | None
    started: str
    finished: str
    version: str


def summarize(report: JsonObject) -> Summary:
    """The summary of a report's JSON."""
    findings = report["findings"]
    failed = [item for item in findings if item["status"] == "fail"]
    error = report["error"]
    judged = any(stage["name"] == "check" for stage in report["stages"]) or bool(findings)
    return Summary(
        source=clean(report["job"]["source"]),
        profile=clean(report["job"]["profile"]) if judged else None,
        verdict=report["verdict"],
        sentence=_sentence(report, judged=judged),
        exit_code=report["exit_code"],
        image=tuple(_image(report["facts"], whole=not judged)),
        judged=_counts(report),
        failed=tuple(_lines(item for item in failed if not _is_mended(item))),
        mended=tuple(_lines(item for item in failed if _is_mended(item))),
        waived=tuple(_lines(item for item in findings if item["status"] == "waived")),
        unknown=tuple(_unknown(findings)),
        result=tuple(_result(report)),
        stages=tuple(_stages(report["stages"])),
        error=_error(error) if error else None,
        next_command=_next_command(report, judged=judged),
        started=report["started"],
        finished=report["finished"],
        version=report["imgprep_version"],
    )


def _error(error: JsonObject) -> tuple[str, str, str, str]:
    keys = ("title", "message", "hint", "code")
    title, message, hint, code = (clean(error[key], 2000) for key in keys)
    return title, message, hint, code


def _sentence(report: JsonObject, *, judged: bool) -> str:
    verdict = report["verdict"]
    if not judged and verdict not in ("failed", "interrupted"):
        return "Inspected; no requirement was judged."
    if verdict == "undetermined" and not report["findings"]:
        return "No requirement was judged."
    return VERDICTS[verdict]


def _is_mended(finding: JsonObject) -> bool:
    return finding.get("fixed_by") == "convert" and finding["severity"] == "info"


def _counts(report: JsonObject) -> str:
    rules = {
        status: {item["rule"] for item in report["findings"] if item["status"] == status}
        for status in ("fail", "unknown", "waived")
    }
    mended = {
        item["rule"] for item in report["findings"] if item["status"] == "fail" and _is_mended(item)
    }
    parts = (
        (len(report["passed"]), "met"),
        (len(rules["fail"] - mended), "not met"),
        (len(mended), "met after the conversion"),
        (len(rules["waived"]), "allowed"),
        (len(rules["unknown"]), "not judged"),
        (len(report["not_applicable"]), "not applicable"),
    )
    total = sum(count for count, _ in parts)
    return f"{total} requirements: " + ", ".join(
        f"{count} {word}" for count, word in parts if count
    )


def _lines(findings: Iterable[JsonObject]) -> list[Line]:
    by_rule: dict[str, list[JsonObject]] = {}
    for finding in findings:
        by_rule.setdefault(finding["rule"], []).append(finding)
    lines = [_line(group) for group in by_rule.values()]
    return sorted(lines, key=lambda line: SEVERITIES.index(line.severity))


def _line(group: Sequence[JsonObject]) -> Line:
    first = group[0]
    note = first["source"].get("note")
    return Line(
        rule=first["rule"],
        severity=first["severity"],
        title=clean(first["title"]),
        messages=tuple(dict.fromkeys(clean(item["message"], 1000) for item in group)),
        expected=clean(first["expected"], 1000),
        remedy=clean(first["remedy"], 2000),
        address=clean(first["source"]["address"], 2000),
        dated=f"{clean(first['source']['date'])}; {clean(note)}"
        if note
        else first["source"]["date"],
        vendor_code=first.get("vendor_code"),
        where=tuple(dict.fromkeys(_where(item["range"]) for item in group if "range" in item)),
        reason=clean(first["reason"]) if first.get("reason") else None,
    )


def _where(found: JsonObject) -> str:
    end = found["offset"] + max(found["length"] - 1, 0)
    return f"byte {found['offset']}" if found["length"] < 2 else f"bytes {found['offset']}-{end}"


def _unknown(findings: Sequence[JsonObject]) -> list[Unknown]:
    by_reason: dict[str, list[str]] = {}
    for finding in findings:
        if finding["status"] == "unknown":
            reason = clean(finding["message"]).removeprefix("This could not be judged: ")
            by_reason.setdefault(reason, []).append(finding["rule"])
    return [Unknown(reason, tuple(rules)) for reason, rules in by_reason.items()]


# --- what the image is ---------------------------------------------------------------------------


def _image(facts: Mapping[str, Any], *, whole: bool) -> Iterable[tuple[str, str]]:
    """What the image is; ``whole``: with each partition and file system, when nothing is judged."""
    container = facts.get("container") or {}
    if container:
        yield "format", _format(container)
        yield "file", _file(container)
    if container.get("packed"):
        yield "unpacked", _packed(container["packed"])
    if container.get("virtual_size") is not None:
        yield "disk", f"{words.size(container['virtual_size'])}{_partitions(facts.get('disk'))}"
    if whole:
        for number, line in enumerate(_contents(facts)):
            yield "" if number else "on it", line
    if "guest" in facts:
        yield "guest", _guest(facts["guest"])


def _contents(facts: Mapping[str, Any]) -> Iterator[str]:
    """Each file system as the guest sees it; where nobody looked inside, each partition."""
    found = (facts.get("guest") or {}).get("filesystems") or ()
    for item in found:
        label = f" {clean(item['label'])!r}" if item.get("label") else ""
        use = f", used as {clean(item['use'])}" if item.get("use") else ""
        kind = clean(item["type"] or "nothing known")
        yield f"{clean(item['device'])}: {kind}{label}, {short_size(item['size'])}{use}"
    for item in () if found else (facts.get("disk") or {}).get("partitions") or ():
        kind = clean(str(item.get("content") or item.get("type_name") or "nothing known"))
        yield f"partition {item['number']}: {kind}, {short_size(item['size'])}"


def _format(container: JsonObject) -> str:
    name = str(container.get("format"))
    variant = container.get("variant")
    creator = container.get("creator")
    shown = f"{name} ({clean(str(variant))})" if variant else name
    return f"{shown}, written by {clean(str(creator))}" if creator else shown


def _file(container: JsonObject) -> str:
    size, allocated = container.get("file_size"), container.get("allocated_size")
    if size is None:
        return "size not known"
    shown = short_size(size)
    return f"{shown}, {short_size(allocated)} on the disk" if allocated is not None else shown


def _packed(packed: JsonObject) -> str:
    size = short_size(packed["size"])
    if packed["format"] == "ova":
        return f"{clean(str(packed['name']))!r} from an OVA of {size}"
    return f"from {packed['format']}, {size}"


def _partitions(disk: Any) -> str:
    if not isinstance(disk, Mapping) or "partition_table" not in disk:
        return ""
    optical = disk.get("optical")
    if optical:
        label = optical.get("label") if isinstance(optical, Mapping) else None
        return f", an optical disc {clean(str(label))!r}" if label else ", an optical disc"
    table = disk["partition_table"]
    if table in (None, "none"):
        return ", no partition table" if table == "none" else ""
    count = len(disk.get("partitions") or ())
    return f", {str(table).upper()} with {count} partition{'' if count == 1 else 's'}"


def _guest(guest: Any) -> str:
    if not isinstance(guest, Mapping) or guest.get("status") in ("skipped", "failed"):
        reason = guest.get("reason") if isinstance(guest, Mapping) else None
        return f"not inspected: {clean(str(reason))}" if reason else "not inspected"
    if not guest.get("os"):
        reason = (guest.get("unknown") or {}).get("os")
        return f"not known: {clean(str(reason))}" if reason else "no operating system found"
    name = guest.get("product_name") or " ".join(
        str(guest[key]) for key in ("distro", "version") if guest.get(key)
    )
    firmware = {
        "bios": "starts by BIOS",
        "uefi": "starts by UEFI",
        "both": "starts by BIOS or UEFI",
    }
    parts = (name or guest["os"], guest.get("arch"), firmware.get(str(guest.get("firmware"))))
    return ", ".join(clean(str(part)) for part in parts if part)


# --- what was made -------------------------------------------------------------------------------


def _result(report: JsonObject) -> Iterable[tuple[str, str]]:
    artifact, receipt = report["artifact"], report["receipt"]
    source_size = (report["facts"].get("container") or {}).get("file_size")
    if artifact:
        why = "".join(f" ({reason})" for reason in _reasons(report["stages"], "convert"))
        dry_run = report["job"]["options"].get("dry_run")
        label = "would be" if dry_run else "converted"
        yield (
            label,
            f"{'converted ' if dry_run else ''}to {artifact['format']}, {short_size(artifact['size'])}{why}",
        )
        if source_size:
            yield (
                "against",
                f"{short_size(source_size)} of the source{_ratio(artifact, source_size)}",
            )
        if report["job"]["options"].get("keep") and not dry_run:
            yield "written", clean(report["job"]["options"]["keep"], 4000)
        if dry_run:
            yield from (("stored", why) for why in _reasons(report["stages"], "upload"))
    if receipt:
        count = len(receipt["segments"])
        parts = f" in {count} segments" if count > 1 else ""
        yield "stored", f"{clean(receipt['url'], 2000)}{parts}"
        if receipt.get("reused_bytes"):
            yield "resumed", f"{short_size(receipt['reused_bytes'])} were there already"
    sha256 = (receipt or {}).get("sha256") or (artifact or {}).get("sha256")
    if sha256:
        yield "sha256", sha256
    if receipt:
        yield "proved", _proof(receipt)


def _reasons(stages: Sequence[JsonObject], name: str) -> list[str]:
    """Why a stage did what it did, where it says so."""
    return [clean(s["reason"], 4000) for s in stages if s["name"] == name and s.get("reason")]


def _ratio(artifact: JsonObject, source_size: int) -> str:
    return f", {artifact['size'] / source_size:.0%} of it"


def _proof(receipt: JsonObject) -> str:
    return {
        "manifest": "by the store's checksums, and its structure read back",
        "readback": "by reading back and comparing all data",
    }.get(str(receipt["verified"]), "not yet")


def _stages(stages: Sequence[JsonObject]) -> Iterable[tuple[str, str]]:
    for stage in stages:
        reason = f": {clean(stage['reason'])}" if stage.get("reason") else ""
        yield stage["name"], f"{stage['status']} in {duration(stage['seconds'])}{reason}"


# --- what to do next -----------------------------------------------------------------------------


def _next_command(report: JsonObject, *, judged: bool) -> str | None:
    job, error, receipt = report["job"], report["error"], report["receipt"]
    source = shlex.quote(clean(job["source"], 4000))
    profile = f" --profile {shlex.quote(job['profile'])}" if job["profile"] != "rackspace" else ""
    if report["verdict"] == "interrupted":
        return None  # the same command; only the shell knows it
    if error:
        return f"imgprep explain {error['code']}"
    failed = [item for item in report["findings"] if item["status"] == "fail"]
    errors = [item["rule"] for item in failed if item["severity"] == "error"]
    if errors:
        return f"imgprep explain {errors[0]}"
    if receipt:
        parts = urlsplit(receipt["url"])
        if parts.scheme == "file":
            return f"imgprep check {shlex.quote(unquote(parts.path))}{profile}"
        return f"imgprep profiles {shlex.quote(job['profile'])}"
    if not judged:
        return f"imgprep check {source}{profile}"
    if report["artifact"] and not job["destination"]:
        return f"imgprep check {shlex.quote(clean(job['options']['keep'], 4000))}{profile}"
    return _next_of_check(report, source, profile)


def _next_of_check(report: JsonObject, source: str, profile: str) -> str:
    guest = report["facts"].get("guest") or {}
    if guest.get("status") == "failed":
        return "imgprep doctor"
    if guest.get("status") == "skipped" and report["job"]["options"].get("guest") == "off":
        return f"imgprep check {source}{profile} --guest require"
    name = PurePath(report["job"]["source"]).stem
    return f"imgprep run {source} {shlex.quote(f'{clean(name)}-out/')}{profile}"
