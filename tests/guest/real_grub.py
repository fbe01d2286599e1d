"""GRUB itself as the truth: a disk for it alone whose grub.cfg runs scripts, and random scripts to run."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from guests import GRUB_CFG
from machines import said_until, started
from phony import files_of, planted

from pipeline.guest import boot
from pipeline.guest.boot import script, shell, words

NEEDED = pytest.mark.needs(
    "grub-mkrescue", "grub-script-check", "xorriso", "mformat", "qemu-system-x86_64"
)
TREE = dict.fromkeys(
    ("boot/a-1", "boot/a-2", "boot/b-1", "boot/b[1]", "boot/.a-0", "boot/c*1", "boot/c-1"), ""
)
"""What patterns match."""
_START = "serial\nterminal_output serial\n" + "".join(
    f"insmod {name}\n" for name in ("regexp", "echo", "eval", "test")
)
_FRESH = "unset a; unset b; unset x; unset none; set two='x y'\n"


def printed(scripts: Sequence[str], work: Path) -> list[str]:
    """What each script prints, with one space for any blanks; errors are left out."""
    told = [f"{_FRESH}echo '[[{at}'\n{text}\necho ']]'\n" for at, text in enumerate(scripts)]
    planted(work / "tree", {**TREE, GRUB_CFG: _START + "".join(told) + "echo the end\n"})
    subprocess.run(
        ["grub-mkrescue", "-o", work / "grub.iso", work / "tree"], check=True, capture_output=True
    )
    with started(work / "grub.iso", work / "console") as machine:
        said = said_until(machine, work / "console", "the end")
    found = dict(re.findall(r"\[\[(\d+)\s+(.*?)\s*\]\]", re.sub("error: .*", "", said), re.DOTALL))
    return [" ".join(found.get(str(at), "nothing").split()) for at in range(len(scripts))]


def listed(text: str) -> str:
    """What we say that a script prints; what may or may not be printed is in brackets, ? is unknown."""
    said = list[str]()
    files = files_of(TREE)
    interpreter = shell.Interpreter(
        {"two": "x y"},
        lambda words, _: said.extend([" ".join(words[1:])] * (words[0] == "echo")),
        lambda *_: None,
        lambda _: False,
        lambda pattern: boot.located.matching(files, pattern),
        lambda words, _: said.extend([f"[{' '.join(words[1:])}]"] * (words[0] == "echo")),
    )
    interpreter.run(script.parse(text))
    return " ".join(said).replace(words.UNKNOWN, "?")


def is_script(text: str) -> bool:
    """Whether GRUB's own parser takes it."""
    return (
        subprocess.run(["grub-script-check"], input=text.encode(), capture_output=True).returncode
        == 0
    )


class Scripts:
    """Random scripts without end, in whose words all quotes, variables and patterns come."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def __iter__(self) -> Iterator[str]:
        while True:
            text = "".join(f"{self._statement(0)}\n" for _ in range(self._random.randint(2, 5)))
            if is_script(text):
                yield text

    def _one(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _word(self) -> str:
        name = self._one("a", "b", "two", "x")
        return self._one(
            "p", "q1", "x=1", "0", "7", "=", "!", "v w", "\\$a", "a\\ b", '\\"', "a#b",
            f"${name}", f"${name}", f"${{{name}}}", f"${{{name}}}-*", f"p${name}", f'"${name}"',
            f"${name}'z'", "'s t'", "'$a'", "''", "'/boot/b-'?", "'a;b'", '"s t"', '""', '"${two}!"',
            '"\\"q\\""', '"\\$a"', "\"it's\"", '"a\\b"', "/boot/b-*", "/boot/none-*", '$two"-"$a',
            '"$@"', "$#", "$1",
        )  # fmt: skip

    def _condition(self) -> str:
        one, two, three = (
            self._one('"$a"', "x$b", "$x", "xp", '"$two"', '"x y"', "''", "1", "02", "-n") for _ in range(3)
        )  # fmt: skip
        sign = (
            self._one("=", "==", "!=", "<", ">=", "-eq", "-lt", "-ge")
            .replace("<", "'<'")
            .replace(">", "'>'")
        )
        return self._one(
            f"[ {one} {sign} {two} ]", f"[ ! {one} {sign} {two} ]", f"! test {one} {sign} {two}",
            f"[ -n {one} -a {two} {sign} {three} ]", f"[ {one} {sign} {two} -o -z {three} ]",
            f"[ ( {one} -o {two} ) -a ! {three} ]", f"[ {one} ]", "true", "false",
            f"a={one}", f"false; test {one}",
        )  # fmt: skip

    def _statement(self, depth: int) -> str:
        body = self._body
        name = self._one("a", "b", "two", "x")
        simple = (
            f"echo '<' {self._word()} {self._word()} '>'", f"echo '<' {self._word()} '>'",
            f"{name}={self._word()}", f"set {name}={self._word()}", f"unset {name}", 'echo "$a|$b|$two|$x"',
            "eval 'echo $b $two'", "eval 'echo \"<\" $a'", 'eval "set a=q"',
            "eval 'if true; then echo T; fi'",
            *(("break", "continue", "return", "break 2") if depth else ("shift",)),
        )  # fmt: skip
        if depth > 3 or self._random.random() < 0.5:
            return self._one(*simple)
        called, count = f"f{self._random.randrange(10**6)}", f"y{depth}"
        functions = () if depth else (
            f"function {called} {{ {body(depth)}}}\n{called} {self._word()} {self._word()}",
        )  # fmt: skip
        return self._one(
            *functions,
            f"if {self._condition()}; then {body(depth)}fi",
            f"if {self._condition()}; then {body(depth)}elif {self._condition()}; then {body(depth)}"
            f"else {body(depth)}fi",
            f"for {name} in {self._word()} {self._word()}; do {body(depth)}done",
            f"{count}=; while [ x${count} != xaa ]; do {count}=a${count}; {body(depth)}done",
        )  # fmt: skip

    def _body(self, depth: int) -> str:
        count = self._random.randint(1, 3)
        return "".join(self._statement(depth + 1) + self._one("; ", "\n") for _ in range(count))
