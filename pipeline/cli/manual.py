"""The manual pages, made from the command line itself: ``python -m pipeline.cli.manual DIRECTORY``.

    imgprep.1            what there is, exit codes, environment, files
    imgprep-check.1 …    one for each command and subcommand

man(7) macros: https://man7.org/linux/man-pages/man7/man.7.html
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from pipeline import __version__
from pipeline.cli.batch import DO
from pipeline.cli.main import app

EXIT_CODES = (
    ("0", "done; no finding at or above --fail-on"),
    ("1", "the image is refused"),
    ("2", "usage, configuration, profile or manifest error"),
    ("3", "the environment failed: file or tool missing, no space; the verdict is unknown"),
    ("4", "the conversion failed, or its output failed verification"),
    ("5", "the store failed: authentication, network, quota, checksum"),
    ("6", "the cloud refused the import task"),
    ("7", "undetermined: a requirement could not be judged, and --strict is set"),
    ("130, 143", "interrupted; state is saved, the same command continues"),
    ("70", "a bug of imgprep; the message names a log"),
)
FILES = (
    (".imgprep.toml", "defaults and waivers, in the working directory; see imgprep-config(1)"),
    ("~/.local/state/imgprep", "what an interrupted job needs to continue"),
)


def pages() -> dict[str, str]:
    """File name and text of every page."""
    group: Any = typer.main.get_command(app)
    found = {"imgprep.1": "\n".join(_overview(group)) + "\n"}
    for words, command in _commands(group):
        name = "-".join(("imgprep", *words))
        found[f"{name}.1"] = "\n".join(_page(name, words, command)) + "\n"
    return found


def _commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        inner = getattr(command, "commands", {})
        yield (*above, name), inner.get(DO, command)  # a group may be a command as well
        if inner:
            yield from _commands(command, (*above, name))


def _overview(group: Any) -> Iterator[str]:
    yield from _head(
        "imgprep", "get a disk image ready for import into a cloud, and store it there"
    )
    yield ".SH SYNOPSIS"
    yield ".B imgprep"
    yield ".I COMMAND"
    yield r"[\fIOPTION\fR ...]"
    yield ".SH DESCRIPTION"
    yield _escaped(_first(group.help))
    yield ".SH COMMANDS"
    for words, command in _commands(group):
        yield ".TP"
        yield rf"\fB{_escaped('imgprep-' + '-'.join(words))}\fR(1)"
        yield _escaped(_first(command.help))
    yield from _table("EXIT STATUS", EXIT_CODES)
    yield from _table("FILES", FILES)


def _page(name: str, words: tuple[str, ...], command: Any) -> Iterator[str]:
    yield from _head(name, _first(command.help).rstrip("."))
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [item for item in command.params if item.param_type_name == "option"]
    yield ".SH SYNOPSIS"
    yield rf".B {_escaped(' '.join(('imgprep', *words)))}"
    yield r"[\fIOPTION\fR ...]"
    for argument in arguments:
        yield f".I {_escaped(_shown(argument))}"
    yield ".SH DESCRIPTION"
    for number, paragraph in enumerate(re.split(r"\n\s*\n", (command.help or "").strip())):
        if number:
            yield ".PP"
        yield _escaped(" ".join(paragraph.split()))
    if arguments:
        yield ".SH ARGUMENTS"
        for argument in arguments:
            yield ".TP"
            yield f".I {_escaped(_shown(argument))}"
            yield _escaped(argument.help or "")
    yield ".SH OPTIONS"
    for option in options:
        if not option.hidden:
            yield from _option(option)
    yield ".SH SEE ALSO"
    yield ".BR imgprep (1)"


def _option(option: Any) -> Iterator[str]:
    yield ".TP"
    names = ", ".join(rf"\fB{_escaped(name)}\fR" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag or option.count else rf" \fI{_escaped(_shown(option))}\fR"
    yield names + value
    told = [option.help or ""]
    if option.show_default and option.default not in (None, False, ()) and not option.count:
        default = getattr(option.default, "value", option.default)
        told += [] if callable(default) else [f"[default: {default}]"]
    if option.envvar:
        told.append(f"[environment: {option.envvar}]")
    yield _escaped(" ".join(part for part in told if part))


def _shown(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    choices = getattr(parameter.type, "choices", None)
    if choices:
        return "|".join(str(getattr(choice, "value", choice)) for choice in choices)
    return str(parameter.type.name).upper()


def _head(name: str, what: str) -> Iterator[str]:
    yield f'.TH {_escaped(name.upper())} 1 "" "imgprep {__version__}"'
    yield ".SH NAME"
    yield rf"{_escaped(name)} \- {_escaped(what)}"


def _table(title: str, rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {title}"
    for label, text in rows:
        yield ".TP"
        yield rf"\fB{_escaped(label)}\fR"
        yield _escaped(text)


def _first(text: str | None) -> str:
    """The first paragraph in one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


def _escaped(text: str) -> str:
    """Text that roff leaves as it is: no escapes, no hyphenation of options, no request lines."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


def write(directory: Path) -> None:
    """Write every page, and remove those of commands that are gone."""
    directory.mkdir(parents=True, exist_ok=True)
    found = pages()
    for old in directory.glob("*.1"):
        if old.name not in found:
            old.unlink()
    for name, text in found.items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
