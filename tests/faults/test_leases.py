"""A running upload is left alone by whoever tidies; a dead one's leftovers go."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from commands import Command, assert_says
from notebooks import MemoryNotebook
from patterns import MIB, Pattern
from uploads import NAME, PATIENT, QUICK, Background, Site

from pipeline.stage import Cancellation
from pipeline.stores import open_store, parse
from pipeline.transfer import lease, retrying
from pipeline.transfer import request as request_of
from pipeline.transfer import upload as transfer
from pipeline.transfer.protocol import upload_id

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]


def test_a_running_upload_of_another_job_directory_is_left_alone(command: Command, tmp_path: Path):
    command.proxy.set(command.sending(4, do="hold"))
    arguments = ("upload", command.file, command.place.url, "--connections", 1)
    with command.imgprep.start(*arguments, **command.env) as process:
        command.proxy.wait_fired()
        held = command.held()

        shown = command.cleanup("--job-dir", tmp_path / "another")
        assert_says(shown, 0)
        assert "left alone" in shown.stdout
        assert "--force" in shown.stdout
        assert command.held() == held

        command.proxy.release()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    command.assert_stored()


def test_force_removes_it_and_it_is_sent_again(command: Command, tmp_path: Path):
    command.proxy.set(command.sending(4, do="hold"))
    arguments = ("upload", command.file, command.place.url, "--connections", 1)
    with command.imgprep.start(*arguments, **command.env) as process:
        command.proxy.wait_fired()
        assert command.cleanup("--force", "--job-dir", tmp_path / "another").code == 0
        assert command.held() == set()
        command.proxy.release()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    command.assert_stored()


def test_the_leftovers_of_a_killed_process_of_this_machine_go_at_once(command: Command):
    command.stop_at(command.sending(3, do="hold"), signal.SIGKILL)
    assert any(name.endswith(".lease") for name in command.place.everything())
    assert command.cleanup().code == 0
    assert command.place.everything() == {}


def test_a_lease_is_renewed(site: Site):
    site.policy = PATIENT
    upload = begin(site)
    store = retrying.Retrying(site.open(), site.policy, Cancellation())
    before = len(site.requests("PUT", "lease|imgprep-segments"))
    with lease.kept(store, upload, renew_s=0.05):
        import servers

        servers.wait_until(
            lambda: len(site.requests("PUT", "lease|imgprep-segments")) > before + 3, "renewals"
        )
    store.discard(upload)
    store.close()
    assert site.place.everything() == {}


def begin(site: Site):
    store = site.open()
    store.prepare()
    upload = store.begin(NAME, upload_id("job", "x"), 10 * MIB, site.segment, "")
    store.close()
    return upload


def test_an_old_lease_of_another_machine_holds_nobody_up(site: Site):
    left = type("Left", (), {"owner": '{"host": "elsewhere"}', "lease_age_s": 0.0})
    assert lease.holds(left)
    left.lease_age_s = lease.LIFE_S + 1
    assert not lease.holds(left)


# --- a directory


class Slow(Pattern):
    """Waits in its middle until it may go on."""

    def __init__(self, size: int, seed: str, gate: object) -> None:
        super().__init__(size, seed, holes=False)
        self.gate = gate

    def read(self, offset: int, length: int) -> bytes:
        if offset >= 4 * MIB:
            self.gate.wait(30)
        return super().read(offset, length)


def store_in(directory: Path, pattern: Pattern):
    request = request_of.UploadRequest(
        "d.vhd", upload_id("job", pattern.seed), segment_size=MIB, connections=2
    )
    handles = request_of.Handles(MemoryNotebook(), Cancellation(), QUICK)
    store = open_store(parse(str(directory)))
    try:
        return transfer.upload(store, pattern, request, handles)
    finally:
        store.close()


def test_two_uploaders_into_one_directory(tmp_path: Path):
    import threading

    gate = threading.Event()
    first = Background(lambda: store_in(tmp_path, Slow(8 * MIB, "same", gate)))
    import servers

    servers.wait_until(lambda: bool(list(tmp_path.glob(".imgprep-*/log"))), "it has begun")
    second = Background(lambda: store_in(tmp_path, Pattern(8 * MIB, "same", holes=False)))
    gate.set()
    assert first.join().size == second.join().size == 8 * MIB
    assert (tmp_path / "d.vhd").read_bytes() == Pattern(8 * MIB, "same", holes=False).all()
    assert [path.name for path in tmp_path.iterdir()] == ["d.vhd"]


def test_two_commands_into_one_directory(imgprep, tmp_path: Path):
    file, out = tmp_path / NAME, tmp_path / "out"
    file.write_bytes(Pattern(64 * MIB, "same", holes=False).all())
    started = [
        imgprep.start("upload", file, out, "--job-dir", tmp_path / f"jobs{number}")
        for number in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert subprocess.run(["cmp", file, out / NAME]).returncode == 0
    assert [path.name for path in out.iterdir()] == [NAME]
