import json
import os
import signal
from dataclasses import dataclass, field

import pytest

from pipeline.engine import run_job, run_jobs
from pipeline.errors import ConversionFailed, Interrupted
from pipeline.events import JobFinished, JobStarted, StageFinished, StageStarted, ignore
from pipeline.model import (
    Artifact,
    Job,
    Judgement,
    Options,
    Outcome,
    StageStatus,
    Verdict,
    combined_exit_code,
    to_json,
)
from pipeline.stage import Cancellation


@dataclass
class Step:
    """A stage of a test: counts its runs and does what the test says."""

    name: str
    outcome: Outcome = field(default_factory=Outcome)
    version: int = 1
    reusable: bool = True
    act: object = None
    runs: int = 0
    seen: dict = field(default_factory=dict)

    def options(self, job):
        return {"guest": job.options.guest}

    def run(self, context):
        self.runs += 1
        self.seen = dict(context.facts)
        if self.act:
            self.act(context)
        return self.outcome


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.raw"
    path.write_bytes(b"\0" * 65536)
    return path


def do(image, tmp_path, *stages, monitor=ignore, **options):
    job = Job(str(image), "rackspace", options=Options(**options))
    return run_job(job, stages, monitor, job_dir=tmp_path / "jobs")


def fact(name, value):
    return Outcome(facts={name: {"value": value}})


def test_each_stage_sees_what_came_before_and_the_report_has_it_all(image, tmp_path):
    first, second = Step("first", fact("container", 1)), Step("second", fact("disk", 2))

    report = do(image, tmp_path, first, second)

    assert second.seen == {"container": {"value": 1}}
    assert report.facts == {"container": {"value": 1}, "disk": {"value": 2}}
    assert [record.name for record in report.stages] == ["first", "second"]
    assert report.exit_code == 0
    assert report.error is None


def test_events_tell_the_same_story(image, tmp_path):
    events = []

    report = do(image, tmp_path, Step("only"), monitor=events.append)

    kinds = [type(event) for event in events]
    assert kinds == [JobStarted, StageStarted, StageFinished, JobFinished]
    assert events[0].stages == ("only",)
    assert events[-1].report is report


def test_a_second_run_reuses_what_is_still_true(image, tmp_path):
    steps = Step("first", fact("container", 1)), Step("second", reusable=False)
    do(image, tmp_path, *steps)

    report = do(image, tmp_path, *steps)

    assert [step.runs for step in steps] == [1, 2]
    assert [record.status for record in report.stages] == [StageStatus.REUSED, StageStatus.DONE]
    assert report.facts == {"container": {"value": 1}}


@pytest.mark.parametrize("what", ["source", "option", "version", "earlier stage"])
def test_nothing_is_reused_that_depends_on_something_else_now(image, tmp_path, what):
    early, late = Step("early"), Step("late")
    do(image, tmp_path, early, late)

    options = {}
    if what == "source":
        image.write_bytes(b"\1" * 65536)
    elif what == "option":
        options = {"guest": "off"}
    elif what == "version":
        late.version = 2
    else:
        early.version = 2
    do(image, tmp_path, early, late, **options)

    assert late.runs == 2


def test_a_record_of_a_scratch_file_that_is_gone_is_not_reused(image, tmp_path):
    made = tmp_path / "artifact"
    made.write_bytes(b"x")
    outcome = Outcome(artifact=Artifact("qcow2", 1, 1, {"kind": "file", "path": str(made)}))
    step = Step("convert", outcome)
    do(image, tmp_path, step)
    do(image, tmp_path, step)
    assert step.runs == 1

    made.unlink()
    do(image, tmp_path, step)

    assert step.runs == 2


def test_a_refused_image_goes_no_further(image, tmp_path):
    gate = Step("check", Outcome(status=StageStatus.REFUSED, reason="the verdict is rejected"))
    after = Step("convert")

    report = do(image, tmp_path, gate, after)

    assert after.runs == 0
    assert [record.status for record in report.stages] == [StageStatus.REFUSED, StageStatus.SKIPPED]
    assert report.stages[1].reason == "the image is refused"


def test_a_job_that_was_cut_short_is_never_a_success(image, tmp_path):
    passing = Outcome(status=StageStatus.REFUSED, judgement=Judgement(passed=("single-file",)))

    checked = do(image, tmp_path, Step("check", passing), fail_on="never")
    run = do(image, tmp_path, Step("check", passing), Step("convert"), fail_on="never")

    assert (checked.exit_code, run.exit_code) == (0, 1)


def test_an_error_ends_the_job_and_stands_in_the_report(image, tmp_path):
    def fail(context):
        raise ConversionFailed("no-luck", "it did not work", hint="try again")

    report = do(image, tmp_path, Step("convert", act=fail), Step("upload"))

    assert (report.verdict, report.exit_code) == (Verdict.FAILED, 4)
    assert to_json(report.error) == {
        "code": "no-luck",
        "title": "the conversion failed",
        "message": "it did not work",
        "hint": "try again",
    }
    assert [record.status for record in report.stages] == [StageStatus.FAILED]


def test_a_full_disk_is_the_environments_fault(image, tmp_path):
    def fail(context):
        raise OSError(28, "No space left on device", "/scratch/x")

    report = do(image, tmp_path, Step("convert", act=fail))

    assert report.exit_code == 3
    assert "No space left on device: /scratch/x" in report.error.message


