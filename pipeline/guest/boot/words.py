"""GRUB 2's words: variables are put in, what is in no quotes is split at blanks, and may be a pattern.

    $two/z        x, y/z      with two="x y"
    "$two/z"      x y/z
    "$@" $1 $#    the arguments of a function or of a menu's entry as they are, the first, their number
    '/boot/b*'-?              the files that match; the asterisk in quotes is an asterisk

https://www.gnu.org/software/grub/manual/grub/grub.html (Shell-like scripting; regexp); what it leaves open
was asked of GRUB 2.06.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.guest.boot.script import Part, Word

UNKNOWN = "\0"
"""What a variable holds when that shows only at the start; no text of a script has it."""
SOME_DEVICE = f"({UNKNOWN})"
"""That is enough to know a path on it."""
MAX_VALUE = 8192  # characters of a variable, of a word
MAX_TEXT = 1 << 16  # characters of a command; the longest that a kernel takes are some 4,000

_NAME = r"[A-Za-z_]\w*|\d+|[@*#?]"
_VARIABLE = re.compile(rf"\$(?:\{{({_NAME})\}}|({_NAME}))", re.ASCII)
_EACH = re.compile(r"\$(?:@|\{@\})")
_WORD = re.compile(r"[^ \t\n\v\f\r]+")
_WILD = re.compile(r"(?<!\[)[*?]")
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Values:
    """What stands for variables."""

    variables: Mapping[str, str]
    arguments: Sequence[str] | None = None  # None: outside of functions

    def get(self, name: str) -> str:
        """The value of one; nothing where it is not set."""
        given = self.arguments or ()
        if name.isdigit():
            return "".join(given[int(name[:6]) - 1 :][:1]) if int(name[:6]) else ""
        if name in ("@", "*"):
            return " ".join(given)
        if name == "#":
            return "" if self.arguments is None else str(len(given))
        return UNKNOWN if name == "?" else self.variables.get(name, "")


class Text(NamedTuple):
    """A word as a command gets it, and the pattern that it is (glob(7)): ``[*]`` was in quotes."""

    text: str
    pattern: str

    def with_behind(self, other: Text) -> Text:
        """Both as one word."""
        return Text(self.text + other.text, self.pattern + other.pattern)

    @property
    def is_wild(self) -> bool:
        """Whether it may stand for other words."""
        return _WILD.search(self.pattern) is not None

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for files whose device is known."""
        device, _, _ = self.pattern.partition(")") if self.text.startswith("(") else ("", "", "")
        return self.text[:1] in ("/", "(") and not _WILD.search(device) and self.is_wild

    @property
    def any_of(self) -> str:
        """What is known of all that it stands for: of a path on some device, the path."""
        device = re.match(r"\([^)]*\)", self.text)
        _, _, path = self.pattern.partition(")")
        if not device:
            return UNKNOWN
        return SOME_DEVICE + (UNKNOWN if _WILD.search(path) else self.text[device.end() :])


def texts(words: Sequence[Word], values: Values) -> list[Text]:
    """What words come to: one that is nothing but an empty variable vanishes.

    Of ``MAX_TEXT`` characters in about: what a command has beyond them is left out.
    """
    found, left = list[Text](), MAX_TEXT
    for word in words:
        if left <= 0:
            break
        new = _texts(word, values)
        found += new
        left -= 1 + sum(len(each.text) for each in new)
    return found


def _texts(word: Word, values: Values) -> list[Text]:
    found, left = list[Text](), MAX_VALUE
    for part in word:
        for pieces in _pieces(part, values):
            for at, piece in enumerate(pieces):
                if left <= 0:
                    return found
                new = Text(piece[:left], _pattern(piece[:left], quoted=part.quoted))
                if at or not found:
                    found.append(new)
                else:
                    found[-1] = found[-1].with_behind(new)
                left -= len(new.text)
    return found


def _pieces(part: Part, values: Values) -> Iterator[list[str]]:
    """Of a part what joins what is before it, and then what stands for itself."""
    if not part.live:
        yield [part.text]
    elif part.quoted:
        first, *others = _EACH.split(part.text)
        yield [expand(first, values)]
        for text in others:
            yield list(values.arguments or ())
            yield [expand(text, values)]
    else:
        for literal, name in _split(part.text):
            yield [literal] if literal else []
            yield _WORD.findall(values.get(name)) if name else []


def _split(text: str) -> Iterator[tuple[str, str]]:
    """A text that is no variable, and the name of the variable behind it."""
    at = 0
    for match in _VARIABLE.finditer(text):
        yield text[at : match.start()], match[1] or match[2]
        at = match.end()
    yield text[at:], ""


def _pattern(text: str, *, quoted: bool) -> str:
    return _MAGIC.sub(r"[\g<0>]", text) if quoted else text.replace("[", "[[]")


def expand(text: str, values: Values) -> str:
    """Variables put in; those that are not set are empty, as in GRUB."""
    found, left = list[str](), MAX_VALUE
    for literal, name in _split(text):
        found.append(literal + (values.get(name) if name else ""))
        left -= len(found[-1])
        if left <= 0:  # or a line of variables would fill the memory
            break
    return "".join(found)[:MAX_VALUE]
