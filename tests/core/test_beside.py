"""A private directory beside an output: locked while it is used, swept when its process is gone."""

import multiprocessing
import os
import signal

import pytest

from pipeline.beside import Beside, abandoned, sweep


def hidden(directory):
    return sorted(path.name for path in directory.iterdir() if path.name[0] == ".")


def test_it_is_made_when_it_is_asked_for_and_removed_at_the_end(tmp_path):
    with Beside(tmp_path, "job") as beside:
        assert hidden(tmp_path) == []
        (beside.directory() / "half").write_bytes(b"x")
        assert beside.directory().stat().st_mode & 0o777 == 0o700

    assert hidden(tmp_path) == []


def work(parent, ready):
    (Beside(parent, "job").directory() / "half").write_bytes(b"x")
    ready.set()
    signal.pause()


@pytest.fixture
def process(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    started = context.Process(target=work, args=(tmp_path, ready))
    started.start()
    assert ready.wait(30)
    yield started
    started.kill()
    started.join()


def test_what_a_living_process_works_in_is_left_alone(tmp_path, process):
    sweep(tmp_path)

    assert list(abandoned(tmp_path)) == []
    assert (tmp_path / ".imgprep-job" / "half").exists()


def test_the_same_job_in_a_second_process_gets_a_place_of_its_own(tmp_path, process):
    with Beside(tmp_path, "job") as beside:
        assert beside.directory().name == f".imgprep-job-{os.getpid()}"

    assert hidden(tmp_path) == [".imgprep-job"]


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path, process):
    process.kill()
    process.join()

    with Beside(tmp_path, "another") as beside:
        beside.directory()
        assert hidden(tmp_path) == [".imgprep-another"]


def test_the_same_job_finds_what_it_had_finished(tmp_path, process):
    process.kill()
    process.join()

    with Beside(tmp_path, "job", keep=True) as beside:
        assert (beside.directory() / "half").read_bytes() == b"x"
        beside.finish()

    assert hidden(tmp_path) == []


def test_other_files_and_links_are_never_touched(tmp_path):
    (tmp_path / ".imgprep-file").write_bytes(b"mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".imgprep-link").symlink_to(tmp_path / "elsewhere")

    sweep(tmp_path)

    assert hidden(tmp_path) == [".imgprep-file", ".imgprep-link"]
    assert (tmp_path / "elsewhere").is_dir()
