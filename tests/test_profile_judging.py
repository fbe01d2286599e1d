"""Unknown, waived, evidence, gates, verdicts: what the judgement adds to a yes or no."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import profile
from pipeline.errors import UsageError
from pipeline.model import ByteRange, Finding, Judgement, Provenance, Severity, Status, Verdict
from pipeline.profile import judging
from tests import samples
from tests.samples import problem

SKIPPED = {"status": "skipped", "reason": "--guest=off was given"}


def judged(facts, **options):
    return profile.judge(profile.load("rackspace"), facts, **options)


def of_status(judgement, status):
    return {item.rule for item in judgement.findings if item.status is status}


# --- unknown -------------------------------------------------------------------------------------


def test_a_section_that_was_skipped_makes_its_rules_unknown_with_the_reason():
    facts = samples.facts() | {"guest": SKIPPED}

    judgement = judged(facts)

    unknown = of_status(judgement, Status.UNKNOWN)
    assert {"windows-guest", "uefi-only", "database-in-image"} <= unknown
    assert not unknown & set(judgement.passed)
    assert judgement.findings[0].message == "This could not be judged: --guest=off was given."
    assert of_status(judgement, Status.FAIL) == set()


def test_a_missing_section_is_unknown_too():
    facts = samples.facts()
    del facts["disk"]

    assert "iso-image" in of_status(judged(facts), Status.UNKNOWN)


def test_a_null_with_a_reason_is_unknown_and_one_without_is_none():
    facts = samples.facts(guest={"arch": None, "unknown": {"arch": "no program could be read"}})
    facts["container"]["virtual_size"] = None
    facts["container"]["unknown"] = {"virtual_size": "the header is cut short"}

    judgement = judged(facts)

    messages = {item.rule: item.message for item in judgement.findings}
    assert messages["guest-architecture"].endswith("no program could be read.")
    assert messages["virtual-size-limit"].endswith("the header is cut short.")
    assert "boot-loader" in judgement.passed


def test_an_unknown_condition_is_not_taken_for_not_applicable():
    facts = samples.facts(guest={"os": None, "unknown": {"os": "the file system is damaged"}})

    judgement = judged(facts)

    assert "windows-domain-controller" in of_status(judgement, Status.UNKNOWN)
    assert "windows-domain-controller" not in judgement.not_applicable


def test_what_was_seen_fails_whatever_else_is_unknown():
    facts = {"container": samples.facts()["container"] | {"problems": [problem("iso-image")]}}

    assert "iso-image" in of_status(judged(facts), Status.FAIL)


@settings(deadline=None, max_examples=20)
@given(st.sets(st.sampled_from(["container", "disk", "guest"])))
def test_every_requirement_is_in_exactly_one_place(known):
    facts = {name: section for name, section in samples.facts().items() if name in known}
    judgement = judged(facts)

    found = {item.rule for item in judgement.findings}
    parts = (found, set(judgement.passed), set(judgement.not_applicable))

    everything = {item.rule for item in profile.load("rackspace").requirements}
    assert set().union(*parts) == everything
    assert sum(map(len, parts)) == len(everything)


# --- evidence ------------------------------------------------------------------------------------


def test_every_piece_of_evidence_is_a_finding_with_its_bytes():
    problems = [problem("vhd-bat", f"entry {n}", offset=1536 + 4 * n, length=4) for n in range(3)]

    findings = judged(samples.facts({"problems": problems})).findings

    assert [item.range for item in findings] == [ByteRange(1536 + 4 * n, 4) for n in range(3)]
    assert [item.observed for item in findings] == ["entry 0", "entry 1", "entry 2"]


def test_many_pieces_are_twenty_and_a_number():
    problems = [problem("vhd-bat", f"entry {n}", offset=n, length=4) for n in range(1500)]

    findings = judged({"container": samples.TAP_VHD | {"problems": problems}}).findings

    evidence = [item for item in findings if item.rule == "vhd-bat"]
    assert len(evidence) == 21
    assert "1,480 more" in evidence[-1].message


def test_what_an_image_says_cannot_steer_a_terminal():
    evil = "label \x1b]0;owned\x07 \u202egpj.exe\nerror: all is well"
    facts = samples.facts({"creator": "\x1b[2J", "problems": [problem("vhd-bat", evil)]})

    for item in judged(facts, subject="result").findings:
        shown = f"{item.message}{item.observed}"
        assert not set("\x1b\x07\n\u202e") & set(shown)


def test_facts_cannot_reach_into_a_template():
    facts = samples.facts({"problems": [problem("vhd-bat", "{container.uuid} {0.__class__}")]})

    (finding,) = judged(facts, subject="result").findings

    assert samples.TAP_VHD["uuid"] not in finding.message


# --- waivers and gates ---------------------------------------------------------------------------


def test_a_waiver_keeps_the_finding_and_says_why():
    facts = samples.facts({"virtual_size": 200 << 30})

    judgement = judged(facts, waivers={"virtual-size-limit": "agreed with the vendor, case 4711"})

    (finding,) = judgement.findings
    assert (finding.status, finding.severity) == (Status.WAIVED, Severity.ERROR)
    assert finding.reason == "agreed with the vendor, case 4711"
    assert profile.verdict(judgement) == (Verdict.ACCEPTED_WITH_ADVICE, 0)


def test_waivers_that_cannot_be_are_refused_together():
    waivers = {"backing-file": "I trust it", "virtual-size-limt": "typo", "uefi-only": "  "}

    with pytest.raises(UsageError) as error:
        judged(samples.facts(), waivers=waivers)

    assert error.value.code == "waiver-refused"
    for words in (
        "backing-file: it protects",
        "virtual-size-limt: the profile",
        "uefi-only: the re",
    ):
        assert words in error.value.message


def test_the_gate_speaks_only_of_what_is_known_and_dangerous():
    container = samples.facts()["container"]

    assert profile.gate({}) == ()
    assert profile.gate({"container": container}) == ()
    hostile = container | {
        "problems": [problem("backing-file", "/etc/shadow", offset=8, length=12)]
    }
    (finding,) = profile.gate({"container": hostile})
    assert (finding.rule, finding.range) == ("backing-file", ByteRange(8, 12))
    assert profile.gate({"container": container | {"virtual_size": 1 << 50}}) == ()


def test_the_gate_can_use_a_cloud_s_words():
    facts = {"container": samples.TAP_VHD | {"problems": [problem("vhd-header")]}}

    (own,) = profile.gate(facts)
    (cloud,) = profile.gate(facts, profile.load("rackspace"))

    assert (own.vendor_code, cloud.vendor_code) == (None, "111")


def test_the_gate_of_a_cloud_speaks_of_nothing_else_that_the_cloud_refuses():
    facts = samples.facts({"virtual_size": 1 << 50, "problems": [problem("backing-file")]})

    found = profile.gate(facts, profile.load("rackspace"))

    assert [item.rule for item in found] == ["backing-file"]


@pytest.mark.parametrize(
    ("status", "stopped"), [("fail", True), ("waived", False), ("unknown", False)]
)
def test_only_a_gate_that_fails_stops_an_image(status, stopped):
    found = replace(finding("error", Status(status)), rule="backing-file")
    other = replace(finding("error"), rule="virtual-size-limit")

    judgement = Judgement((other, found))

    assert profile.stopped_at_gate(profile.load("rackspace"), judgement) is stopped


def test_findings_are_ordered_by_severity_and_then_what_was_seen_before_what_was_not():
    facts = samples.facts({"virtual_size": 200 << 30}, guest={"firmware": "uefi", "arch": None})
    facts["guest"]["unknown"] = {"arch": "no program could be read"}
    waived = {"virtual-size-limit": "agreed"}

    plain = [(item.rule, item.status.value) for item in judged(facts).findings]
    other = [(item.rule, item.status.value) for item in judged(facts, waivers=waived).findings]

    rules = [item.rule for item in profile.load("rackspace").requirements]
    failed = sorted(("virtual-size-limit", "uefi-only"), key=rules.index)
    assert plain == [*((rule, "fail") for rule in failed), ("guest-architecture", "unknown")]
    assert [rule for rule, _ in other] == [rule for rule, _ in plain]  # a waiver moves nothing


def test_warnings_come_before_what_is_only_told():
    facts = samples.facts({"virtual_size": 160 << 30}, of=samples.QCOW2)

    found = judged(facts)

    order = [item.rule for item in profile.load("rackspace").requirements]
    assert order.index("vhd-format") < order.index("virtual-size-ambiguous")
    assert [item.rule for item in found.findings] == ["virtual-size-ambiguous", "vhd-format"]


def test_a_schema_that_fails_on_what_is_not_known_is_no_failure():
    facts = samples.facts({"virtual_size": None, "unknown": {"virtual_size": "cut short"}})

    assert of_status(judged(facts), Status.FAIL) == set()


def test_the_same_problem_a_thousand_times_costs_no_more_than_once():
    problems = [problem("vhd-bat", f"entry {n}", offset=n, length=4) for n in range(3)]
    facts = {"container": {"problems": [*problems, problem("vhd-header", "x")]}, "disk": {}}

    shorter = judging._one_problem_a_rule(facts)

    assert shorter["container"]["problems"] == [problem("vhd-header", "x"), problems[0]]
    assert facts["container"]["problems"][:3] == problems
    assert shorter["disk"] == {}


# --- the verdict ---------------------------------------------------------------------------------


def finding(severity, status=Status.FAIL, fixed_by=None):
    return Finding(
        rule="a-rule",
        severity=Severity(severity),
        status=status,
        title="t",
        message="m",
        observed=None,
        expected="e",
        remedy="r",
        source=Provenance("https://example.org/", "2020-01-01"),
        fixed_by=fixed_by,
    )


UNKNOWN = Status.UNKNOWN
VERDICTS = [
    ([], "error", False, Verdict.ACCEPTED, 0),
    ([finding("error")], "error", False, Verdict.REJECTED, 1),
    ([finding("error")], "never", False, Verdict.REJECTED, 0),
    ([finding("error")], "warning", False, Verdict.REJECTED, 1),
    ([finding("error")], "info", False, Verdict.REJECTED, 1),
    ([finding("warning")], "info", False, Verdict.REJECTED, 1),
    ([finding("warning")], "never", False, Verdict.ACCEPTED_WITH_ADVICE, 0),
    ([finding("info", UNKNOWN)], "never", False, Verdict.ACCEPTED_WITH_ADVICE, 0),
    ([finding("warning")], "error", False, Verdict.ACCEPTED_WITH_ADVICE, 0),
    ([finding("warning")], "warning", False, Verdict.REJECTED, 1),
    ([finding("info")], "warning", False, Verdict.ACCEPTED_WITH_ADVICE, 0),
    ([finding("info")], "info", False, Verdict.REJECTED, 1),
    ([finding("info", fixed_by="convert")], "info", False, Verdict.ACCEPTED, 0),
    ([finding("error", UNKNOWN)], "error", False, Verdict.UNDETERMINED, 0),
    ([finding("error", UNKNOWN)], "error", True, Verdict.UNDETERMINED, 7),
    ([finding("error", UNKNOWN)], "never", True, Verdict.UNDETERMINED, 7),
    ([finding("warning", UNKNOWN)], "error", False, Verdict.ACCEPTED_WITH_ADVICE, 0),
    ([finding("warning", UNKNOWN)], "error", True, Verdict.UNDETERMINED, 7),
    ([finding("warning", UNKNOWN)], "warning", False, Verdict.UNDETERMINED, 0),
    ([finding("error", UNKNOWN)], "warning", False, Verdict.UNDETERMINED, 0),
    ([finding("warning", UNKNOWN)], "info", False, Verdict.UNDETERMINED, 0),
    ([finding("info", UNKNOWN)], "info", False, Verdict.UNDETERMINED, 0),
    ([finding("info", UNKNOWN)], "warning", False, Verdict.ACCEPTED_WITH_ADVICE, 0),
    ([finding("warning", UNKNOWN)], "never", False, Verdict.ACCEPTED_WITH_ADVICE, 0),
    ([finding("error", UNKNOWN)], "never", False, Verdict.UNDETERMINED, 0),
    ([finding("error", fixed_by="convert")], "error", False, Verdict.REJECTED, 1),
    ([finding("info", fixed_by="person")], "info", False, Verdict.REJECTED, 1),
    ([finding("error"), finding("error", UNKNOWN)], "error", True, Verdict.REJECTED, 1),
    ([finding("error", Status.WAIVED)], "error", True, Verdict.ACCEPTED_WITH_ADVICE, 0),
]


@pytest.mark.parametrize(("findings", "fail_on", "strict", "word", "code"), VERDICTS)
def test_the_verdict(findings, fail_on, strict, word, code):
    assert profile.verdict(Judgement(tuple(findings)), fail_on, strict=strict) == (word, code)


def test_only_errors_count_and_nothing_is_strict_where_nobody_asks():
    unknown = Judgement((finding("error", UNKNOWN), finding("warning")))

    assert profile.verdict(unknown) == (Verdict.UNDETERMINED, 0)
    assert profile.verdict(Judgement((finding("warning"),))) == (Verdict.ACCEPTED_WITH_ADVICE, 0)


def test_a_gate_says_that_it_is_one():
    facts = samples.facts({"problems": [problem("backing-file")], "virtual_size": 200 << 30})

    told = {item.rule: item.gate for item in judged(facts).findings}

    assert told == {"backing-file": True, "virtual-size-limit": None}


@pytest.mark.parametrize("result", [None, {}, {"container": None, "disk": {}}])
def test_without_a_result_the_source_is_judged_in_its_place(result):
    facts = samples.facts(of=samples.QCOW2) | ({} if result is None else {"result": result})

    told = {item.rule: item.severity for item in judged(facts, subject="result").findings}

    assert told == {"vhd-format": Severity.ERROR}


def test_a_result_is_not_looked_at_where_the_source_is_judged():
    facts = samples.facts(of=samples.QCOW2)
    facts["result"] = {"container": samples.facts({"variant": "fixed"})["container"]}

    assert {item.rule for item in judged(facts).findings} == {"vhd-format"}


def test_the_result_is_judged_with_the_source_s_guest():
    facts = samples.facts(of=samples.QCOW2)
    facts["result"] = {"container": samples.facts({"variant": "fixed"})["container"]}

    judgement = judged(facts, subject="result")

    assert of_status(judgement, Status.FAIL) == {"vhd-dynamic"}
    assert of_status(judgement, Status.UNKNOWN) == set()


def test_one_piece_more_than_twenty_is_told():
    for count, told in ((20, 20), (45, 21), (21, 21)):
        problems = [problem("vhd-bat", f"entry {n}", offset=n, length=0) for n in range(count)]
        findings = judged({"container": samples.TAP_VHD | {"problems": problems}}).findings
        evidence = [item for item in findings if item.rule == "vhd-bat"]
        assert len(evidence) == told
        assert evidence[0].range == ByteRange(0, 0)
        if count > 20:
            more = f"and {count - 20} more of the same kind"
            assert evidence[-1].message.count(more) == 1
            assert (evidence[-1].observed, evidence[-1].range) == (more, None)


def test_evidence_belongs_to_its_own_rule():
    problems = [problem("vhd-bat", "one"), problem("vhd-header", "two")]
    rule = "".join(["vhd-", "bat"])  # an equal text that is another object
    problems[0] = problems[0] | {"rule": rule}

    findings = judged({"container": samples.TAP_VHD | {"problems": problems}}).findings

    shown = [(item.rule, item.observed) for item in findings if item.status is Status.FAIL]
    assert sorted(shown) == [("vhd-bat", "one"), ("vhd-header", "two")]


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ({}, ()),
        (True, ()),
        ({"properties": {"guest": {}}}, ("guest",)),
        (
            {"properties": {"guest": {"properties": {"os": {}, "arch": {}}}}},
            ("guest.os", "guest.arch"),
        ),
        ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, ("a", "b")),
        ({"anyOf": [{"properties": {"a": {}}}], "oneOf": [{"properties": {"b": {}}}]}, ("a", "b")),
        ({"not": {"properties": {"a": {}}}, "properties": {"a": {}, "c": {}}}, ("a", "c")),
        ({"properties": {"a": {"not": {"properties": {"b": {}}}}}}, ("a.b",)),
    ],
)
def test_the_facts_that_a_condition_asks_for(schema, paths):
    assert judging.fact_paths(schema) == paths


@pytest.mark.parametrize(
    ("facts", "path", "reason"),
    [
        ({}, "guest.os", "guest was not inspected"),
        ({"guest": None}, "guest.os", "guest was not inspected"),
        ({"guest": {"status": "failed"}}, "guest.os", "guest inspection failed"),
        ({"guest": {"status": "skipped", "reason": "no"}}, "guest", "no"),
        ({"guest": {"status": "ok", "os": {}}}, "guest.os", ""),
        ({"guest": {"status": "ok"}}, "guest.os", "guest.os was not determined"),
        ({"guest": {"os": None}}, "guest.os.name", ""),
        ({"guest": {"os": 3}}, "guest.os.name", "guest.os.name was not determined"),
        ({"guest": {"os": {}, "unknown": {"os.name": "cut"}}}, "guest.os.name", "cut"),
        ({"guest": {"os": {"name": 1}, "unknown": {"os": "cut"}}}, "guest.os.name", "cut"),
        ({"guest": {"os": {"name": 1}, "unknown": {"name": "cut"}}}, "guest.os.name", ""),
    ],
)
def test_why_a_fact_is_not_known(facts, path, reason):
    assert judging.unknown_reason(facts, path) == reason
