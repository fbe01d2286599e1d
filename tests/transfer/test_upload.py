"""The segment engine on a directory: plans, resumes, and what an existing object means."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notebooks import MemoryNotebook
from patterns import MIB, Pattern

from pipeline.errors import Interrupted, StoreError, UsageError
from pipeline.model import Receipt
from pipeline.stage import Cancellation
from pipeline.stores import open_store, parse
from pipeline.transfer import proof
from pipeline.transfer import request as request_of
from pipeline.transfer import upload as transfer
from pipeline.transfer.journal import UploadJournal
from pipeline.transfer.protocol import StoreLimits, upload_id
from pipeline.transfer.retry import RetryPolicy
from pipeline.transfer.sender import Turns

SEGMENT = 2 * MIB
SWIFT = StoreLimits(1, 5 << 30, 128 << 20, 1000, 960)
QUICK = RetryPolicy(deadline_s=1, first_s=0.01, cap_s=0.05)


class Uploader:
    """Uploads into one directory, with one notebook."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.notebook = MemoryNotebook()

    def __call__(self, pattern: Pattern, stop: Cancellation | None = None, **words) -> Receipt:
        notebook = words.pop("notebook", self.notebook)
        request = request_of.UploadRequest(
            "d.vhd",
            upload_id("job", pattern.seed),
            segment_size=SEGMENT,
            connections=words.pop("connections", 2),
            **words,
        )
        handles = request_of.Handles(notebook, stop or Cancellation(), QUICK)
        return transfer.upload(self.store(), pattern, request, handles)

    def store(self):
        return open_store(parse(str(self.directory)))

    def read(self) -> bytes:
        return (self.directory / "d.vhd").read_bytes()

    def everything(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def uploader(tmp_path: Path) -> Uploader:
    return Uploader(tmp_path)


class Stopping(Pattern):
    """Asks for a stop when so many bytes were read, as Ctrl-C does."""

    def __init__(self, size: int, seed: str, after: int, stop: Cancellation) -> None:
        super().__init__(size, seed, holes=False)
        self.after, self.stop = after, stop

    def read(self, offset: int, length: int) -> bytes:
        if self.reads >= self.after:
            self.stop.set(signal.SIGINT)
        return super().read(offset, length)


# --- plans


def test_160_gb_fit_the_default_limits():
    size = request_of.segment_size(160 * 10**9, SWIFT)
    assert size % MIB == 0
    assert 128 * MIB <= size < 256 * MIB
    assert -(-160 * 10**9 // size) <= 1000


@given(st.integers(1, 1 << 45), st.integers(1, 2000), st.integers(1, 1 << 33), st.integers(0, 40))
def test_a_plan_fits_the_limits_or_says_so(size: int, most: int, largest: int, wish: int):
    limits = StoreLimits(1, largest, 128 << 20, most, 960)
    try:
        chosen = request_of.segment_size(size, limits, wish << 20 or None)
    except UsageError:
        assert largest * most < size
        return
    assert 0 < chosen <= largest
    assert -(-size // chosen) <= most


def test_nothing_is_no_object(uploader: Uploader):
    with pytest.raises(UsageError) as caught:
        uploader(Pattern(0))
    assert caught.value.code == "upload-empty"


def test_a_dry_run_stores_nothing(uploader: Uploader):
    pattern = Pattern(5 * MIB + 1)
    request = request_of.UploadRequest("d.vhd", upload_id("job", ""), segment_size=SEGMENT)
    handles = request_of.Handles(MemoryNotebook(), Cancellation(), QUICK)

    plan = transfer.plan(uploader.store(), pattern, request, handles)

    assert (plan.segments, plan.segment_size, plan.size) == (3, SEGMENT, pattern.size)
    assert plan.zero_bytes == 2 * MIB
    assert not plan.exists
    assert uploader.everything() == []


# --- the way


def test_the_receipt_tells_every_segment(uploader: Uploader):
    pattern = Pattern(5 * MIB + 1)

    receipt = uploader(pattern)

    assert uploader.read() == pattern.all()
    assert uploader.everything() == ["d.vhd"]
    assert [s["md5"] for s in receipt.segments] == [
        pattern.md5(offset, SEGMENT) for offset in range(0, pattern.size, SEGMENT)
    ]
    assert receipt.sent_bytes == receipt.size == pattern.size
    assert receipt.sha256 is None
    assert receipt.sha256_note
    assert pattern.hole_reads == 0


def test_one_segment_tells_its_sha256(uploader: Uploader):
    import hashlib

    pattern = Pattern(SEGMENT)
    assert uploader(pattern).sha256 == hashlib.sha256(pattern.all()).hexdigest()


def test_an_interrupted_upload_goes_on_where_it_stopped(uploader: Uploader):
    stop = Cancellation()
    first = Stopping(10 * MIB, "a", 4 * MIB, stop)
    with pytest.raises(Interrupted):
        uploader(first, stop, connections=1)
    assert not (uploader.directory / "d.vhd").exists()
    again = Pattern(10 * MIB, "a", holes=False)

    receipt = uploader(again)

    assert uploader.read() == again.all()
    assert receipt.reused_bytes == 4 * MIB
    assert again.reads == receipt.sent_bytes == 6 * MIB
    assert uploader.everything() == ["d.vhd"]


def test_without_its_journal_it_hashes_but_does_not_send(uploader: Uploader):
    stop = Cancellation()
    with pytest.raises(Interrupted):
        uploader(Stopping(10 * MIB, "a", 4 * MIB, stop), stop, connections=1)
    again = Pattern(10 * MIB, "a", holes=False)

    receipt = uploader(again, notebook=MemoryNotebook())

    assert uploader.read() == again.all()
    assert receipt.sent_bytes == 6 * MIB
    assert again.reads == 10 * MIB


def test_a_changed_source_reuses_nothing(uploader: Uploader):
    stop = Cancellation()
    with pytest.raises(Interrupted):
        uploader(Stopping(10 * MIB, "a", 4 * MIB, stop), stop)
    other = Pattern(10 * MIB, "b", holes=False)

    receipt = uploader(other)

    assert uploader.read() == other.all()
    assert receipt.reused_bytes == 0
    assert len(uploader.everything()) == 2
    left = uploader.store().unfinished()
    assert [item.upload_id for item in left] == [upload_id("job", "a")]


def test_a_source_that_fails_stops_everybody(uploader: Uploader):
    class Failing(Pattern):
        def read(self, offset: int, length: int) -> bytes:
            if offset >= 4 * MIB:
                raise StoreError("source-broke", "unreadable")
            return super().read(offset, length)

    with pytest.raises(StoreError, match="unreadable"):
        uploader(Failing(40 * MIB, "x", holes=False))
    assert not (uploader.directory / "d.vhd").exists()


# --- what is there already


def test_an_object_that_exists_is_kept(uploader: Uploader):
    uploader(Pattern(MIB, "old"))
    with pytest.raises(StoreError) as caught:
        uploader(Pattern(MIB, "new"))
    assert caught.value.code == "object-exists"
    assert uploader.read() == Pattern(MIB, "old").all()
    assert uploader.everything() == ["d.vhd"]


def test_it_is_replaced_when_that_is_asked_for(uploader: Uploader):
    uploader(Pattern(MIB, "old"))
    uploader(Pattern(MIB, "new"), if_exists="replace")
    assert uploader.read() == Pattern(MIB, "new").all()


@pytest.mark.parametrize("foreign", [False, True])
def test_equal_content_is_skipped(uploader: Uploader, foreign: bool):
    pattern = Pattern(5 * MIB)
    if foreign:
        (uploader.directory / "d.vhd").write_bytes(pattern.all())
    else:
        uploader(pattern)

    receipt = uploader(pattern, if_exists="skip", notebook=MemoryNotebook())

    assert receipt.sent_bytes == 0
    assert receipt.reused_bytes == pattern.size


def test_other_content_is_not_skipped(uploader: Uploader):
    (uploader.directory / "d.vhd").write_bytes(bytes(5 * MIB))
    with pytest.raises(StoreError) as caught:
        uploader(Pattern(5 * MIB, "x"), if_exists="skip")
    assert caught.value.code == "object-differs"


# --- turns


def test_the_last_byte_of_a_segment_ends_its_turn():
    turns = Turns(1)
    assert turns.take(0, 100)
    turns.flew(0, 99)
    turns.flew(0, 1)
    assert turns.take(1, 100)
    turns.end(0)
    assert not turns.take(2, 100), "a turn is given back once"


def test_a_slow_line_gets_one_turn_more_for_whoever_waited_too_long():
    turns = Turns(1)
    assert turns.take(0, 100)
    assert not turns.take(1, 100)
    turns.end(0)
    turns.end(1)
    assert turns.take(2, 100)
    assert turns.take(3, 100)


# --- proof


def nothing() -> None:
    pass


def test_the_proof_finds_a_flipped_bit(uploader: Uploader):
    pattern = Pattern(5 * MIB)
    receipt = uploader(pattern)
    store = uploader.store()
    proof.check_manifest(store, "d.vhd", receipt, nothing)
    with (uploader.directory / "d.vhd").open("r+b") as file:
        file.seek(3 * MIB)
        file.write(bytes([file.read(1)[0] ^ 1]))

    with pytest.raises(StoreError, match="segment 1"):
        proof.check_manifest(store, "d.vhd", receipt, nothing)
    with pytest.raises(StoreError, match="segment 1"):
        proof.readback(store, "d.vhd", receipt, connections=2, watcher=lambda *_: None)


def test_the_proof_finds_an_object_that_is_gone_or_shorter(uploader: Uploader):
    receipt = uploader(Pattern(5 * MIB))
    (uploader.directory / "d.vhd").write_bytes(b"short")
    with pytest.raises(StoreError, match="it has 5 bytes"):
        proof.check_manifest(uploader.store(), "d.vhd", receipt, nothing)
    (uploader.directory / "d.vhd").unlink()
    with pytest.raises(StoreError, match="not there"):
        proof.check_manifest(uploader.store(), "d.vhd", receipt, nothing)


# --- the journal


def test_a_journal_of_another_upload_is_none():
    notebook = MemoryNotebook()
    first = UploadJournal(notebook, "imgprep-a-0123456789abcdef", SEGMENT)
    first.start("token")
    first.sent(3, "0" * 32)
    first.flush()
    assert json.dumps(notebook.load("upload"))

    same = UploadJournal(notebook, "imgprep-a-0123456789abcdef", SEGMENT)
    other = UploadJournal(notebook, "imgprep-b-0123456789abcdef", SEGMENT)

    assert (same.began, same.token, same.md5(3)) == (True, "token", "0" * 32)
    assert (other.began, other.token, other.md5(3)) == (False, "", None)


@pytest.mark.parametrize("record", [None, [], "x", {"upload": 1}, {"upload": "u", "md5": 3}])
def test_a_broken_journal_is_none(record):
    notebook = MemoryNotebook()
    notebook.save("upload", record)
    assert not UploadJournal(notebook, "u", SEGMENT).began
    assert UploadJournal.held(notebook, "u") == 0
