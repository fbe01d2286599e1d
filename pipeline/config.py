"""``.imgprep.toml``: defaults of the command line, and waivers with reason, owner and expiry.

    profile = "rackspace"            # or a list
    destination = "swift://images/"
    guest = "auto"
    fail-on = "error"
    strict = false

    [[waiver]]
    rule = "machine-id"
    reason = "our first-boot unit clears it"
    owner = "images@example.org"
    expires = 2027-03-31             # the last day on which it holds

Everything that is wrong with a file is told at once, each with its line.  TOML 1.0: https://toml.io
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.text import clean

NAME = ".imgprep.toml"
SETTINGS = ("profile", "destination", "guest", "fail-on", "strict")
"""What a file may set, besides waivers."""
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Waiver:
    """A requirement that need not hold for a while."""

    rule: str
    reason: str
    owner: str
    expires: date  # the last day on which it holds
    line: int  # of its table in the file

    def holds(self, today: date) -> bool:
        """Whether it has not expired."""
        return today <= self.expires

    def describe(self) -> str:
        """What stands in every report beside the finding."""
        return f"{self.reason} (owner: {self.owner}, until {self.expires.isoformat()})"

    def expired(self) -> str:
        """What stands beside the finding afterwards."""
        return f"The waiver of {self.owner} expired on {self.expires.isoformat()}."


@dataclass(frozen=True)
class Config:
    """One file's content; ``lines`` says where each setting stands."""

    path: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """``.imgprep.toml:3``."""
        return f"{self.path}:{self.lines.get(name, 1)}"


def find(directory: Path) -> Path | None:
    """The file of this directory, if there is one; its parents are not searched."""
    path = directory / NAME
    return path if path.is_file() else None


def load(path: Path) -> Config:
    """Read and check a file; raises ``UsageError`` with everything that is wrong, line by line."""
    text = _read(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(path, [str(error)]) from error
    problems = _problems(content, text)
    if problems:
        raise _invalid(path, problems)
    waivers = tuple(
        Waiver(**item, line=line_of(text, ("waiver", number)))
        for number, item in enumerate(content.get("waiver", ()))
    )
    settings = {key: content[key] for key in SETTINGS if key in content}
    if isinstance(settings.get("profile"), str):
        settings["profile"] = [settings["profile"]]
    return Config(path, settings, waivers, {key: line_of(text, (key,)) for key in settings})


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise _invalid(path, ["it is larger than 1 MiB"])
        return data.decode("utf-8")
    except OSError as error:
        raise _invalid(path, [error.strerror or str(error)]) from error
    except UnicodeDecodeError as error:
        raise _invalid(path, [f"byte {error.start} is no UTF-8"]) from error


def _problems(content: Mapping[str, Any], text: str) -> list[str]:
    """What breaks the schema, and waivers that stand twice."""
    from pipeline.profile import schemas

    plain = _with_text_dates(content)
    found = sorted(
        (line_of(text, tuple(error.absolute_path)), schemas.problem(error))
        for error in schemas.validator("config").iter_errors(plain)
    )
    seen: set[str] = set()
    for number, item in enumerate(content.get("waiver", ()) if not found else ()):
        if item["rule"] in seen:
            found.append((line_of(text, ("waiver", number)), f"a second waiver of {item['rule']}"))
        seen.add(item["rule"])
    return [
        f"line {line}: {problem.removeprefix('$.').removeprefix('$: ')}" for line, problem in found
    ]


def _with_text_dates(value: Any) -> Any:
    """The same with dates as text, which is how JSON Schema knows them; a date in quotes is none."""
    if isinstance(value, Mapping):
        return {key: _with_text_dates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_text_dates(item) for item in value]
    if type(value) is date:
        return value.isoformat()
    return f"{value!r}, not a date" if _is_quoted_date(value) else value


def _is_quoted_date(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) is not None


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line, from 1, on which a key or the n-th table of a name stands; its parent's, if unknown.

    Read from the text itself: ``tomllib`` tells no positions.  Good for files of this form, where
    tables are written as ``[[waiver]]``.
    """
    lines = text.splitlines()
    begin, end = 0, len(lines)
    steps = list(path)
    if len(steps) > 1 and isinstance(steps[1], int):
        header = re.compile(rf"\s*\[\[\s*{re.escape(str(steps[0]))}\s*\]\]")
        tables = [number for number, line in enumerate(lines) if header.match(line)]
        if steps[1] < len(tables):
            begin = tables[steps[1]]
            inside = range(begin + 1, end)
            end = next((n for n in inside if lines[n].lstrip().startswith("[")), end)
        steps = steps[2:]
    if not steps:
        return begin + 1
    key = re.compile(rf"""\s*["']?{re.escape(str(steps[0]))}["']?\s*=""")
    return next((n for n in range(begin, end) if key.match(lines[n])), begin) + 1


def _invalid(path: Path, problems: Sequence[str]) -> UsageError:
    count = f"{len(problems)} problems: " if len(problems) > 1 else ""
    shown = "; ".join(clean(problem, 300) for problem in problems)
    return UsageError(
        "config-invalid",
        f"{path} cannot be used: {count}{shown}",
        hint="schemas/config.schema.json is its form; 'imgprep config' shows what holds",
    )


# --- beside an image -----------------------------------------------------------------------------

_FAIL_ON = ("info", "warning", "error", "never")  # the strictest first


@dataclass(frozen=True)
class Tightening:
    """What a file beside an image asks for; the rest of it is ignored, for it may be a stranger's."""

    path: Path
    strict: bool = False
    fail_on: str | None = None
    guest_required: bool = False
    ignored: tuple[str, ...] = ()

    def describe(self) -> str:
        """What was taken from it, and what was not."""
        taken = [
            *(["strict"] if self.strict else []),
            *([f"fail-on {self.fail_on}"] if self.fail_on else []),
            *(["guest require"] if self.guest_required else []),
        ]
        left = f"; ignored: {', '.join(self.ignored)} (--config {self.path} would take all of it)"
        return (
            f"{self.path} tightens: {', '.join(taken) or 'nothing'}{left if self.ignored else ''}"
        )


def tightening(found: Config, *, fail_on: str) -> Tightening:
    """What ``found`` may change about a job that fails on ``fail_on``."""
    assert found.path is not None
    wanted = str(found.settings.get("fail-on", fail_on))
    stricter = _FAIL_ON.index(wanted) < _FAIL_ON.index(fail_on)
    guest_required = found.settings.get("guest") == "require"
    takes = {
        "strict": bool(found.settings.get("strict")),
        "fail-on": stricter,
        "guest": guest_required,
    }
    ignored = [key for key in found.settings if not takes.get(key)]
    if found.waivers:
        ignored.append(f"{len(found.waivers)} waiver{'' if len(found.waivers) == 1 else 's'}")
    return Tightening(
        found.path, takes["strict"], wanted if stricter else None, guest_required, tuple(ignored)
    )
