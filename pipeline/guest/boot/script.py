"""GRUB 2's shell language as far as grub.cfg uses it: words, quotes, if, loops, blocks.

    text ─▶ words (each of literal and variable parts) ─▶ commands, ifs, loops, blocks

``shell.py`` carries them out.  https://www.gnu.org/software/grub/manual/grub/grub.html#Shell_002dlike-scripting
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_DEPTH = 16  # of blocks within blocks
MAX_COMMANDS = 20_000

_TOKEN = re.compile(
    r"""(?P<join>\\\n)|(?P<blank>[ \t\r]+)|(?P<end>[\n;])|(?P<comment>\#[^\n]*)
       |'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|\\(?P<escaped>.)
       |(?P<bare>[^\s;'"\\]+)|(?P<stray>.)""",
    re.VERBOSE | re.DOTALL,
)


class Part(NamedTuple):
    """Of a word, what is in the same quotes."""

    text: str
    live: bool = True  # variables in it are put in
    quoted: bool = False  # it is not split, and no pattern


Word = tuple[Part, ...]


@dataclass(frozen=True)
class Command:
    """A simple command."""

    words: tuple[Word, ...]


@dataclass(frozen=True)
class Block:
    """``menuentry``, ``submenu`` or ``function`` with what is in its braces."""

    words: tuple[Word, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class If:
    """Conditions, of which the last command counts, with their branches; the last branch may have none."""

    branches: tuple[tuple[tuple[Statement, ...] | None, tuple[Statement, ...]], ...]


@dataclass(frozen=True)
class For:
    """``for NAME in WORDS; do BODY; done``."""

    name: str
    words: tuple[Word, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class While:
    """``while`` a condition holds, or ``until`` it does."""

    condition: tuple[Statement, ...]
    until: bool
    body: tuple[Statement, ...]


Statement = Command | Block | If | For | While


def _double(text: str) -> list[Part]:
    """What is in double quotes: a backslash counts before a dollar, a quote, another and a line's end."""
    pieces = re.split(r"\\([$\"\\\n])", text)
    return [
        Part(piece.replace("\n", "") if at % 2 else piece, live=not at % 2, quoted=True)
        for at, piece in enumerate(pieces)
        if piece or len(pieces) == 1
    ]


def _commands(text: str) -> Iterator[tuple[Word, ...]]:
    """The words of each command; braces are commands of their own."""
    words: list[Word] = []
    parts: list[Part] = []
    for match in _TOKEN.finditer(text + "\n"):
        kind = match.lastgroup
        if kind == "join" or (kind == "comment" and not parts):
            continue
        if kind in ("single", "escaped"):
            parts.append(Part(match[kind], live=False, quoted=True))
        elif kind == "double":
            parts += _double(match[kind])
        elif kind not in ("blank", "end"):
            parts.append(Part(match[0]))
        elif parts:
            words.append(tuple(parts))
            parts = []
        if kind in ("blank", "end") and words and (words[-1] in _BRACES or kind == "end"):
            brace = words.pop() if words[-1] in _BRACES else None
            if words:
                yield tuple(words)
            if brace:
                yield (brace,)
            words = []


_OPEN: Word = (Part("{"),)
_CLOSE: Word = (Part("}"),)
_BRACES = (_OPEN, _CLOSE)
_BRANCHES = ("then", "elif", "else", "fi", "}")


def parse(text: str) -> tuple[Statement, ...]:
    """The statements of a script; what does not fit together is taken as it comes."""
    return tuple(_Parser(text).statements(()))


class _Parser:
    def __init__(self, text: str) -> None:
        self._left = [words for words, _ in zip(_commands(text), range(MAX_COMMANDS), strict=False)]
        self._left.reverse()
        self._depth = 0

    def statements(self, until: Sequence[str]) -> list[Statement]:
        found: list[Statement] = []
        while self._left and _first(self._left[-1]) not in until:
            words = self._left.pop()
            name = _first(words)
            if name in ("then", "do", "{", "}", "fi", "done", "else", "elif"):
                if len(words) > 1:
                    self._left.append(words[1:])
                continue
            if self._depth == MAX_DEPTH:  # what begins here is no longer taken together
                found.append(Command(words))
            elif name == "if":
                found.append(self._if(words[1:]))
            elif name == "for":
                found.append(For(_first(words[1:]), words[3:], self._body()))  # "in" is the third
            elif name in ("while", "until"):
                condition = self._condition(words[1:], ("do", "done", "}"))
                found.append(While(condition, name == "until", self._body()))
            elif self._left and self._left[-1] == (_OPEN,):
                self._left.pop()
                found.append(Block(words, self._nested(("}",))))
                self._take("}")
            else:
                found.append(Command(words))
        return found

    def _nested(self, until: Sequence[str]) -> tuple[Statement, ...]:
        self._depth += 1
        body = tuple(self.statements(until))
        self._depth -= 1
        return body

    def _condition(self, words: tuple[Word, ...], until: Sequence[str]) -> tuple[Statement, ...]:
        """The commands up to then or do, of which the first words are these."""
        if words:
            self._left.append(words)
        return self._nested(until)

    def _if(self, words: tuple[Word, ...]) -> If:
        branches: list[tuple[tuple[Statement, ...] | None, tuple[Statement, ...]]] = []
        condition: tuple[Statement, ...] | None = self._condition(words, _BRANCHES)
        while True:
            branches.append((condition, self._nested(_BRANCHES[1:])))
            word = _first(self._left[-1]) if self._left else "fi"
            if word == "}":
                return If(tuple(branches))
            rest = self._left.pop()[1:] if self._left else ()
            if word == "elif":
                condition = self._condition(rest, _BRANCHES)
            elif word == "else":
                condition = None
                if rest:
                    self._left.append(rest)
            else:
                return If(tuple(branches))

    def _body(self) -> tuple[Statement, ...]:
        """What a loop repeats."""
        body = self._nested(("done", "}"))
        self._take("done")
        return body

    def _take(self, name: str) -> None:
        if self._left and _first(self._left[-1]) == name:
            self._left.pop()


def _first(words: tuple[Word, ...]) -> str:
    return "".join(part.text for part in words[0]) if words else ""
