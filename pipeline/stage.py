"""The contract between the engine and the stages.

A stage is a small object with a name, a version and ``run``.  It gets handles in a ``Context`` and
returns data in an ``Outcome``; it edits nothing that was given to it, and does not know who watches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.beside import Beside
from pipeline.disk import GuestDisk
from pipeline.errors import ConversionFailed, ImgprepError, Interrupted
from pipeline.events import Monitor, Note, Progress
from pipeline.model import Artifact, Facts, Job, Judgement, Outcome, Receipt, digest
from pipeline.source import Source

if TYPE_CHECKING:
    from pipeline.profile import Profile


class Cancellation:
    """Set by a signal, asked by everything that takes long."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._signal = 0

    def set(self, signal_number: int) -> None:
        """Ask for a stop, because of this signal."""
        self._signal = signal_number
        self._event.set()

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Sleep, but wake at once when a stop is asked for; True then."""
        return self._event.wait(timeout_s)

    def check(self) -> None:
        """Raise ``Interrupted`` when a stop was asked for."""
        if self._event.is_set():
            raise Interrupted(self._signal)


class Notebook(Protocol):
    """What a stage may write down while it works: hints for a resume, never the only truth.

    Each note is written atomically and kept until the job succeeds.
    """

    def load(self, name: str) -> Any | None:
        """The note of this name, or None."""
        ...

    def save(self, name: str, value: Any) -> None:
        """Write the note of this name, a JSON-shaped value."""
        ...


def _at_once(length: int) -> None:
    """The pace of who has the line alone."""


@dataclass(frozen=True)
class Context:
    """Handles and what is known so far.  Never travels between machines."""

    job: Job
    job_id: str
    source: Source
    profile: Profile
    scratch: Path  # private, removed when the job ends
    beside: Beside  # a private directory on the file system of what is kept
    notebook: Notebook
    cancellation: Cancellation
    monitor: Monitor
    stage: str = ""
    facts: Facts = field(default_factory=dict)
    judgement: Judgement | None = None
    artifact: Artifact | None = None
    receipt: Receipt | None = None
    pace: Callable[[int], None] = _at_once  # called with bytes before they are sent; may wait
    fingerprint: str | None = None  # the source's content id, with --identity content
    opened: GuestDisk | None = None  # there from the time when the container is known

    @property
    def disk(self) -> GuestDisk:
        """The disk under test.  Raises ``ConversionFailed`` before the image was identified."""
        if self.opened is None:
            raise ConversionFailed(
                "source-not-identified",
                f"{self.source.name} was not identified, so it cannot be opened safely",
                hint="run the whole command, not only its last stages",
            )
        return self.opened

    def progress(self, done: int, total: int | None, activity: str = "") -> None:
        """Report bytes done."""
        self.monitor(Progress(self.stage, done, total, activity))

    def note(self, text: str, *, warning: bool = False) -> None:
        """Tell the person one sentence."""
        self.monitor(Note(self.stage, text, "warning" if warning else "info"))


class StageFailed(Exception):
    """A stage failed, and found something out before: the report shall hold both."""

    def __init__(self, error: ImgprepError, outcome: Outcome) -> None:
        super().__init__(error, outcome)
        self.error = error
        self.outcome = outcome


def identify_job(job: Job, content_id: str, profile_digest: str) -> str:
    """The job's id: the same content, profile and object give the same one, on any machine."""
    return digest(
        {
            "content": content_id,
            "file": PurePath(job.source).name,
            "profile": profile_digest,
            "destination": job.destination,
            "name": job.options.name,
            "format": job.options.format,
        }
    )[:16]


class Stage(Protocol):
    """One step of the pipeline.

    ``version`` changes when the stage's outcome for the same input changes: an old record is then
    not reused.  ``options`` names what, besides source and profile, its outcome depends on.
    ``reusable`` is False for a stage whose outcome must be seen anew in every run.
    """

    name: str
    version: int
    reusable: bool

    def options(self, job: Job) -> Mapping[str, Any]:
        """The options that this stage's outcome depends on."""
        ...

    def run(self, context: Context) -> Outcome:
        """Do the work.

        Raises ``ImgprepError`` when the machine, not the image, is at fault; ``StageFailed`` when
        there is something to tell all the same.
        """
        ...
