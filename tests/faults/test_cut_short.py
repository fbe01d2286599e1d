"""The real command before real faults: killed at every point, interrupted, misconfigured.

The Swift behind it takes objects of 4 MiB, so that a small file has many segments, and its tokens
live three seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import servers
from commands import Command, assert_says
from uploads import COUNT, NAME

from pipeline.text import size

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]

SEGMENT = servers.SMALL_OBJECT
TOKEN = re.compile(r"AUTH_f?tk|gAAAA")


def test_an_upload(command: Command):
    ended = command.run()
    assert ended.code == 0, ended.stderr
    command.assert_sent_once_but()
    command.assert_stored()


def test_another_program_reads_it(command: Command, tmp_path: Path):
    assert command.run().code == 0
    swift = Path(sys.executable).with_name("swift")
    copy = tmp_path / "copy"
    subprocess.run(
        [swift, "download", command.place.container, f"images/{NAME}", "--output", copy],
        env={**os.environ, **command.env},
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert copy.read_bytes() == command.content.all()


def test_unicode_and_odd_names(command: Command):
    ended = command.run("--name", "ünï çødé/磁盘 1%.vhd")
    assert ended.code == 0, ended.stderr
    assert command.place.objects() == {"images/ünï çødé/磁盘 1%.vhd"}
    assert command.place.read("ünï çødé/磁盘 1%.vhd") == command.content.all()


# --- killed


@pytest.mark.parametrize("number", [*range(COUNT), "inside", "commit"])
def test_killed_and_started_again(command: Command, number: int | str):
    rules = {
        "inside": command.sending(2, do="hold", after=1_500_000),
        "commit": command.committing(do="hold"),
    }
    rule = rules.get(str(number)) or command.sending(number, do="hold")
    code, _ = command.stop_at(rule, signal.SIGKILL)
    assert code == -signal.SIGKILL
    # A commit that was under way may still arrive after the death of its sender.
    assert command.place.objects() == set() or number == "commit"
    held = command.held()
    expected = {"inside": 2, "commit": COUNT}.get(str(number), number)
    assert set(range(int(expected))) <= held

    ended = command.run()

    assert ended.code == 0, ended.stderr
    assert dict(command.sent()) == dict.fromkeys(set(range(COUNT)) - held, 1)
    command.assert_stored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_and_started_again(command: Command, number: signal.Signals):
    code, errors = command.stop_at(command.sending(3, do="hold", after=100_000), number)
    assert code == 128 + number
    assert "Traceback" not in errors
    assert "same command" in errors
    held = command.held()
    assert {0, 1, 2} <= held
    (told,) = json.loads(command.cleanup("--dry-run", "--json").stdout)
    assert (told["segments"], told["size"]) == (len(held), len(held) * SEGMENT)

    ended = command.run("--json")

    assert ended.code == 0
    assert json.loads(ended.stdout)["receipt"]["reused_bytes"] == told["size"]
    assert dict(command.sent()) == dict.fromkeys(set(range(COUNT)) - held, 1)
    command.assert_stored()


def test_interrupted_while_the_store_says_nothing(command: Command):
    # given a store that would take minutes to answer
    # when Ctrl-C is pressed once
    code, errors = command.stop_at(command.committing(do="hold"), signal.SIGINT)
    # then nobody waits for that
    assert code == 130
    assert "same command" in errors
    assert command.run().code == 0
    command.assert_stored()


def test_killed_and_the_journal_is_gone(command: Command, tmp_path: Path):
    command.stop_at(command.sending(3, do="hold"), signal.SIGKILL)
    held = command.held()
    ended = command.run("--job-dir", tmp_path / "another")
    assert ended.code == 0, ended.stderr
    assert not set(command.sent()) & held
    command.assert_stored()


def test_killed_and_the_source_changed(command: Command):
    command.stop_at(command.sending(3, do="hold"), signal.SIGKILL)
    assert command.held() >= {0, 1, 2}
    command.write("changed")

    ended = command.run()

    assert ended.code == 0, ended.stderr
    command.assert_sent_once_but()
    assert command.place.read(NAME) == command.content.all()
    assert command.cleanup().code == 0
    command.assert_stored()


def test_clean_up_removes_what_was_left_and_only_that(command: Command):
    command.place.put("other", b"data")
    assert command.run("--name", "kept.vhd").code == 0
    before = command.place.everything()
    command.stop_at(command.sending(3, do="hold"), signal.SIGKILL)
    left = command.place.everything()
    held = len(set(left) - set(before) - {name for name in left if "lease" in name})
    assert held >= 3

    shown = command.cleanup("--dry-run")
    assert shown.code == 0, shown.stderr
    assert f"would remove: {NAME}: {held} segments of {size(held * SEGMENT)} (job " in shown.stdout
    assert command.place.everything() == left

    ended = command.cleanup()
    assert ended.code == 0, ended.stderr
    assert ended.stdout == shown.stdout.replace("would remove", "removed")
    assert command.place.everything() == before


# --- a long upload, a secret that stays one


def test_the_token_expires_again_and_again(command: Command):
    command.proxy.set(command.sending(do="throttle", rate=SEGMENT, times=None))
    ended = command.run()
    assert ended.code == 0, ended.stderr
    logins = len(command.requests("GET", "/auth/v1.0"))
    assert logins >= 2
    refused = [entry for entry in command.proxy.log() if entry["status"] == 401]
    stages = 3  # prepare, upload and verify log in
    assert len(refused) == logins - stages, "each refusal was followed by one new token"
    command.assert_stored()


def test_credentials_are_never_shown(command: Command, tmp_path: Path):
    seen = []
    events = tmp_path / "events.jsonl"
    command.proxy.set(command.sending(3, do="hold"))
    options = ("--connections", 1, "--json", "--events", events)
    with command.imgprep.start(
        "upload", command.file, command.place.url, *options, **command.env
    ) as process:
        command.proxy.wait_fired()
        pid = str(process.pid)
        shown = ["ps", "ww", "-o", "args=", "-p", pid, "--ppid", pid]
        seen.append(subprocess.run(shown, capture_output=True, text=True, check=True).stdout)
        assert "pipeline.cli" in seen[0]
        process.kill()
        seen += process.communicate(timeout=20)
    command.proxy.set()
    command.proxy.wait_idle()
    good = command.run("--json", "--events", events)
    wrong = command.run("--name", "x", ST_KEY="wr0ng-and-secret")
    command.proxy.set(command.sending(do="status", status=403, times=None))
    refused = command.run("--name", "y", "--json")
    command.proxy.set(command.sending(do="reset", times=None))
    broken = command.run("--name", "z", IMGPREP_STORE_DEADLINE="1")
    assert [ended.code for ended in (good, wrong, refused, broken)] == [0, 5, 5, 5]
    for ended in (good, wrong, refused, broken):
        seen += [ended.stdout, ended.stderr]
    files = [*Path(command.imgprep.env["HOME"]).rglob("*"), events]
    seen += [path.read_bytes().decode(errors="replace") for path in files if path.is_file()]
    assert len(seen) > 10
    for text in seen:
        assert servers.SECRET not in text
        assert "wr0ng-and-secret" not in text
        assert not TOKEN.search(text)


# --- refusals: exit 5 (or 2 for a wrong command line), one message, nothing left behind


def test_a_wrong_key(command: Command):
    assert_says(command.run(ST_KEY="wrong"), 5, "ST_")
    assert command.place.everything() == {}


def test_an_unknown_container(command: Command):
    url = f"swift://{command.place.container}x/"
    ended = command.imgprep("upload", command.file, url, **command.env)
    assert_says(ended, 5, f"{command.place.container}x", "--create")
    created = command.imgprep("upload", command.file, url, "--create", **command.env)
    assert created.code == 0, created.stderr


def test_nobody_is_there(command: Command):
    address = f"127.0.0.1:{servers.free_port()}"
    quickly = {"IMGPREP_STORE_DEADLINE": "1"}
    assert_says(command.run(ST_AUTH=f"http://{address}/auth/v1.0", **quickly), 5, address)


def test_a_host_that_cannot_prove_who_it_is(command: Command, tmp_path: Path):
    pem = servers.self_signed(tmp_path)
    proxy = servers.Faults(command.proxy.upstream, pem)
    try:
        ended = command.run(ST_AUTH=f"{proxy.url}/auth/v1.0")
    finally:
        proxy.stop()
    assert_says(ended, 5, "cannot prove who it is")
    assert command.place.everything() == {}


def test_an_account_that_may_only_read(command: Command):
    with contextlib.closing(command.place.client()) as client:
        client.post_container(command.place.container, {"X-Container-Read": "test:reader"})
    assert_says(command.run(ST_USER="test:reader", ST_KEY="reading"), 5, "rights")
    assert command.place.everything() == {}


def test_a_quota(command: Command):
    quota = {"X-Container-Meta-Quota-Bytes": str(SEGMENT)}
    with contextlib.closing(command.place.client()) as client:
        client.post_container(command.place.container, quota)
    assert_says(command.run(), 5, "quota")
    assert command.sent() == {}, "the store told its quota: nothing need be sent"
    assert command.place.everything() == {}


def test_a_full_place_is_no_obstacle_where_nothing_has_to_be_sent(command: Command):
    assert command.run().code == 0
    with contextlib.closing(command.place.client()) as client:
        client.post_container(command.place.container, {"X-Container-Meta-Quota-Bytes": "1"})
    assert_says(command.run("--if-exists", "replace"), 5, "quota")
    assert command.run("--if-exists", "skip").code == 0
    command.assert_stored()


def test_too_large_for_the_store(command: Command):
    with command.file.open("r+b") as file:
        file.truncate(SEGMENT * servers.SMALL_COUNT + 1)
    assert_says(command.run(), 2, str(servers.SMALL_COUNT))
    assert command.place.everything() == {}


@pytest.mark.parametrize("name", ["../up.vhd", "x" * 2000])
def test_names_that_cannot_be(command: Command, name: str):
    assert_says(command.run("--name", name), 2, "name")
    assert command.place.everything() == {}


@pytest.mark.parametrize("url", ["swift://", "s3://user:pw@bucket/"])
def test_destinations_that_cannot_be(imgprep, tmp_path: Path, url: str):
    (tmp_path / NAME).write_bytes(b"data")
    ended = imgprep("upload", tmp_path / NAME, url)
    assert_says(ended, 2)
    assert "pw" not in ended.stderr


def test_no_credentials(command: Command):
    ended = command.imgprep("upload", command.file, command.place.url)
    assert_says(ended, 5, "ST_AUTH")


def test_an_object_that_exists(command: Command):
    assert command.run().code == 0
    command.proxy.set()
    assert command.run("--if-exists", "skip").code == 0
    assert command.sent() == {}
    command.write("other")
    assert_says(command.run(), 5, "exists", "--if-exists")
    assert_says(command.run("--if-exists", "skip"), 5, "--if-exists replace")
    assert command.run("--if-exists", "replace").code == 0
    command.assert_stored()


def test_a_dry_run_stores_nothing(command: Command):
    ended = command.run("--dry-run")
    assert ended.code == 0, ended.stderr
    assert f"{COUNT} segments" in ended.stdout + ended.stderr
    assert command.place.everything() == {}
    assert {entry["method"] for entry in command.proxy.log()} <= {"GET", "HEAD"}


def test_a_segment_is_deleted_after_the_commit(command: Command):
    """Somebody tidies between the commit and the verification: it must not say that all is well."""
    looking = {"method": "GET", "path": rf"/{NAME}$", "query": "multipart-manifest=get"}
    command.proxy.set(looking | {"do": "hold"})
    arguments = ("upload", command.file, command.place.url, "--connections", 1)
    with command.imgprep.start(*arguments, **command.env) as process:
        command.proxy.wait_fired()
        (name,) = (name for name in command.place.everything() if name.endswith("00002"))
        command.place.remove(name)
        command.proxy.release()
        _, errors = process.communicate(timeout=60)
    assert process.returncode in (4, 5), errors
    assert "Traceback" not in errors
    assert "2" in errors


def test_a_read_back_that_is_cut_is_read_again(command: Command):
    command.proxy.set({"method": "GET", "path": f"/{NAME}$", "do": "truncate", "after": 1000})
    ended = command.run("--verify", "readback")
    assert ended.code == 0, ended.stderr
    assert command.proxy.fired() == [1]
    command.assert_stored()


def test_a_read_back_that_is_always_changed(command: Command):
    every = {"method": "GET", "path": f"/{NAME}$", "query": "^$", "times": None}
    command.proxy.set(every | {"do": "corrupt-response", "after": 1000})
    ended = command.run("--verify", "readback")
    assert command.proxy.fired()[0] >= 1
    assert ended.code in (4, 5), ended.stderr
    assert "Traceback" not in ended.stderr
    command.assert_stored()
