"""Answers to questions about a guest: a value, or the reason why nobody knows.

    Answer(value)              known; None means that there is none
    Answer(None, reason)       not known
    Answer(value, reason)      known in part

Each subject is a frozen record whose fields may be answers; ``unfold`` turns records into JSON and
gathers the reasons under the paths of their facts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipeline.guest.tree import TreeError
from pipeline.text import clean

T = TypeVar("T")
MAX_REASON = 300  # characters


@dataclass(frozen=True)
class Answer(Generic[T]):
    """One fact, or why it is not known."""

    value: T | None
    reason: str | None = None

    def required(self) -> T:
        """The value.  Raises ``TreeError`` with the reason when nobody knows."""
        if self.value is None:
            raise TreeError(self.reason or "there is none")
        return self.value


def unknown(reason: str) -> Answer[Any]:
    """Nobody knows, for this reason."""
    return Answer(None, clean(reason, MAX_REASON))


def ask(question: Callable[[], T | None], otherwise: str | None = None) -> Answer[T]:
    """The answer to a question; ``otherwise`` is the reason when the answer is None.

    A ``TreeError`` makes the answer unknown: other questions may still be answered.
    """
    try:
        value = question()
    except TreeError as error:
        return unknown(str(error))
    return unknown(otherwise) if value is None and otherwise is not None else Answer(value)


def either(answer: Answer[T], default: T) -> T:
    """The value, or a default for what is not known."""
    return default if answer.value is None else answer.value


def unfold(value: Any, path: str = "") -> tuple[Any, dict[str, str]]:
    """Records, tuples and answers as JSON, and the reasons of what is not known by path."""
    if isinstance(value, Answer):
        plain, reasons = unfold(value.value, path)
        return plain, reasons if value.reason is None else {path: value.reason, **reasons}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        parts = {key: unfold(part, f"{path}.{key}".lstrip(".")) for key, part in value.items()}
        reasons = {name: why for _, found in parts.values() for name, why in found.items()}
        return {key: plain for key, (plain, _) in parts.items()}, reasons
    if isinstance(value, (tuple, list)):
        return [unfold(part)[0] for part in value], {}
    return value, {}
