"""JUnit XML: the image is a suite, every requirement a test case.

fail at or above --fail-on   <failure>          unknown          <skipped>
fail below it                passes, with text  waived           <skipped> with the reason
a failed job                 <error>            not applicable   <skipped>
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from pipeline.model import JsonObject
from pipeline.reports.summary import SEVERITIES, is_repairable, profile_name
from pipeline.text import clean


def render(report: JsonObject) -> str:
    """The report as one JUnit test suite."""
    return _document([_suite(report)])


def render_several(reports: Sequence[JsonObject]) -> str:
    """A suite for each image and profile."""
    suites = [_suite(report) for report in reports]
    for suite, report in zip(suites, reports, strict=True):
        suite.set("name", _text(f"{report['job']['source']}: {profile_name(report)}"))
    return _document(suites)


def _document(suites: Sequence[Element]) -> str:
    root = Element("testsuites")
    root.extend(suites)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(report: JsonObject) -> Element:
    cases = [*_findings(report), *_passed(report), *_not_applicable(report), *_error(report)]
    suite = Element("testsuite", _head(report, cases))
    properties = SubElement(suite, "properties")
    for name, value in _properties(report):
        SubElement(properties, "property", name=name, value=_text(value))
    suite.extend(cases)
    return suite


def _head(report: JsonObject, cases: Sequence[Element]) -> dict[str, str]:
    seconds = sum(stage["seconds"] for stage in report["stages"])
    counts = {
        kind: sum(case.find(tag) is not None for case in cases)
        for kind, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    return {
        "name": _text(report["job"]["source"]),
        "tests": str(len(cases)),
        **{kind: str(count) for kind, count in counts.items()},
        "time": f"{seconds:.3f}",
        "timestamp": report["started"].split(".")[0].split("+")[0],
    }


def _properties(report: JsonObject) -> list[tuple[str, str]]:
    container = report["facts"].get("container") or {}
    known = [
        ("imgprep", report["imgprep_version"]),
        ("verdict", report["verdict"]),
        ("profile", profile_name(report)),
        *((f"image.{key}", container.get(key)) for key in ("format", "virtual_size", "file_size")),
        *((f"tool.{name}", version) for name, version in sorted(report["tools"].items())),
    ]
    return [(name, str(value)) for name, value in known if value is not None]


def _case(report: JsonObject, rule: str) -> Element:
    return Element("testcase", classname=_text(profile_name(report)), name=rule)


def _findings(report: JsonObject) -> list[Element]:
    by_rule: dict[str, list[JsonObject]] = {}
    for finding in report["findings"]:
        by_rule.setdefault(finding["rule"], []).append(finding)
    return [_finding(report, rule, group) for rule, group in by_rule.items()]


def _finding(report: JsonObject, rule: str, group: Sequence[JsonObject]) -> Element:
    case = _case(report, rule)
    first = group[0]
    message = _text(first["message"])
    if first["status"] == "unknown":
        SubElement(case, "skipped", message=message)
    elif first["status"] == "waived":
        SubElement(case, "skipped", message=_text(f"allowed: {first['reason']}"))
        SubElement(case, "system-out").text = _body(group)
    elif _counts(report, first):
        SubElement(case, "failure", message=message, type=first["severity"]).text = _body(group)
    else:
        SubElement(case, "system-out").text = _body(group)
    return case


def _counts(report: JsonObject, finding: JsonObject) -> bool:
    limit = report["job"]["options"].get("fail_on", "error")
    if limit == "never" or is_repairable(finding):
        return False
    return SEVERITIES.index(finding["severity"]) <= SEVERITIES.index(limit)


def _body(group: Sequence[JsonObject]) -> str:
    first = group[0]
    code = f"\nvendor's code: {first['vendor_code']}" if first.get("vendor_code") else ""
    lines = [
        *(f"{item['severity']}: {_text(item['message'])}" for item in group),
        f"expected: {_text(first['expected'])}",
        f"to do: {_text(first['remedy'])}",
        f"source: {first['source']['address']} ({first['source']['date']})",
    ]
    return "\n".join(lines) + code


def _passed(report: JsonObject) -> list[Element]:
    return [_case(report, rule) for rule in report["passed"]]


def _not_applicable(report: JsonObject) -> list[Element]:
    cases = [_case(report, rule) for rule in report["not_applicable"]]
    for case in cases:
        SubElement(case, "skipped", message="not applicable to this image")
    return cases


def _error(report: JsonObject) -> list[Element]:
    error = report["error"]
    if not error:
        return []
    case = Element("testcase", classname="imgprep", name="job")
    body = SubElement(case, "error", message=_text(error["message"]), type=error["code"])
    body.text = _text(error["hint"])
    return [case]


def _text(value: str) -> str:
    """XML 1.0 cannot hold most control characters, not even escaped."""
    return clean(str(value), 4000)
