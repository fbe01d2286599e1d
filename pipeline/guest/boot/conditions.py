"""GRUB 2's ``test``, which ``[ … ]`` is as well: carried out from left to right, as far as is known.

    a = b  -n a  -f path   tests of three words and of two are looked for first, in this order
    ! -a -o ( )            the next test is turned round; "and"; "or" of all before and all behind
    a                      any other word is true unless it is empty; nothing at all is true

What is not known may become known by "and" with what is false, by "or" with what is true.
https://www.gnu.org/software/grub/manual/grub/grub.html (test); what it leaves open was asked of GRUB 2.06.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.guest.boot.words import UNKNOWN

Truth = bool | None  # None: that shows only at the start

_NUMBER = re.compile(r"\s*(-?)(?:0x([0-9a-f]+)|0([0-7]+)|(\d+))", re.IGNORECASE | re.ASCII)
_BASES = (16, 8, 10)
_MAX = 1 << 63  # what is larger GRUB does not tell apart
_TEXTS: dict[str, Callable[[bytes, bytes], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": operator.eq, "-ne": operator.ne,
    "-lt": operator.lt, "-le": operator.le, "-gt": operator.gt, "-ge": operator.ge,
}  # fmt: skip
_OTHERS = ("-pgt", "-plt", "-nt", "-ot")  # of numbers behind equal beginnings; of times
_FILES = ("-e", "-f", "-s", "-d")


_OF_TWO = (*_TEXTS, *_NUMBERS, *_OTHERS)
_OF_ONE = ("-n", "-z", *_FILES)


@dataclass
class _Tests:
    """Those within one pair of parentheses."""

    either: Truth = False  # of those before the last -o
    every: Truth = True  # of those behind it
    turned: bool = False  # there was a !

    def add(self, value: Truth) -> None:
        """One more."""
        self.every = _and(self.every, _not(value) if self.turned else value)
        self.turned = False

    @property
    def result(self) -> Truth:
        """What they come to."""
        return _or(self.either, self.every)


def test(words: Sequence[str], exists: Callable[[str], bool]) -> Truth:
    """Whether these words are true; ``exists`` tells of files that are there for certain."""
    around, inner = list[_Tests](), _Tests()
    left = list(reversed(words[:-1] if words[-1:] == ["]"] else words))
    while left:
        if len(left) > 2 and left[-2] in _OF_TWO:
            inner.add(_of_two(left.pop(), left.pop(), left.pop()))
        elif len(left) > 1 and left[-1] in _OF_ONE:
            inner.add(_of_one(left.pop(), left.pop(), exists))
        else:
            match left.pop():
                case "!":
                    inner.turned = not inner.turned
                case "-a":
                    pass
                case "-o":
                    inner.either, inner.every = inner.result, True
                case "(":
                    around.append(inner)
                    inner = _Tests()
                case ")" if not around:
                    break
                case ")":
                    value, inner = inner.result, around.pop()
                    inner.add(value)
                case word:
                    inner.add(None if UNKNOWN in word else bool(word))
    while around:  # left open
        value, inner = inner.result, around.pop()
        inner.add(value)
    return inner.result


def _of_two(one: str, sign: str, other: str) -> Truth:
    if UNKNOWN in one + other or sign in _OTHERS:
        return None
    if sign in _TEXTS:
        return _TEXTS[sign](one.encode(), other.encode())
    left, right = _number(one), _number(other)
    return None if left is None or right is None else _NUMBERS[sign](left, right)


def _of_one(sign: str, word: str, exists: Callable[[str], bool]) -> Truth:
    if UNKNOWN in word:
        return None
    if sign in _FILES:
        return True if sign != "-d" and exists(word) else None  # or it lies on another disk
    return bool(word) == (sign == "-n")


def _number(text: str) -> int | None:
    """As C's strtol takes it, with what does not begin as a number for zero."""
    match = _NUMBER.match(text)
    if match is None:
        return 0
    sign, *numbers = match.groups()
    digits, base = next(each for each in zip(numbers, _BASES, strict=True) if each[0])
    value = int(digits.lstrip("0")[:64] or "0", base)
    return None if value >= _MAX else -value if sign else value


def _not(value: Truth) -> Truth:
    return None if value is None else not value


def _and(one: Truth, other: Truth) -> Truth:
    return False if False in (one, other) else None if None in (one, other) else True


def _or(one: Truth, other: Truth) -> Truth:
    return _not(_and(_not(one), _not(other)))
