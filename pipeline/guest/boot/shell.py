"""GRUB 2's shell: carries the statements of a script out as far as that can be done without the machine.

What shows only at the start:

    a condition (a device, the platform)        is taken for false; entries below it are found
    what a loop goes over: (hd*,gpt*), or the   makes nothing in it sure; it goes one round for each
    order of a directory's files                that is known
    a variable that those may change            is UNKNOWN

A pattern of files means the files that it matches, once the module regexp is there.
https://www.gnu.org/software/grub/manual/grub/grub.html (Shell-like scripting; regexp)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.guest.boot.script import (
    MAX_COMMANDS,
    Block,
    Command,
    For,
    If,
    Statement,
    While,
    Word,
    parse,
)
from pipeline.guest.boot.words import MAX_VALUE, SOME_DEVICE, UNKNOWN, Text, texts

LINE = 80  # characters that count as a command of their own
MAX_NESTED = 100  # functions that call functions, loops within loops: beyond it there is no end
LOOK = 50  # commands that a look at a directory counts as
_POSITIONS = tuple("123456789")
_AT_START = re.compile(
    r"\$\{?(?:grub_(?:cpu|platform)|cmdpath|root|lockdown|shim_lock|(?:net|pxe)_\w+)\b"
)
"""Variables that GRUB itself sets on each machine."""
_SETTERS = ("cat", "probe", "regexp", "search", "smbios")  # --set=VARIABLE


def _none(_: str) -> list[str]:
    """No file has such a name."""
    return []


def _nothing(_: list[str], __: Interpreter) -> None:
    """Nobody asks."""


@dataclass
class Interpreter:
    """Carries a script out: variables change, and ``on_command`` and ``on_entry`` are told."""

    variables: dict[str, str]
    on_command: Callable[[list[str], Interpreter], None]
    on_entry: Callable[[list[str], tuple[Statement, ...], Interpreter], None]
    exists: Callable[[str], bool]
    matches: Callable[[str], list[str]] = _none
    on_maybe: Callable[[list[str], Interpreter], None] = _nothing  # of commands that may be skipped
    functions: dict[str, tuple[Statement, ...]] = field(default_factory=dict)
    steps: int = 0
    guess: str = ""  # why nobody knows how often the loop around goes round
    _called: bool = False  # a function, or what an entry does
    _loops: int = 0
    _depth: int = 0
    _leaving: tuple[str, int] | None = None  # break, continue or return, and of how many loops

    def run(self, statements: Sequence[Statement], *, certain: bool = True) -> None:
        """Carry statements out; when not ``certain`` only entries count."""
        self._depth += 1
        if self._depth > MAX_NESTED:
            self.steps = MAX_COMMANDS + 1
        for statement in statements:
            self.steps += 1
            if self.steps > MAX_COMMANDS or self._leaving:
                break
            sure = certain and not self.guess
            match statement:
                case If():
                    self._if(statement, sure)
                case For():
                    self._for(statement, certain)
                case While():
                    self._while(statement, certain)
                case Block():
                    self._block(statement)
                case Command():
                    self._command(self.words(statement), sure)
        self._depth -= 1

    def words(self, statement: Command | Block) -> list[str]:
        """The words with variables put in; one that is nothing but an empty variable vanishes."""
        return [self._match(text) for text in self._texts(statement.words)]

    def _texts(self, words: Sequence[Word]) -> list[Text]:
        found = texts(words, self.variables)
        self.steps += sum(len(each.text) for each in found) // LINE  # or long words took for ever
        return found

    def _match(self, text: Text) -> str:
        """The only file that a pattern means; else it stays, and whoever needs a file sees that."""
        match self._files(text):
            case [only]:
                return only
        return text.text

    def _files(self, text: Text) -> list[str]:
        if not text.is_pattern:
            return []
        self.steps += LOOK
        return self.matches(text.pattern)

    def with_arguments(
        self, arguments: Sequence[str], body: Sequence[Statement], *, certain: bool = True
    ) -> None:
        """Carry a body out; it calls its arguments $1, $2 and so on."""
        before, outside = dict(self.variables), (self._called, self._loops, self.guess)
        given = {str(at): value for at, value in enumerate(arguments, 1)}
        self.variables.update(dict.fromkeys(_POSITIONS, "") | given)
        self._called, self._loops = True, 0
        self.run(body, certain=certain)
        (self._called, self._loops, self.guess), self._leaving = outside, None
        for name in {*_POSITIONS, *given}:
            self.variables[name] = before.get(name, "")

    def _block(self, block: Block) -> None:
        words = self.words(block)
        if words and words[0] == "function":
            self.functions[words[1] if len(words) > 1 else ""] = block.body
        elif words:
            self.on_entry(words, block.body, self)

    def _command(self, words: list[str], sure: bool) -> None:
        if not words:
            return
        assigned = words[1:] if words[0] == "set" else words
        name, sign, value = assigned[0].partition("=") if assigned else ("", "", "")
        if sign and re.fullmatch(r"\w+", name):
            self._assign(name, value[:MAX_VALUE], sure)
        elif words[0] == "unset" and len(words) > 1:
            self._assign(words[1], "", sure)
            if sure:
                del self.variables[words[1]]
        elif self._may_leave(words[0]):
            self._leave(words, sure)
        elif words[0] in self.functions and self.steps < MAX_COMMANDS:
            body = self.functions.pop(words[0])  # a function that calls itself ends here
            self.with_arguments(words[1:], body, certain=sure)
            self.functions[words[0]] = body
        elif words[0] == "eval":
            self.run(parse(" ".join(words[1:])), certain=sure)
        else:
            self.variables.update(dict.fromkeys(_set_by(words), UNKNOWN))
            (self.on_command if sure else self.on_maybe)(words, self)

    def _assign(self, name: str, value: str, sure: bool) -> None:
        old = self.variables.get(name, "")
        if sure:
            self.variables[name] = value
        elif value != old and (self.guess or not old):
            self.variables[name] = value if value == SOME_DEVICE and not old else UNKNOWN

    # -------------------------------------------------------------------------------------- loops

    def _for(self, loop: For, certain: bool) -> None:
        values, doubt = self._values(loop.words)
        before, self._loops = self.guess, self._loops + 1
        self.guess = before or doubt
        for value in values:
            self.variables[loop.name] = value
            if not self._round(loop.body, certain):
                break
        if self.guess and self.variables.get(loop.name) != SOME_DEVICE:
            self.variables[loop.name] = UNKNOWN
        self.guess, self._loops = before, self._loops - 1

    def _while(self, loop: While, certain: bool) -> None:
        before, self._loops = self.guess, self._loops + 1
        holds: bool | None = not loop.until
        while holds is not None:  # a round that nobody is sure of is the last
            sure = certain and not self.guess
            holds = self._holds(loop.condition) if sure else None
            if holds is None:
                self.guess = self.guess or "a loop's condition shows only when it starts"
            if holds is loop.until or not self._round(loop.body, certain):
                break
        self.guess, self._loops = before, self._loops - 1

    def _round(self, body: Sequence[Statement], certain: bool) -> bool:
        """One round of a loop; whether another may follow."""
        self.steps += 1
        self.run(body, certain=certain)
        if self._leaving is None:
            return self.steps <= MAX_COMMANDS
        kind, loops = self._leaving
        if kind != "return":
            self._leaving = (kind, loops - 1) if loops > 1 else None
        return kind == "continue" and loops == 1

    def _values(self, words: Sequence[Word]) -> tuple[list[str], str]:
        """What a variable goes through, and why that is not sure."""
        found, doubts = list[str](), list[str]()
        for text in self._texts(words):
            files = [text.text]
            if text.is_wild:
                files = self._files(text) or [text.any_of]
            first, *more = files
            if more or UNKNOWN in first:
                doubts.append(text.text.replace(UNKNOWN, "…"))
            found += files
        return found, f"a loop goes over {doubts[0]}" if doubts else ""

    def _may_leave(self, command: str) -> bool:
        if command in ("break", "continue"):
            return bool(self._loops)
        return command == "return" and self._called

    def _leave(self, words: list[str], sure: bool) -> None:
        if not sure:
            self.guess = self.guess or f"a {words[0]} may end a loop"
        elif words[0] == "return":
            self._leaving = ("return", 0)
        else:
            told = words[1] if len(words) > 1 else "1"
            loops = int(told[:6]) if told.isascii() and told.isdigit() else 1
            self._leaving = (words[0], max(1, min(loops, self._loops)))

    # --------------------------------------------------------------------------------- conditions

    def _if(self, statement: If, certain: bool) -> None:
        taken = False
        for condition, body in statement.branches:
            holds = True if condition is None else self._holds(condition)
            if holds is not False and not taken:
                self.run(body, certain=certain and holds is True)
            taken = taken or holds is True

    def _holds(self, condition: Command) -> bool | None:
        """Whether a condition is true; None: that shows when it starts."""
        if any(
            part.live and _AT_START.search(part.text) for word in condition.words for part in word
        ):
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
        if any(UNKNOWN in word for word in words):
            return None
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
                self.steps += LOOK
                return True if self.exists(path) else None
            case []:
                return False
        return None


def _set_by(words: Sequence[str]) -> Iterator[str]:
    """The variables that a command sets to what shows only at the start."""
    if words[0] == "read":
        yield from words[1:]
    for word, following in itertools.pairwise([*words, ""]) if words[0] in _SETTERS else ():
        if word.startswith("--set="):
            yield word[6:].rpartition(":")[2]
        elif word in ("--set", "-s") and words[0] != "search":  # which means root without a name
            yield following.rpartition(":")[2]


def _split(words: Sequence[str], at: str) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for word in words:
        if word == at:
            found.append([])
        else:
            found[-1].append(word)
    return found
