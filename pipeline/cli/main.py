"""The command ``imgprep``: what a person types, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import typer

from pipeline import __version__, paragraphs
from pipeline.cli import about, batch, jobs, objects, report, streams
from pipeline.errors import EnvironmentFailed, ImgprepError
from pipeline.model import ExitCode
from pipeline.text import clean

app = typer.Typer(
    name="imgprep",
    help="Get a disk image ready for import into a cloud, and store it there, proved.\n\n"
    "Start with:  imgprep check disk.qcow2   then:  imgprep run disk.qcow2 out/",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the image is refused, 2 wrong usage, 3 the machine failed, "
    "4 the conversion failed, 5 the store failed, 6 the cloud refused, 7 undetermined (--strict), "
    "130/143 interrupted. 'imgprep explain NAME' explains any rule or error.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imgprep {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    del version


for commands in (jobs, batch, objects, report, about):
    commands.add_to(app)


def main() -> None:
    """Run the command line: expected errors are two lines, a bug is one line and a log."""
    streams.open_missing()
    streams.quiet_libraries()
    try:
        app(prog_name="imgprep")
    except ImgprepError as error:
        _say_error(error)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:  # whoever read our output has gone
        raise SystemExit(ExitCode.OK) from None
    except OSError as error:
        _say_error(_machine_failed(error))
        raise SystemExit(EnvironmentFailed.exit_code) from None
    except Exception as error:  # noqa: BLE001  # the last resort: a bug of ours
        _say(f"imgprep: this is a bug: {clean(repr(error), 200)}; see {_log(error)}")
        raise SystemExit(ExitCode.BUG) from None
    finally:
        streams.give_up_output()


def _machine_failed(error: OSError) -> ImgprepError:
    """What the command line itself could not do: print, or make a directory."""
    where = f": {error.filename}" if error.filename else ""
    return EnvironmentFailed(
        "system-call-failed",
        f"{error.strerror or error}{where}",
        hint="check free space and permissions, also of where the output goes",
    )


def _say_error(error: ImgprepError) -> None:
    """Two lines, which a log keeps; on a terminal two paragraphs of its width."""
    lines = [f"imgprep: {error.title}: {clean(error.message, 2000)} [{error.code}]"]
    if error.hint:
        lines.append(f"  {clean(error.hint, 2000)}")
    if sys.stderr.isatty():
        lines = [part for line in lines for part in paragraphs.hanging(line, indent="    ")]
    for line in lines:
        _say(line)


def _say(text: str) -> None:
    """Where even stderr takes nothing, the exit code has to do."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _log(error: Exception) -> Path | str:
    """Write the traceback (without values of variables) where the person finds it."""
    import platformdirs

    text = "".join(traceback.format_exception(error))
    try:
        folder = Path(platformdirs.user_log_dir("imgprep"))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        path.write_text(f"imgprep {__version__}, Python {sys.version}\n{text}", encoding="utf-8")
    except OSError:
        sys.stderr.write(text)
        return "above"
    return path


if __name__ == "__main__":
    main()
