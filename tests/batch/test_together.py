"""How many jobs travel to a cluster together; the scheduler is played, so that every step is seen."""

import pickle
from types import SimpleNamespace

import pytest

from pipeline.batch.cluster import Cluster
from pipeline.batch.messages import Finished, Lost, Returned, Work
from pipeline.model import Job

MIB = 1 << 20


class Future:
    def __init__(self, key, works):
        self.key, self.works, self.status = key, works, "pending"

    def add_done_callback(self, call):
        self.tell = call

    def done(self):
        return self.status != "pending"

    def cancelled(self):
        return False

    def cancel(self):
        self.status = "cancelled"

    def release(self):
        pass

    def result(self, timeout):
        raise ValueError("the worker is gone")


class Scheduler:
    """As much of ``distributed.Client`` as is asked for, with two places."""

    status = "running"

    def __init__(self):
        self.sent = []
        self.reports = {}

    def scheduler_info(self, n_workers):
        return {"workers": {"one": {"host": "h", "resources": {"imgprep": 2}}}}

    def subscribe_topic(self, topic, handler):
        pass

    def submit(self, function, data, *, key, **how):
        works, _ = pickle.loads(data)
        self.sent.append(Future(key, works))
        return self.sent[-1]

    def gather(self, futures):
        return {key: self.reports[key] for key in futures}

    def run(self, *_, **__):
        pass

    def processing(self):
        return {}

    def close(self, timeout):
        pass

    def cancel(self, futures, force):
        pass

    def end(self, future, seconds):
        future.status = "finished"
        stages = {"stages": [{"name": "check", "seconds": seconds}]}
        self.reports[future.key] = [stages] * len(future.works)
        future.tell(future)


@pytest.fixture
def played():
    scheduler = Scheduler()
    cluster = Cluster(scheduler, "tcp://h:1", rate=None, remember=False, eager=False)
    yield SimpleNamespace(scheduler=scheduler, cluster=cluster)
    cluster.close()


def submit(cluster, *tasks, size=MIB):
    for task in tasks:
        cluster.submit(Work(task, Job(f"/{task}", "generic"), list, size))


def sent(scheduler):
    return [[work.task for work in future.works] for future in scheduler.sent]


def after(played, seconds, size=MIB):
    """Two jobs have ended."""
    submit(played.cluster, 1, 2, size=size)
    _turn(played.cluster)
    for future in list(played.scheduler.sent):
        played.scheduler.end(future, seconds)
    told = _turn(played.cluster)
    assert [type(each) for each in told] == [Finished, Finished]
    played.scheduler.sent.clear()


def _turn(cluster):
    return cluster.wait(0, cluster._reader)


def test_before_anything_is_known_each_travels_alone(played):
    assert played.cluster.room() == 2
    submit(played.cluster, 1, 2)
    assert played.cluster.room() == 0
    _turn(played.cluster)

    assert sent(played.scheduler) == [[1], [2]]


def test_jobs_of_a_minute_travel_alone(played):
    after(played, 60.0)

    assert played.cluster.room() == 2


def test_short_jobs_share_the_free_places_evenly(played):
    after(played, 0.125)

    assert played.cluster.room() == 16
    submit(played.cluster, *range(10, 18))
    assert played.cluster.room() == 8
    _turn(played.cluster)

    assert sent(played.scheduler) == [[10, 11, 12, 13], [14, 15, 16, 17]]


def test_what_does_not_fit_waits_for_a_place(played):
    after(played, 0.25)  # four a second
    submit(played.cluster, *range(10, 20))
    _turn(played.cluster)
    assert sent(played.scheduler) == [[10, 11, 12, 13], [14, 15, 16, 17]]

    played.scheduler.end(played.scheduler.sent[0], 0.25)
    _turn(played.cluster)
    _turn(played.cluster)

    assert sent(played.scheduler)[2:] == [[18, 19]]


def test_nobody_waits_behind_an_image_larger_than_those_that_were_short(played):
    after(played, 0.1)
    submit(played.cluster, 10, 11)
    submit(played.cluster, 12, size=1000 * MIB)
    submit(played.cluster, 13, 14)
    _turn(played.cluster)
    assert sent(played.scheduler) == [[10, 11], [12]]

    played.scheduler.end(played.scheduler.sent[0], 0.1)
    _turn(played.cluster)
    _turn(played.cluster)

    assert sent(played.scheduler)[2:] == [[13, 14]]


def test_a_stop_gives_back_what_was_not_sent_and_what_no_worker_has(played):
    after(played, 0.5)
    submit(played.cluster, *range(10, 16))
    _turn(played.cluster)
    assert sent(played.scheduler) == [[10, 11], [12, 13]]

    played.cluster.interrupt(15)
    told = _turn(played.cluster)

    assert told == [Returned(task) for task in range(10, 16)]


def test_a_task_without_reports_loses_all_its_jobs(played):
    after(played, 0.5)
    submit(played.cluster, 10, 11, 12, 13)
    _turn(played.cluster)
    future = played.scheduler.sent[0]
    future.status = "error"
    future.tell(future)

    assert _turn(played.cluster) == [Lost(task, "", "the worker is gone") for task in (10, 11)]
