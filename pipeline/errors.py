"""Every error that imgprep raises on purpose, as a tree; the branch decides the exit code.

    ImgprepError                     what happened, where, what was seen, what to do
    ├── UsageError            2      command line, configuration, profile or manifest
    ├── EnvironmentFailed     3      the machine: file missing, tool missing or too old, no space
    │   ├── SourceError              the source file cannot be read, or changed while we read it
    │   └── ToolError                a child process could not start, failed, or broke a limit
    ├── ConversionFailed      4      the artifact could not be made, or is not what was planned
    ├── StoreError            5      the object store: authentication, network, quota, checksum
    │   └── TemporaryStoreError      … and the same request may succeed later
    ├── CloudRefused          6      the cloud refused the import task
    └── Interrupted         130/143  Ctrl-C or SIGTERM; state is saved

A *refused image* is not an error: it is a list of findings (exit code 1).  Anything that is not in
this tree is a bug of ours (exit code 70).  ``code`` is stable and kebab-case; ``EXPLANATIONS`` says
what each one means, for ``imgprep explain``.
"""

from __future__ import annotations

import signal
from typing import Any


class ImgprepError(Exception):
    """An expected failure.

    ``code`` is the stable name, ``message`` says what happened and to what, ``hint`` what to do.
    """

    exit_code = 70
    title = "imgprep failed"

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes and machines with all that they say."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[ImgprepError], args: tuple[Any, ...], state: dict[str, Any]
) -> ImgprepError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(ImgprepError):
    """The command line, a configuration, a profile or a manifest is wrong."""

    exit_code = 2
    title = "wrong usage"


class EnvironmentFailed(ImgprepError):
    """The machine could not do it; nothing is known about the image."""

    exit_code = 3
    title = "the environment failed"


class SourceError(EnvironmentFailed):
    """The source file is missing, unreadable, of a wrong kind, or changed under us."""

    title = "the source cannot be used"


class ToolError(EnvironmentFailed):
    """A child process could not start, failed or exceeded a limit."""

    title = "a tool failed"


class ConversionFailed(ImgprepError):
    """The artifact could not be made, or its bytes are not what was planned."""

    exit_code = 4
    title = "the conversion failed"


class StoreError(ImgprepError):
    """The object store refused or failed."""

    exit_code = 5
    title = "the store failed"


class TemporaryStoreError(StoreError):
    """The store failed in a way that may pass.  ``retry_after_s`` is the server's own wish."""

    def __init__(
        self, code: str, message: str, *, hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(code, message, hint=hint)
        self.retry_after_s = retry_after_s


class CloudRefused(ImgprepError):
    """The cloud refused the import task."""

    exit_code = 6
    title = "the cloud refused the import"


class Interrupted(ImgprepError):
    """A signal asked us to stop; the same command continues."""

    title = "interrupted"

    def __init__(self, signal_number: int = signal.SIGINT) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(
            "interrupted",
            f"stopped by {name}",
            hint="state is saved; run the same command again to continue",
        )
        self.exit_code = 128 + signal_number

    def without_state(self) -> Interrupted:
        """The same, of a job that keeps nothing: the next run starts anew."""
        told = Interrupted(self.exit_code - 128)
        told.hint = "run the same command again; it starts anew"
        return told
