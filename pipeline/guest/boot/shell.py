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

from pipeline.guest.boot.conditions import Truth, test
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
from pipeline.guest.boot.words import MAX_VALUE, SOME_DEVICE, UNKNOWN, Text, Values, texts

LINE = 80  # characters that count as a command of their own
MAX_NESTED = 100  # functions that call functions, loops within loops: beyond it there is no end
LOOK = 50  # commands that a look at a directory counts as
_AT_START = re.compile(
    r"\$\{?(?:grub_(?:cpu|platform)|cmdpath|root|lockdown|shim_lock|(?:net|pxe)_\w+)\b"
)
"""Variables that GRUB itself sets on each machine."""
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ALWAYS_DONE = ("echo", "export", "set", "unset")
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
    arguments: Sequence[str] | None = None  # of a function, or of an entry
    _loops: int = 0
    _depth: int = 0
    _ended: int = 0  # of how many loops around what comes next may be left out
    _leaving: tuple[str, int] | None = None  # break, continue or return, and of how many loops

    def run(self, statements: Sequence[Statement], *, certain: bool = True) -> None:
        """Carry statements out; when not ``certain`` only entries count."""
        self._depth += 1
        if self._depth > MAX_NESTED:
            self.steps += MAX_COMMANDS
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
        found = texts(words, Values(self.variables, self.arguments))
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
        outside = (self.arguments, self._loops, self.guess, self._ended)
        self.arguments, self._loops = arguments, 0
        self.run(body, certain=certain)
        self.arguments, self._loops, self.guess, self._ended = outside
        self._leaving = None

    def _block(self, block: Block) -> None:
        words = self.words(block)
        if words and words[0] == "function":
            self.functions[words[1] if len(words) > 1 else ""] = block.body
        elif words:
            self.on_entry(words, block.body, self)

    def _command(self, words: list[str], sure: bool) -> None:
        if not words:
            return
        if assigned := _assigned(words):
            self._assign(*assigned, sure)
        elif words[0] == "unset" and len(words) > 1:
            self._assign(words[1], "", sure)
            if sure:
                del self.variables[words[1]]
        elif self._may_leave(words[0]):
            self._leave(words, sure)
        elif words[0] in self.functions:
            body = self.functions.pop(words[0])  # a function that calls itself ends here
            self.with_arguments(words[1:], body, certain=sure)
            self.functions[words[0]] = body
        elif words[0] in ("shift", "setparams") and self.arguments is not None:
            left = _shifted(words, self.arguments) if words[0] == "shift" else words[1:]
            self.arguments = left if sure else [UNKNOWN] * len(left)
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
        self._end_loop(before)

    def _while(self, loop: While, certain: bool) -> None:
        before, self._loops = self.guess, self._loops + 1
        holds: bool | None = not loop.until
        while holds is not None:  # a round that nobody is sure of is the last
            sure = certain and not self.guess
            holds = self._holds(loop.condition, sure)
            if holds is None or not sure:
                holds = None
                self.guess = self.guess or "a loop's condition shows only when it starts"
            if holds is loop.until or not self._round(loop.body, certain):
                break
        self._end_loop(before)

    def _end_loop(self, guess: str) -> None:
        self._loops -= 1
        self._ended = max(0, self._ended - 1)
        if not self._ended:
            self.guess = guess

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
        return command == "return" and self.arguments is not None

    def _leave(self, words: list[str], sure: bool) -> None:
        loops = self._loops + 1  # a return leaves all that are around it
        if words[0] != "return":
            loops = max(1, min(_number(words, otherwise=1), self._loops))
        if sure:
            self._leaving = (words[0], loops)
        else:
            self.guess = self.guess or f"a {words[0]} may end a loop"
            self._ended = max(self._ended, loops)

    # --------------------------------------------------------------------------------- conditions

    def _if(self, statement: If, certain: bool) -> None:
        for condition, body in statement.branches:
            holds = True if condition is None else self._holds(condition, certain)
            if holds is not False:
                self.run(body, certain=certain and holds is True)
            if holds or self._leaving:
                break

    def _holds(self, condition: Sequence[Statement], certain: bool) -> Truth:
        """Carry the commands of a condition out; whether the last of them succeeds."""
        self.run(condition[:-1], certain=certain)
        last = condition[-1] if condition else Command(())
        if not isinstance(last, Command):
            self.run([last], certain=certain)
            return None
        if any(part.live and _AT_START.search(part.text) for word in last.words for part in word):
            return None
        words = self.words(last)
        if words[:1] != ["!"]:
            return self._succeeds(words, certain)
        result = self._succeeds(words[1:], certain)
        return None if result is None else not result

    def _succeeds(self, words: list[str], certain: bool) -> Truth:
        match words:
            case ["[" | "test", *tests]:
                return test(tests, self._exists)
            case ["true", *_] | []:
                return True
            case ["false", *_]:
                return False
        self._command(words, certain and not self.guess)
        return True if words[0] in _ALWAYS_DONE or _assigned(words) else None

    def _exists(self, path: str) -> bool:
        self.steps += LOOK
        return self.exists(path)


def _assigned(words: Sequence[str]) -> tuple[str, str] | None:
    """The variable that a command sets, and its value."""
    told = "".join(words[1:2]) if words[0] == "set" else words[0]
    name, sign, value = told.partition("=")
    return (name, value[:MAX_VALUE]) if sign and _NAME.fullmatch(name) else None


def _shifted(words: Sequence[str], arguments: Sequence[str]) -> Sequence[str]:
    """The arguments without as many as ``shift`` says; all of them where there are fewer."""
    count = _number(words, otherwise=0) if words[1:] else 1
    return arguments[count:] if count <= len(arguments) else arguments


def _number(words: Sequence[str], *, otherwise: int) -> int:
    """The number behind a command's name."""
    told = "".join(words[1:2])
    return int(told[:6]) if told.isascii() and told.isdigit() else otherwise


def _set_by(words: Sequence[str]) -> Iterator[str]:
    """The variables that a command sets to what shows only at the start."""
    if words[0] == "read":
        yield from words[1:]
    for word, following in itertools.pairwise([*words, ""]) if words[0] in _SETTERS else ():
        if word.startswith("--set="):
            yield word[6:].rpartition(":")[2]
        elif word in ("--set", "-s") and words[0] != "search":  # which means root without a name
            yield following.rpartition(":")[2]
