import multiprocessing
import os
import stat

import pytest

from pipeline.errors import EnvironmentFailed
from pipeline.journal import jobs_at_work, open_journal, passing, write_atomically
from pipeline.model import Artifact, Outcome, Receipt, StageStatus

OUTCOME = Outcome(
    facts={"container": {"format": "qcow2", "creator": None, "unknown": {}}},
    artifact=Artifact("vhd", 1 << 30, 4096, {"kind": "tap-vhd", "blocks": [1, 2]}),
    receipt=Receipt("file:///x", 3, segments=({"name": "a", "md5": "b"},)),
)


def test_a_record_comes_back_as_it_was(tmp_path):
    with open_journal(tmp_path, "job") as journal:
        journal.record("identify", "id-1", OUTCOME, 1.5)

    with open_journal(tmp_path, "job") as journal:
        assert journal.find("identify", "id-1") == (OUTCOME, 1.5)


def test_a_record_under_another_id_is_not_found(tmp_path):
    with open_journal(tmp_path, "job") as journal:
        journal.record("identify", "id-1", OUTCOME, 1.5)

        assert journal.find("identify", "id-2") is None
        assert journal.find("check", "id-1") is None


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"id": "id-1"}', b'{"id":"id-1","seconds":1,"outcome":7}']
)
def test_a_damaged_record_is_no_record(tmp_path, damage):
    with open_journal(tmp_path, "job") as journal:
        (journal.directory / "identify.json").write_bytes(damage)

        assert journal.find("identify", "id-1") is None


def test_facts_that_are_null_stay_null(tmp_path):
    with open_journal(tmp_path, "job") as journal:
        journal.record("identify", "id-1", OUTCOME, 0)
        outcome, _ = journal.find("identify", "id-1")

    assert outcome.facts["container"] == {"format": "qcow2", "creator": None, "unknown": {}}
    assert outcome.status is StageStatus.DONE


def test_the_directory_is_private(tmp_path):
    with open_journal(tmp_path, "job") as journal:
        assert stat.S_IMODE(journal.directory.stat().st_mode) == 0o700


def _hold(root, ready, done):
    with open_journal(root, "job"):
        ready.set()
        done.wait(30)


def test_a_second_process_is_told_that_the_job_is_taken(tmp_path):
    # given another process that works on the job
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, done))
    other.start()
    try:
        assert ready.wait(30)

        # when we want it too, then we are told
        with pytest.raises(EnvironmentFailed) as caught, open_journal(tmp_path, "job"):
            pass
        assert caught.value.code == "job-locked"
        assert jobs_at_work(tmp_path) == ("job",)
    finally:
        done.set()
        other.join(30)

    # and when it has gone, the job is ours
    assert jobs_at_work(tmp_path) == ()
    with open_journal(tmp_path, "job"):
        pass


def test_finishing_removes_notes_and_scratch_and_keeps_records(tmp_path):
    with open_journal(tmp_path, "job") as journal:
        journal.record("identify", "id-1", OUTCOME, 0)
        journal.save("upload", {"part": 1})
        (journal.scratch / "big").write_bytes(b"x")
        assert journal.load("upload") == {"part": 1}

        journal.finish()

        assert not journal.scratch.exists()
        assert journal.load("upload") is None
        assert journal.find("identify", "id-1") is not None


def test_an_atomic_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def fail(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(EnvironmentFailed) as caught, open_journal(tmp_path / "file", "job"):
        pass

    assert caught.value.code == "state-unwritable"
    assert "--job-dir" in caught.value.hint


def test_a_job_that_stores_nothing_leaves_nothing_and_remembers_nothing():
    with passing() as records:
        records.record("identify", "1", OUTCOME, 0.1)
        records.save("plan", {"a": 1})

        assert records.find("identify", "1") is None
        assert records.load("plan") == {"a": 1}
    assert not records.directory.exists()
