"""SARIF 2.1.0, for code scanning views.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html

    fail     kind fail, level error, warning or note     waived   the same, with a suppression
    unknown  kind open, level none: "insufficient information to decide" (section 3.27.9)

What the conversion fixes anyway is no result: a healthy image of another format has none.

The image is the artifact; a finding that knows its bytes points at them (``region.byteOffset``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from pipeline.model import JsonObject
from pipeline.reports.summary import is_repairable, profile_name
from pipeline.text import clean

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS: Mapping[str, str] = {"error": "error", "warning": "warning", "info": "note"}


def render(report: JsonObject) -> str:
    """The report as a SARIF log with one run."""
    return render_several([report])


def render_several(reports: Sequence[JsonObject]) -> str:
    """The reports as a SARIF log with a run for each."""
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report) for report in reports]}
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _run(report: JsonObject) -> JsonObject:
    findings = [item for item in report["findings"] if not is_repairable(item)]
    rules = {finding["rule"]: finding for finding in findings}
    index = {rule: number for number, rule in enumerate(rules)}
    return {
        "tool": {
            "driver": {
                "name": "imgprep",
                "version": report["imgprep_version"],
                "rules": [_rule(finding) for finding in rules.values()],
            }
        },
        "automationDetails": {"id": _run_id(report)},
        "invocations": [_invocation(report)],
        "artifacts": [_artifact(report)],
        "columnKind": "unicodeCodePoints",
        "results": [_result(report, finding, index) for finding in findings],
    }


def _run_id(report: JsonObject) -> str:
    """What tells this image's results from another's, and this profile's from another's."""
    parts = (profile_name(report), clean(report["job"]["source"], 4000))
    return f"imgprep/{'/'.join(quote(part, safe='') for part in parts)}/"


def _rule(finding: JsonObject) -> JsonObject:
    source = finding["source"]
    remedy = clean(finding["remedy"], 4000)
    note = f" ({clean(source['note'])})" if source.get("note") else ""
    rule: dict[str, Any] = {
        "id": finding["rule"],
        "name": "".join(part.capitalize() for part in finding["rule"].split("-")),
        "shortDescription": {"text": clean(finding["title"])},
        "fullDescription": {"text": f"Expected: {clean(finding['expected'], 2000)}."},
        "helpUri": source["address"],
        "help": {
            "text": f"{remedy}\n\nSource: {source['address']} of {source['date']}{note}",
            "markdown": f"{_markdown(remedy)}\n\nSource: <{source['address']}> of {source['date']}"
            f"{_markdown(note)}",
        },
        "defaultConfiguration": {"level": _LEVELS[finding["severity"]]},
    }
    if finding.get("vendor_code"):
        rule["properties"] = {"vendorCode": finding["vendor_code"]}
    return rule


def _markdown(text: str) -> str:
    for character in "\\`*_[]<>":
        text = text.replace(character, f"\\{character}")
    return text


def _result(report: JsonObject, finding: JsonObject, index: Mapping[str, int]) -> JsonObject:
    unknown = finding["status"] == "unknown"
    result: dict[str, Any] = {
        "ruleId": finding["rule"],
        "ruleIndex": index[finding["rule"]],
        "kind": "open" if unknown else "fail",
        "level": "none" if unknown else _LEVELS[finding["severity"]],
        "message": {"text": clean(finding["message"], 4000)},
        "locations": [_location(report, finding)],
        "partialFingerprints": {"imgprepFinding/v1": _fingerprint(report, finding)},
        "properties": {"status": finding["status"], "observed": finding["observed"]},
    }
    if finding["status"] == "waived":
        result["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": clean(finding["reason"])}
        ]
    return result


def _location(report: JsonObject, finding: JsonObject) -> JsonObject:
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(report), "index": 0}}
    found = finding.get("range")
    if found:
        physical["region"] = {"byteOffset": found["offset"], "byteLength": found["length"]}
    location: dict[str, Any] = {"physicalLocation": physical}
    if finding.get("path"):
        location["logicalLocations"] = [
            {"fullyQualifiedName": finding["path"], "kind": "member", "name": finding["path"]}
        ]
    return location


def _uri(report: JsonObject) -> str:
    """A relative path stays relative, so that a viewer can find the file in a checkout."""
    path = report["job"]["source"]
    prefix = "file://" if path.startswith("/") else ""
    return prefix + quote(PurePath(path).as_posix(), errors="surrogateescape")


def _fingerprint(report: JsonObject, finding: JsonObject) -> str:
    found = finding.get("range") or {}
    name = PurePath(report["job"]["source"]).name
    what = (name, finding["rule"], finding.get("path"), found.get("offset"), finding["message"])
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def _artifact(report: JsonObject) -> JsonObject:
    container = report["facts"].get("container") or {}
    artifact: dict[str, Any] = {
        "location": {"uri": _uri(report)},
        "roles": ["analysisTarget"],
        "mimeType": "application/octet-stream",
    }
    if container.get("file_size") is not None:
        artifact["length"] = container["file_size"]
    return artifact


def _invocation(report: JsonObject) -> JsonObject:
    return {
        "executionSuccessful": report["error"] is None,
        "exitCode": report["exit_code"],
        "startTimeUtc": _utc(report["started"]),
        "endTimeUtc": _utc(report["finished"]),
        "toolExecutionNotifications": list(_notifications(report)),
    }


def _notifications(report: JsonObject) -> Iterator[JsonObject]:
    error = report["error"]
    if error:
        yield {
            "level": "error",
            "descriptor": {"id": error["code"]},
            "message": {"text": clean(f"{error['message']} {error['hint']}".strip(), 4000)},
        }


def _utc(when: str) -> str:
    moment = datetime.fromisoformat(when).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
