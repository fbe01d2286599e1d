"""GRUB 2's shell as far as grub.cfg uses it: words, quotes, variables, if, blocks.

    text ─▶ words (each of literal and variable parts) ─▶ commands, ifs, blocks ─▶ carried out

A condition that cannot be judged offline (a file, a device, the platform) is taken for false; entries
below it are found nevertheless, as nobody knows.  https://www.gnu.org/software/grub/manual/grub/grub.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Part = tuple[str, bool]  # text, and whether variables in it are put in
Word = tuple[Part, ...]
MAX_DEPTH = 16  # of blocks within blocks
MAX_COMMANDS = 20_000
MAX_VALUE = 8192  # characters of a variable

_TOKEN = re.compile(
    r"""(?P<join>\\\n)|(?P<blank>[ \t\r]+)|(?P<end>[\n;])|(?P<comment>\#[^\n]*)
       |'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|\\(?P<escaped>.)
       |(?P<bare>[^\s;'"\\]+)|(?P<stray>.)""",
    re.VERBOSE | re.DOTALL,
)
_POSITIONS = tuple("123456789")
_AT_START = re.compile(
    r"\$\{?(?:grub_(?:cpu|platform)|cmdpath|root|lockdown|shim_lock|(?:net|pxe)_\w+)\b"
)
"""Variables that GRUB itself sets on each machine."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


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
    """Conditions with their branches; the last branch may have none."""

    branches: tuple[tuple[Command | None, tuple[Statement, ...]], ...]


Statement = Command | Block | If


def _commands(text: str) -> Iterator[tuple[Word, ...]]:
    """The words of each command; braces are commands of their own."""
    words: list[Word] = []
    parts: list[Part] = []
    for match in _TOKEN.finditer(text + "\n"):
        kind = match.lastgroup
        if kind == "join" or (kind == "comment" and not parts):
            continue
        if kind in ("single", "escaped"):
            parts.append((match[kind], False))
        elif kind == "double":
            parts.append(("", False))  # so that it is a word even when nothing is left of it
            parts.append((re.sub(r"\\(.)", r"\1", match[kind], flags=re.DOTALL), True))
        elif kind not in ("blank", "end"):
            parts.append((match[0], True))
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


_OPEN: Word = (("{", True),)
_CLOSE: Word = (("}", True),)
_BRACES = (_OPEN, _CLOSE)


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
            if name == "if" and self._depth < MAX_DEPTH:
                found.append(self._if(words[1:]))
            elif self._left and self._left[-1] == (_OPEN,) and self._depth < MAX_DEPTH:
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

    def _if(self, condition: tuple[Word, ...]) -> If:
        branches: list[tuple[Command | None, tuple[Statement, ...]]] = []
        wanted: Command | None = Command(condition)
        while True:
            branches.append((wanted, self._nested(("elif", "else", "fi", "}"))))
            word = _first(self._left[-1]) if self._left else "fi"
            if word == "}":
                return If(tuple(branches))
            rest = self._left.pop()[1:] if self._left else ()
            if word == "elif":
                wanted = Command(rest)
            elif word == "else":
                wanted = None
                if rest:
                    self._left.append(rest)
            else:
                return If(tuple(branches))

    def _take(self, name: str) -> None:
        if self._left and _first(self._left[-1]) == name:
            self._left.pop()


def _first(words: tuple[Word, ...]) -> str:
    return "".join(text for text, _ in words[0]) if words else ""


@dataclass
class Interpreter:
    """Carries a script out: variables change, and ``on_command`` and ``on_entry`` are told."""

    variables: dict[str, str]
    on_command: Callable[[list[str], Interpreter], None]
    on_entry: Callable[[list[str], tuple[Statement, ...], Interpreter], None]
    exists: Callable[[str], bool]
    functions: dict[str, tuple[Statement, ...]] = field(default_factory=dict)
    steps: int = 0

    def run(self, statements: Sequence[Statement], *, certain: bool = True) -> None:
        """Carry statements out; when not ``certain`` only entries count."""
        for statement in statements:
            self.steps += 1
            if self.steps > MAX_COMMANDS:
                return
            if isinstance(statement, If):
                self._if(statement, certain)
            elif isinstance(statement, Block):
                self._block(statement)
            elif certain:
                self._command(statement)

    def words(self, statement: Command | Block) -> list[str]:
        """The words with variables put in; a bare variable that is empty vanishes, as in a shell."""
        found: list[str] = []
        for word in statement.words:
            text = "".join(expand(part, self.variables) if live else part for part, live in word)
            bare = len(word) == 1 and word[0][1] and _VARIABLE.fullmatch(word[0][0])
            found += text.split() if bare else [text]
        return found

    def with_arguments(self, arguments: Sequence[str], body: Sequence[Statement]) -> None:
        """Carry a body out; it calls its arguments $1, $2 and so on."""
        before = dict(self.variables)
        given = {str(at): value for at, value in enumerate(arguments, 1)}
        self.variables.update(dict.fromkeys(_POSITIONS, "") | given)
        self.run(body)
        for name in {*_POSITIONS, *given}:
            self.variables[name] = before.get(name, "")

    def _block(self, block: Block) -> None:
        words = self.words(block)
        if words and words[0] == "function":
            self.functions[words[1] if len(words) > 1 else ""] = block.body
        elif words:
            self.on_entry(words, block.body, self)

    def _command(self, command: Command) -> None:
        words = self.words(command)
        if not words:
            return
        assigned = words[1:] if words[0] == "set" else words
        name, sign, value = assigned[0].partition("=") if assigned else ("", "", "")
        if sign and re.fullmatch(r"\w+", name):
            self.variables[name] = value[:MAX_VALUE]
        elif words[0] == "unset" and len(words) > 1:
            self.variables.pop(words[1], None)
        elif words[0] in self.functions and self.steps < MAX_COMMANDS:
            body = self.functions.pop(words[0])  # a function that calls itself ends here
            self.with_arguments(words[1:], body)
            self.functions[words[0]] = body
        else:
            self.on_command(words, self)

    def _if(self, statement: If, certain: bool) -> None:
        taken = False
        for condition, body in statement.branches:
            holds = True if condition is None else self._holds(condition)
            if holds is not False and not taken:
                self.run(body, certain=certain and holds is True)
            taken = taken or holds is True

    def _holds(self, condition: Command) -> bool | None:
        """Whether a condition is true; None: that shows when it starts."""
        if any(_AT_START.search(text) for word in condition.words for text, live in word if live):
            return None
        words = self.words(condition)
        if words[:1] == ["["] and words[-1] == "]":
            return self._any(words[1:-1])
        if words[:1] == ["test"]:
            return self._any(words[1:])
        return {"true": True, "false": False}.get(words[0]) if words else False

    def _any(self, words: list[str]) -> bool | None:
        """Tests joined by -o, and closer by -a."""
        ways = [[self._test(part) for part in _split(way, "-a")] for way in _split(words, "-o")]
        all_of = [False if False in way else None if None in way else True for way in ways]
        return True if True in all_of else None if None in all_of else False

    def _test(self, words: list[str]) -> bool | None:
        match words:
            case ["!", *rest] if rest:
                found = self._test(rest)
                return None if found is None else not found
            case [left, "=" | "==", right]:
                return left == right
            case [left, "!=", right]:
                return left != right
            case ["-n", text] | [text]:
                return bool(text)
            case ["-z", text]:
                return not text
            case ["-s" | "-f" | "-e", path]:
                return True if self.exists(path) else None
            case []:
                return False
        return None


def _split(words: Sequence[str], at: str) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for word in words:
        if word == at:
            found.append([])
        else:
            found[-1].append(word)
    return found


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Variables put in; those that are not set are empty, as in GRUB."""
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), text)[:MAX_VALUE]