def test_a_bug_is_not_an_error_of_the_image(image, tmp_path):
    def fail(context):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        do(image, tmp_path, Step("convert", act=fail))


def test_a_source_that_changes_during_a_stage_stops_the_job(image, tmp_path):
    def touch(context):
        os.utime(image, ns=(1, 1))

    report = do(image, tmp_path, Step("inspect", act=touch), Step("convert"))

    assert report.exit_code == 3
    assert report.error.code == "source-changed"
    assert [record.name for record in report.stages] == ["inspect"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_leaves_a_state_that_continues(image, tmp_path, number, code):
    # given a job that is stopped in its second stage
    cancellation = Cancellation()
    early = Step("early", fact("container", 1))

    def stop(context):
        cancellation.set(number)
        context.cancellation.check()

    job = Job(str(image), "rackspace")
    stopped = run_job(
        job,
        [early, Step("late", act=stop)],
        ignore,
        cancellation=cancellation,
        job_dir=tmp_path / "jobs",
    )
    assert (stopped.verdict, stopped.exit_code) == (Verdict.INTERRUPTED, code)

    # when the same command runs again, then the first stage is not done again
    again = run_job(job, [early, Step("late")], ignore, job_dir=tmp_path / "jobs")
    assert again.exit_code == 0
    assert early.runs == 1


def test_an_interruption_says_how_to_go_on():
    assert "same command" in Interrupted(signal.SIGTERM).hint


@pytest.mark.parametrize(
    ("source", "profile", "code"),
    [("missing.qcow2", "rackspace", 3), ("image.raw", "no-such-profile", 2)],
)
def test_what_cannot_begin_still_ends_in_a_report(image, tmp_path, source, profile, code):
    job = Job(str(tmp_path / source), profile)

    report = run_job(job, [Step("identify")], ignore, job_dir=tmp_path / "jobs")

    assert (report.verdict, report.exit_code) == (Verdict.FAILED, code)
    assert report.stages == ()
    json.dumps(to_json(report))


def test_several_profiles_share_one_look(image):
    look = Step("look", fact("container", 1))
    judge = Step("judge", Outcome(judgement=Judgement()))
    jobs = [Job(str(image), name) for name in ("rackspace-2014", "rackspace")]
    events = []

    reports = run_jobs(jobs, [look], [judge], events.append)

    assert (look.runs, judge.runs) == (1, 2)
    assert [report.profile.name for report in reports] == ["rackspace-2014", "rackspace-2020"]
    assert len({report.job["id"] for report in reports}) == 2
    for report in reports:
        assert report.facts == {"container": {"value": 1}}
        assert [record.name for record in report.stages] == ["look", "judge"]
    assert [event.report for event in events if isinstance(event, JobFinished)] == list(reports)


def test_with_a_wrong_profile_among_several_nothing_is_done(image):
    look = Step("look")
    jobs = [Job(str(image), name) for name in ("rackspace", "nosuch")]

    (report,) = run_jobs(jobs, [look], [], ignore)

    assert look.runs == 0
    assert (report.exit_code, report.error.code, report.profile) == (2, "profile-unknown", None)


def test_a_look_that_fails_is_told_in_every_report(image):
    def fail(context):
        raise ConversionFailed("broken", "it broke")

    jobs = [Job(str(image), name) for name in ("rackspace", "rackspace-2014")]

    reports = run_jobs(jobs, [Step("look", act=fail)], [Step("judge")], ignore)

    assert [report.error.code for report in reports] == ["broken", "broken"]


def test_a_stop_between_two_profiles_leaves_the_first_judged(image):
    cancellation = Cancellation()
    judge = Step(
        "judge",
        Outcome(judgement=Judgement()),
        act=lambda context: cancellation.set(signal.SIGINT),
    )
    jobs = [Job(str(image), name) for name in ("rackspace", "rackspace-2014")]

    first, second = run_jobs(jobs, [], [judge], ignore, cancellation=cancellation)

    assert (first.verdict, first.exit_code) == (Verdict.ACCEPTED, 0)
    assert (second.verdict, second.exit_code) == (Verdict.INTERRUPTED, 130)


@pytest.mark.parametrize(
    ("codes", "combined"),
    [([], 0), ([0, 0], 0), ([0, 1], 1), ([1, 7], 7), ([7, 4], 4), ([4, 6], 6), ([6, 5], 5),
     ([5, 3], 3), ([3, 2], 2), ([2, 70], 70), ([70, 143], 143), ([143, 130], 130)],
)  # fmt: skip
def test_the_exit_code_of_several_is_the_first_in_the_order(codes, combined):
    assert combined_exit_code(codes) == combined
    assert combined_exit_code(reversed(codes)) == combined


def test_the_report_is_there_before_the_record_of_the_job_is_given_up(image, tmp_path):
    class KilledError(Exception):
        pass

    def killed(report):
        assert report.exit_code == 0
        raise KilledError

    def notes():
        return [path.name for path in (tmp_path / "jobs").glob("*/notes/*")]

    def stage():
        return Step("upload", act=lambda context: context.notebook.save("upload", {"sent": 1}))

    job = Job(str(image), "rackspace")
    with pytest.raises(KilledError):
        run_job(job, [stage()], ignore, job_dir=tmp_path / "jobs", deliver=killed)
    assert notes() == ["upload.json"]

    run_job(job, [stage()], ignore, job_dir=tmp_path / "jobs", deliver=lambda _report: None)

    assert notes() == []
