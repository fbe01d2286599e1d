"""Questions to the appliance's worker and its answers: lines of JSON, one at a time, with a deadline."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from pipeline.errors import ToolError
from pipeline.guest.tree import TreeError
from pipeline.text import clean
from pipeline.tools import command
from pipeline.tools.appliance import probe as guest_probe
from pipeline.tools.command import Stop

LARGEST_ANSWER = 32 << 20  # bytes of one line
STOPPED = "guest-appliance-stopped"
_CHUNK = 1 << 20
_POLL_S = 0.1


class Channel:
    """Questions to the worker and its answers, with a deadline."""

    def __init__(
        self, end: socket.socket, worker: command.Background, cancellation: Stop | None
    ) -> None:
        self._end = end
        self._worker = worker
        self._cancellation = cancellation
        self._data = bytearray()
        self._turn = threading.Lock()  # of who asks
        self.deadline = 0.0

    def stderr(self) -> str:
        """The end of what the worker and its children wrote."""
        return self._worker.stderr

    def allow(self, seconds: float) -> None:
        """From now on, all answers together may take so long."""
        self.deadline = time.monotonic() + seconds

    def ask(self, call: str, **arguments: Any) -> Any:
        """One question.

        Raises ``TreeError`` when the answer is an error, ``ToolError`` when there is none in time or
        the worker ended, ``Interrupted`` when a stop was asked for.
        """
        with self._turn:
            return self._asked(call, arguments)

    def _asked(self, call: str, arguments: Mapping[str, Any]) -> Any:
        line = json.dumps({"call": call, **arguments}).encode() + b"\n"
        try:
            self._end.settimeout(max(_POLL_S, self.deadline - time.monotonic()))
            self._end.sendall(line)
            answer = json.loads(self._line(call))
        except (OSError, ValueError) as error:
            raise self._ended(call) from error
        if "error" in answer:
            text = _first_line(str(answer["error"]))
            if "launch" not in call and "unexpectedly" in text:
                raise _stopped(call, text)
            raise TreeError(text)
        return answer["value"]

    def _line(self, call: str) -> bytes:
        self._end.settimeout(_POLL_S)
        while (at := self._data.find(b"\n")) < 0:
            if self._cancellation is not None:
                self._cancellation.check()
            if time.monotonic() > self.deadline:
                raise ToolError(
                    "guest-timeout",
                    f"the appliance did not answer in time ({call})",
                    hint="try again when the machine is less busy; --guest=off leaves the guest out",
                )
            try:
                part = self._end.recv(_CHUNK)
            except TimeoutError:
                continue
            if not part or len(self._data) > LARGEST_ANSWER:
                raise self._ended(call)
            self._data += part
        line = bytes(self._data[:at])
        del self._data[: at + 1]
        return line

    def _ended(self, call: str) -> ToolError:
        self._worker.wait(1.0)
        return _stopped(call, guest_probe.telling_lines(self._worker.stderr) or "it said nothing")


def _stopped(call: str, said: str) -> ToolError:
    return ToolError(
        STOPPED,
        f"the appliance stopped while it was asked ({call}): {clean(said, 500)}",
        hint="the guest's file system may be damaged or built to crash its reader; "
        "run 'imgprep doctor' if that happens with every image",
    )


def _first_line(said: str) -> str:
    """Without libguestfs' advice to set environment variables, which the worker does not get."""
    return clean(said.strip().split("\n", 1)[0], 500)
