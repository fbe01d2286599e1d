"""A notebook that lives as long as the process."""

from __future__ import annotations

from typing import Any


class MemoryNotebook:
    """For uploads that keep none."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def load(self, name: str) -> Any | None:
        return self._values.get(name)

    def save(self, name: str, value: Any) -> None:
        self._values[name] = value
