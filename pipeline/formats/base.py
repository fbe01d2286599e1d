"""What every container format says about a file, and what it must declare to be registered.

A format is pure knowledge of bytes: it gets a ``Reader`` and starts no process.  It never raises for
what it finds in the bytes: trouble is a ``Problem`` whose ``rule`` is the id of a requirement in
``schemas/requirements/``, which holds the words.  A format without declared checks cannot be made.

All parsers that look at one file share a budget of ``bounded.READ_BUDGET`` bytes, so each keeps its
own share well below it (1 MiB for tables) and samples what is larger.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipeline.source import Reader


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in the bytes.

    ``rule`` names the requirement that it breaks, ``detail`` says what was seen (one clause, cleaned
    of control characters), ``offset`` and ``length`` the bytes of the file it speaks of.
    """

    rule: str
    detail: str
    offset: int | None = None
    length: int | None = None


@dataclass(frozen=True)
class Container:
    """What a format found out about a file.  ``None``: this format does not have or tell it."""

    format: str  # "raw", "qcow2", "vhd", … as in the contract
    virtual_size: int | None
    variant: str | None = None  # "fixed", "dynamic", "differencing", "streamOptimized", "v3", …
    creator: str | None = None
    uuid: str | None = None
    encrypted: bool = False
    snapshots: int = 0
    external_references: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)  # format-specific facts, JSON-shaped


class Format(ABC):
    """One container format.

    Subclasses set ``name`` and ``checks`` and are registered in ``pipeline.formats``.
    """

    name: ClassVar[str]
    checks: ClassVar[tuple[str, ...]]  # ids of the rules that ``inspect`` may report

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not getattr(cls, "name", "") or not getattr(cls, "checks", ()):
            raise TypeError(f"{cls.__name__} must declare its name and its safety checks")

    @abstractmethod
    def matches(self, reader: Reader) -> bool:
        """Whether this format's signature holds, from a few bounded reads."""

    def signature(self, reader: Reader) -> str | None:
        """The name under which ``matches`` holds: a family of formats has several."""
        return self.name if self.matches(reader) else None

    def stores(self, reader: Reader, offset: int, length: int) -> bool:  # noqa: ARG002
        """Whether these bytes of the file are the guest's, by this container's own tables.

        A partition table that stands there is the guest's, not the file's.  False when in doubt.
        """
        return False

    @abstractmethod
    def inspect(self, reader: Reader) -> Container:
        """Everything that the headers tell; called only when ``matches``."""
