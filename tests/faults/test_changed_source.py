"""A source that changes while it is sent is never an object."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from commands import Command, assert_says
from patterns import Pattern

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]


def change_while(command: Command, *rules: dict) -> SimpleNamespace:
    command.proxy.set(*rules)
    arguments = ("upload", command.file, command.place.url, "--connections", 1)
    with command.imgprep.start(*arguments, **command.env) as process:
        command.proxy.wait_fired()
        with command.file.open("r+b") as file:
            file.write(Pattern(4096, "changed").all())
        command.proxy.release()
        output, errors = process.communicate(timeout=60)
    return SimpleNamespace(code=process.returncode, stdout=output, stderr=errors)


def test_before_the_commit(command: Command):
    ended = change_while(command, command.sending(4, do="hold"))
    assert_says(ended, 3, "changed")
    assert command.place.everything() == {}


def test_during_the_commit(command: Command):
    ended = change_while(command, command.committing(do="hold"))
    assert_says(ended, 3, "changed", "taken back")
    assert command.place.everything() == {}


def test_an_object_that_cannot_be_taken_back_is_named(command: Command):
    refusing = {"method": "DELETE", "path": "disk.img$", "do": "status", "status": 403}
    ended = change_while(command, command.committing(do="hold"), refusing | {"times": None})
    assert_says(ended, 3, "could not be taken back")
