"""The ledger: what it remembers, and what it says when it cannot."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.batch import ledger as ledgers
from pipeline.batch import ledger_file
from pipeline.batch.ledger import Ended, State
from pipeline.batch.plan import Task
from pipeline.errors import EnvironmentFailed
from pipeline.model import Job, Options, to_json
from tests import samples

ROOT = Path(__file__).resolve().parents[2]


def task(name, stamp="s", **options):
    return Task(Job(f"/i/{name}", "rackspace", "/out", Options(**options)), name, stamp, 1 << 20)


def report(found=None, **changes):
    return to_json(samples.report(found or samples.facts(), **changes))


REFUSED = samples.facts(disk={"optical": {"kind": "iso9660", "label": "X"}}, of=samples.QCOW2)


@pytest.fixture
def ledger(tmp_path):
    with ledgers.open_ledger(tmp_path) as opened:
        yield opened


def do_all(ledger, states=ledgers.TO_DO):
    """Take everything that is to be done; the sources' names."""
    ledger.begin(states)
    rows = ledger.pending(-1, 100)
    with ledger.transaction():
        for row in rows:
            ledger.started(row.id)
    return [Path(row.job.source).name for row in rows], rows


def test_only_what_is_missing_or_changed_is_done_again(ledger):
    ledger.adopt([task("a"), task("b"), task("c"), task("d")])
    names, (a, b, c, d) = do_all(ledger)
    assert names == ["a", "b", "c", "d"]
    with ledger.transaction():
        ledger.ended(a.id, Ended(State.DONE, report()))
        ledger.ended(b.id, Ended(State.REFUSED, report(REFUSED), "iso-image"))
        ledger.ended(c.id, Ended(State.FAILED, report(), "store-connection: gone"))
        ledger.ended(d.id, Ended(State.DONE, report()))

    ledger.adopt([task("a"), task("b"), task("c"), task("d", "another stamp"), task("e")])

    assert do_all(ledger)[0] == ["c", "d", "e"]


def test_what_ran_when_somebody_was_killed_is_done_again(tmp_path):
    with ledgers.open_ledger(tmp_path) as ledger:
        ledger.adopt([task("a")])
        do_all(ledger)
        assert ledger.counts()[State.RUNNING] == 1

    with ledgers.open_ledger(tmp_path) as ledger:
        assert do_all(ledger)[0] == ["a"]


def test_only_some_states_can_be_chosen(ledger):
    ledger.adopt([task("a"), task("b")])
    _, (a, _) = do_all(ledger)
    with ledger.transaction():
        ledger.ended(a.id, Ended(State.FAILED, report(), "no"))

    assert do_all(ledger, [State.FAILED])[0] == ["a"]


def test_a_cluster_that_does_what_began_here_knows_it_by_content(ledger):
    ledger.adopt([task("a"), Task(Job("s3://b/k", "rackspace"), "k", "s", 0)])

    ledger.know_by_content()

    assert [row.job.options.identity for row in do_all(ledger)[1]] == ["content", "stat"]


def test_workers_are_asked_for_every_store_that_is_read_or_written(ledger):
    jobs = [
        Job("/i/a", "rackspace", "s3://out/x/"),
        Job("s3://in/deep/b", "rackspace", "s3://out/x/"),
        Job("swift://c/o", "rackspace"),
        Job("http://h/o", "rackspace"),
    ]
    ledger.adopt([Task(job, job.source, "s", 0) for job in jobs])
    ledger.begin()

    assert ledger.stores() == ["s3://in/deep/", "s3://out/x/", "swift://c/"]


def test_what_is_no_longer_listed_does_not_count(ledger):
    ledger.adopt([task("a"), task("b")])
    _, (a, b) = do_all(ledger)
    with ledger.transaction():
        ledger.ended(a.id, Ended(State.REFUSED, report(REFUSED)))
        ledger.ended(b.id, Ended(State.DONE, report()))

    ledger.adopt([task("b")])

    assert sum(ledger.counts().values()) == 1
    assert ledger.exit_codes() == {0}
    assert ledger.rules() == [item for item in ledger.rules() if item[0] != "not-a-disk-image"]
    assert len(list(ledger.reports())) == 1


def test_reports_come_back_as_they_were_and_rules_are_counted_by_image(ledger):
    ledger.adopt([task("a"), task("b")])
    _, rows = do_all(ledger)
    bad = report(REFUSED)
    with ledger.transaction():
        for row in rows:
            ledger.ended(row.id, Ended(State.REFUSED, bad))

    assert list(ledger.reports()) == [bad, bad]
    failed = {item["rule"] for item in bad["findings"] if item["status"] == "fail"}
    assert failed
    assert {rule for rule, _, _ in ledger.rules()} == failed
    assert {count for _, _, count in ledger.rules()} == {2}


def test_it_is_private(tmp_path):
    with ledgers.open_ledger(tmp_path / "new"):
        assert (tmp_path / "new").stat().st_mode & 0o077 == 0
        assert (tmp_path / "new" / "ledger.db").stat().st_mode & 0o077 == 0


def code_of(directory, opening=ledgers.open_ledger):
    with pytest.raises(EnvironmentFailed) as caught, opening(directory):
        pass
    return caught.value.code


def test_a_second_batch_is_told_that_there_is_a_first(ledger, tmp_path):
    assert code_of(tmp_path) == "batch-locked"
    with ledgers.read_ledger(tmp_path) as other:  # looking is allowed
        assert other.counts()[State.DONE] == 0


def test_a_newer_version_is_left_alone(tmp_path):
    with ledgers.open_ledger(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute(f"PRAGMA user_version = {ledger_file.VERSION + 1}")
    connection.close()

    assert code_of(tmp_path) == "ledger-version"
    assert code_of(tmp_path, ledgers.read_ledger) == "ledger-version"


def test_what_is_no_ledger_is_left_alone(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"my diary, not yours" * 1000)

    assert code_of(tmp_path) == "ledger-damaged"
    assert (tmp_path / "ledger.db").read_bytes().startswith(b"my diary")


def test_there_is_nothing_to_look_at_where_no_batch_was(tmp_path):
    assert code_of(tmp_path, ledgers.read_ledger) == "ledger-missing"


def test_a_directory_that_may_not_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()

    assert code_of(tmp_path / "file" / "batch") == "ledger-unwritable"


FILL = """
import sys
from pathlib import Path
from tests.batch.test_ledger import task
from pipeline.batch import ledger as ledgers
from pipeline.errors import EnvironmentFailed
try:
    with ledgers.open_ledger(Path(sys.argv[1])) as ledger:
        ledger.adopt([task("first")])
        for part in range(1000):
            ledger.adopt([task(f"{part}-{n}") for n in range(1000)])
except EnvironmentFailed as error:
    assert error.code == "ledger-unwritable", error.code
Path(sys.argv[1], "filler").unlink(missing_ok=True)
with ledgers.read_ledger(Path(sys.argv[1])) as ledger:
    print("told", sum(ledger.counts().values()) > 0)
"""


@pytest.mark.needs("bwrap")
def test_a_full_disk_is_told_and_what_was_written_is_still_there(tmp_path):
    argv = [
        "bwrap",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--size",
        str(4 << 20),
        "--tmpfs",
        "/mnt",
    ]
    done = subprocess.run(
        [*argv, sys.executable, "-c", FILL, "/mnt"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.stdout == "told True\n", done.stderr
    assert shutil.which("bwrap")
