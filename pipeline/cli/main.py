"""The command ``imgprep``: what a person types, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

import typer

from pipeline import __version__
from pipeline.cli import about, jobs, objects
from pipeline.errors import ImgprepError
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


for commands in (jobs, objects, about):
    commands.add_to(app)


def main() -> None:
    """Run the command line: expected errors are two lines, a bug is one line and a log."""
    try:
        app(prog_name="imgprep")
    except ImgprepError as error:
        _say_error(error)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        # whoever read our output has gone; Python would complain once more when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(ExitCode.OK) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:  # noqa: BLE001  # the last resort: a bug of ours
        print(
            f"imgprep: this is a bug: {clean(repr(error), 200)}; see {_log(error)}", file=sys.stderr
        )
        raise SystemExit(ExitCode.BUG) from None


def _say_error(error: ImgprepError) -> None:
    print(f"imgprep: {error.title}: {clean(error.message, 2000)} [{error.code}]", file=sys.stderr)
    if error.hint:
        print(f"  {clean(error.hint, 2000)}", file=sys.stderr)


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
