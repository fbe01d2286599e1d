"""What jobs share: real processes that wait for one another, and that die."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from pipeline.batch.budget import Budget, Capacity, Line
from pipeline.batch.cache import KNOWN, FactsCache, Remembering
from pipeline.batch.sharing import shared
from pipeline.errors import Interrupted
from pipeline.model import Job, Options, Outcome, StageStatus
from pipeline.stage import Cancellation

SPAWN = multiprocessing.get_context("spawn")


def capacity(**changes):
    return Capacity(**{"appliances": 1, "scratch": 1000, "connections": 2, "rate": None} | changes)


def hold(directory, kind, ready):
    """In a process of its own: hold an appliance, or 800 of 1000 bytes, until killed."""
    budget = Budget(directory, capacity())
    held = budget.appliance if kind == "appliance" else lambda stop: budget.scratch(800, stop)
    with held(Cancellation()):
        ready.set()
        time.sleep(600)


@pytest.mark.parametrize("kind", ["appliance", "scratch"])
def test_who_dies_gives_back_what_he_held(tmp_path, kind):
    ready = SPAWN.Event()
    other = SPAWN.Process(target=hold, args=(tmp_path, kind, ready))
    other.start()
    assert ready.wait(60)
    budget = Budget(tmp_path, capacity())
    stop = Cancellation()
    wanted = budget.appliance if kind == "appliance" else lambda stop: budget.scratch(300, stop)

    stop.set(signal.SIGINT)
    with pytest.raises(Interrupted), wanted(stop):
        pass
    other.kill()
    other.join()

    with wanted(Cancellation()):
        pass


def test_small_ones_go_together_and_a_large_one_goes_alone(tmp_path):
    budget, stop = Budget(tmp_path, capacity()), Cancellation()
    with budget.scratch(400, stop), budget.scratch(600, stop):
        assert len(list((tmp_path / "scratch").iterdir())) == 2
    with budget.scratch(5000, stop):
        pass
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(("on_server", "reserved"), [(True, ["700"]), (False, [])])
def test_who_may_copy_an_image_from_a_server_waits_for_room(tmp_path, on_server, reserved):
    """Whether it will be copied is known only when it was looked at."""

    class Identifying(Counting):
        name = "identify"

    asking = Asking("stat:a")
    asking.size, asking.is_file = 700, not on_server
    with ExitStack() as held:
        (stage,) = shared([Identifying()], Budget(tmp_path, capacity()), None, held)
        stage.run(asking)
        found = [path.read_text() for path in (tmp_path / "scratch").iterdir()]

    assert found == reserved
    assert list((tmp_path / "scratch").iterdir()) == []


def send(directory, count):
    budget, stop = Budget(directory, capacity(rate=1 << 20)), Cancellation()
    for _ in range(count):
        budget.pace(Line.OUT, 64 << 10, stop)


def test_all_processes_together_keep_the_rate(tmp_path):
    began = time.monotonic()
    others = [SPAWN.Process(target=send, args=(tmp_path, 16)) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
        assert other.exitcode == 0

    # 2 MiB at 1 MiB a second, of which a burst of a quarter of a second is free
    assert time.monotonic() - began > 1.7


def test_what_is_read_does_not_wait_for_what_is_sent(tmp_path):
    budget, stop = Budget(tmp_path, capacity(rate=1 << 20)), Cancellation()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(budget.pace, Line.OUT, 3600 << 20, stop)
        while not list(tmp_path.glob("out-*")):
            time.sleep(0.01)

        budget.pace(Line.IN, 1, stop)

        assert not sending.done()
        stop.set(15)
        with pytest.raises(Interrupted):
            sending.result(60)


class Counting:
    """A stage that says how often it was asked."""

    name, version, reusable = "inspect_disk", 1, True

    def __init__(self, status=StageStatus.DONE):
        self.asked = 0
        self.status = status

    def options(self, job):
        return {"guest": job.options.guest}

    def run(self, context):
        self.asked += 1
        return Outcome(self.status, facts={"disk": {"partition_table": "gpt", "asked": self.asked}})


class Asking:
    """As much of a context as the cache looks at."""

    def __init__(self, content_id, guest="off"):
        self.disk = self.source = self
        self.content_id = content_id
        self.job = Job("x", "rackspace", options=Options(guest=guest))
        self.cancellation = Cancellation()

    def require_unchanged(self):
        pass


def test_equal_content_is_looked_at_once_and_anything_else_anew(tmp_path):
    stage = Counting()
    known = Remembering(stage, FactsCache(tmp_path / "c"))

    first, second = known.run(Asking("stat:a")), known.run(Asking("stat:a"))

    assert (first.facts, stage.asked) == (second.facts, 1)
    assert second.reason == KNOWN
    known.run(Asking("stat:b"))
    known.run(Asking("stat:a", guest="auto"))
    assert stage.asked == 3
    stage.version = 2
    Remembering(stage, FactsCache(tmp_path / "c")).run(Asking("stat:a"))
    assert stage.asked == 4
    assert (tmp_path / "c").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "c").iterdir())


def test_what_could_not_be_read_is_asked_again(tmp_path):
    stage = Counting(StageStatus.FAILED)
    known = Remembering(stage, FactsCache(tmp_path))
    known.run(Asking("stat:a"))
    known.run(Asking("stat:a"))

    assert stage.asked == 2


def test_an_entry_that_was_cut_short_is_as_good_as_none(tmp_path):
    stage = Counting()
    known = Remembering(stage, FactsCache(tmp_path))
    known.run(Asking("stat:a"))
    (entry,) = tmp_path.iterdir()
    os.truncate(entry, 20)
    known.run(Asking("stat:a"))
    known.run(Asking("stat:a"))

    assert stage.asked == 2


def test_the_oldest_entries_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.batch.cache.MOST_BYTES", 200)
    cache = FactsCache(tmp_path)
    for number in range(4):
        path = tmp_path / f"{number}.json"
        path.write_bytes(b"x" * 90)
        os.utime(path, (number, number))

    cache.trim()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.json", "3.json"]


def look(directory, ready):
    """In a process of its own: find the entry empty, say so, and take long."""

    class Slow(Counting):
        def run(self, context):
            ready.set()
            time.sleep(0.5)
            return super().run(context)

    Remembering(Slow(), FactsCache(directory)).run(Asking("stat:a"))


def test_who_asks_meanwhile_waits_for_the_first(tmp_path):
    ready = SPAWN.Event()
    other = SPAWN.Process(target=look, args=(tmp_path, ready))
    other.start()
    assert ready.wait(60)
    stage = Counting()

    found = Remembering(stage, FactsCache(tmp_path)).run(Asking("stat:a"))
    other.join(60)

    assert stage.asked == 0
    assert found.reason == KNOWN
