"""Jobs, reports and errors travel between processes and machines."""

import pickle

import pytest
from samples import facts, report

from pipeline import errors
from pipeline.batch.located import Problem
from pipeline.batch.manifest import ManifestError
from pipeline.model import Job, Options, from_json, to_json
from pipeline.transfer import protocol


def tree(kind):
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def made(kind):
    if issubclass(kind, errors.Interrupted):
        return kind(15)
    if kind is ManifestError:
        return kind("images.yaml", [Problem(None, "there is no file")])
    if issubclass(kind, errors.TemporaryStoreError):
        return kind("a-code", "what happened", hint="what to do", retry_after_s=2.5)
    return kind("a-code", "what happened", hint="what to do")


def test_the_errors_of_the_stores_are_in_the_tree():
    assert protocol.SegmentsChangedError in set(tree(errors.ImgprepError))


@pytest.mark.parametrize(
    "kind", sorted(set(tree(errors.ImgprepError)), key=lambda kind: kind.__name__)
)
def test_an_error_says_the_same_after_its_travel(kind):
    error = made(kind)

    there = pickle.loads(pickle.dumps(error))

    assert type(there) is kind
    assert (str(there), vars(there)) == (str(error), vars(error))
    assert there.exit_code == error.exit_code


@pytest.mark.parametrize("profile", ["rackspace", None])
def test_a_job_says_the_same_after_its_travel(profile):
    job = Job("disk.qcow2", profile, "swift://images/", Options(allow={"machine-id": "ours"}))

    assert pickle.loads(pickle.dumps(job)) == job
    assert from_json(to_json(job), Job) == job


def test_a_report_says_the_same_after_its_travel():
    made = report(facts())

    assert to_json(pickle.loads(pickle.dumps(made))) == to_json(made)
