"""Answers of 200 that make no sense: the store's failure, tried again, and said in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import Command, assert_says
from notebooks import MemoryNotebook
from uploads import COUNT, NAME, Site

from pipeline.errors import StoreError
from pipeline.transfer.retry import RetryPolicy

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]

IMPATIENT = RetryPolicy(deadline_s=0.5, least_attempts=2, first_s=0.02, cap_s=0.1, stall_s=30.0)
INFO = {"method": "GET", "path": "/info$"}
LISTING = {"method": "GET", "path": "_segments$"}
OBJECT = {"method": "HEAD", "path": f"/{NAME}$"}
HTML = "<html><body>Please log in</body></html>"


def answering(which: dict[str, Any], body: str, **more: Any) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} | more.pop("headers", {})
    return {**which, "do": "status", "status": 200, "body": body, "headers": headers, **more}


@pytest.mark.parametrize(
    ("which", "body"),
    [
        (INFO, HTML),
        (INFO, '{"swift": null}'),
        (INFO, "[]x"),
        (INFO, '{"swift": {"max_file_size": 0}, "slo": {"max_manifest_segments": 0}}'),
        (LISTING, HTML),
        (LISTING, '[{"name": 1}]'),
        (LISTING, '{"name": "x"}'),
    ],
)
def test_always(command: Command, which: dict[str, Any], body: str):
    command.proxy.set(answering(which, body, times=None))

    ended = command.run(IMGPREP_STORE_DEADLINE="1")

    assert_says(ended, 5, "makes no sense", "given up after")
    assert command.proxy.fired()[0] > 1


@pytest.mark.parametrize("which", [INFO, LISTING])
def test_for_a_moment(command: Command, which: dict[str, Any]):
    command.proxy.set(answering(which, HTML, times=2))
    ended = command.run()
    assert ended.code == 0, ended.stderr
    command.assert_stored()


def test_a_length_that_is_no_number(swift: Site):
    swift.upload(swift.pattern())
    swift.proxy.set({**OBJECT, "do": "rewrite", "headers": {"Content-Length": "abc"}, "times": 2})
    receipt = swift.upload(swift.pattern(), notebook=MemoryNotebook())
    assert receipt.sent_bytes == 0
    swift.proxy.set(
        {**OBJECT, "do": "rewrite", "headers": {"Content-Length": "abc"}, "times": None}
    )
    with pytest.raises(StoreError) as caught:
        swift.upload(swift.pattern(), notebook=MemoryNotebook(), policy=IMPATIENT)
    assert caught.value.code == "store-misunderstood"
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("query", ["list-type=2", "uploadId=.*max-parts|max-parts.*uploadId"])
def test_s3_answers_with_a_page_of_text(s3: Site, query: str):
    rule = {"method": "GET", "query": query, "do": "status", "status": 200, "body": HTML}
    s3.proxy.set(s3.sending(4, do="status", status=403, times=None))
    with pytest.raises(StoreError):
        s3.upload(s3.pattern(), connections=1)
    s3.proxy.set({**rule, "times": 1})
    s3.upload(s3.pattern())
    s3.assert_stored(s3.pattern())


def test_an_interim_answer_is_not_the_answer(site: Site):
    site.proxy.set(
        site.committing(do="interim", status=102), site.sending(2, do="interim", status=102)
    )
    site.upload(site.pattern())
    assert site.proxy.fired() == [1, 1]
    site.assert_sent_once_but()
    site.assert_stored(site.pattern())
    assert COUNT > 2


def test_requests_are_shown_and_secrets_are_not(command: Command):
    ended = command.run("--verbose", "--quiet")
    assert ended.code == 0, ended.stderr
    assert f"PUT /v1/AUTH_test/{command.place.container}/images/{NAME}" in ended.stderr
    assert ": 201, " in ended.stderr
    assert "Token" not in ended.stderr
    assert "AUTH_tk" not in ended.stderr


def test_a_wrong_s3_key_says_what_to_check(s3: Site, imgprep, tmp_path: Path):
    (tmp_path / "x").write_bytes(b"x")
    env = s3.place.env | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    ended = imgprep("upload", tmp_path / "x", s3.place.url, "--quiet", **env)
    assert_says(ended, 5, "SignatureDoesNotMatch", "check user and key")


def test_quiet_is_quiet(command: Command):
    """No library says anything either, while connections break."""
    command.proxy.set(command.sending(do="reset", after=1000, times=2))
    ended = command.run("--quiet")
    assert (ended.code, ended.stderr) == (0, "")
