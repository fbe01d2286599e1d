"""Lines of text within a terminal's width: paragraphs, and what stands behind a label."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

WIDEST = 100  # columns in which lines of text are read well


def _width() -> int:
    """Columns of the terminal, as far as lines of text are read well."""
    return min(shutil.get_terminal_size((WIDEST, 0)).columns, WIDEST)


def wrapped(content: str, indent: str = "  ") -> Iterator[str]:
    """Lines of a paragraph."""
    yield from textwrap.wrap(
        content,
        _width(),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def hanging(content: str, indent: str) -> Iterator[str]:
    """Lines of a paragraph whose first line stands out to the left."""
    yield from textwrap.wrap(
        content,
        _width(),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def labelled(label: str, content: str) -> Iterator[str]:
    """Lines behind a label, which stands before the first."""
    yield from beside(f"  {label}", content, 12)


def beside(label: str, content: str, column: int) -> Iterator[str]:
    """Lines that begin in a column; the label stands before the first, and a space between them."""
    room = max(_width() - column, 1)
    pieces = textwrap.wrap(content, room, break_long_words=False, break_on_hyphens=False)
    for number, piece in enumerate(pieces):
        yield f"{f'{label} ' if number == 0 else '':<{column}}{piece}"
