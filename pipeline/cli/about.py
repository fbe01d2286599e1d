"""The commands that tell about imgprep itself: profiles, explain, doctor."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli import completion, settings
from pipeline.cli import options as opt
from pipeline.errors import UsageError
from pipeline.paragraphs import beside, wrapped
from pipeline.text import clean

if TYPE_CHECKING:
    from pipeline.tools.doctor import Diagnosis

ENVIRONMENT_FAILED = 3


def add_to(app: typer.Typer) -> None:
    """Add this room's commands."""
    for command in (profiles, explain, config, doctor):
        app.command()(command)


def profiles(
    name: str | None = typer.Argument(
        None,
        metavar="[NAME|FILE|lint]",
        autocompletion=completion.profiles,
        help="Show this one: target, limits, every requirement. 'lint' checks a file of your own.",
        show_default=False,
    ),
    file: str | None = typer.Argument(
        None, metavar="[FILE]", help="The file for 'profiles lint'.", show_default=False
    ),
    markdown: bool = typer.Option(False, "--markdown", help="Show it as a page of Markdown."),
    json: opt.AsJson = False,
) -> None:
    """List the profiles, show one, or check ('lint') one of your own."""
    from pipeline import profile_text

    if name == "lint" and file is not None:
        _lint(file)
        return
    _require_sensible(name, file, markdown=markdown, json=json)
    if json:
        data = (
            profile_text.profile_data(name)
            if name
            else [asdict(line) for line in profile_text.profiles()]
        )
        typer.echo(json_module.dumps(data, indent=2))
    elif name and markdown:
        from pipeline import profile_page

        typer.echo(profile_page.markdown(name), nl=False)
    else:
        typer.echo(
            profile_text.profile_text(name) if name else profile_text.profiles_text(), nl=False
        )


def _require_sensible(name: str | None, file: str | None, *, markdown: bool, json: bool) -> None:
    if name == "lint" or file is not None:
        raise UsageError(
            "profiles-arguments",
            "a file to check is given after 'lint', and nowhere else",
            hint="imgprep profiles lint ./mine.json",
        )
    if markdown and (name is None or json):
        raise UsageError(
            "profiles-arguments",
            "--markdown shows one profile, and not as JSON",
            hint="imgprep profiles NAME --markdown",
        )


def _lint(file: str) -> None:
    """Print what is wrong with a profile's file, one mistake a line; exit code 2 when there is any."""
    from pipeline import profile

    path = file if "/" in file else f"./{file}"
    wrong = profile.lint(path)
    for line in wrong:
        typer.echo(line)
    if wrong:
        typer.echo(f"{len(wrong)} mistake{'s' if len(wrong) > 1 else ''}", err=True)
        raise typer.Exit(UsageError.exit_code)
    found = profile.load(path)
    own = sum(not item.template.gate for item in found.requirements)
    typer.echo(f"{file}: in order; {own} requirements besides those of safety")


def explain(
    name: str | None = typer.Argument(
        None,
        metavar="[RULE-OR-ERROR]",
        autocompletion=completion.explained,
        help="A rule of a finding, the code of an error, a vendor's error code, or a note of a profile.",
        show_default=False,
    ),
) -> None:
    """Explain a rule or an error; without a name, list them.

    What it means, what to do, where it comes from, and facts that pass and fail.
    """
    from pipeline import explain as explanations

    if name is None:
        typer.echo(explanations.index_text(), nl=False)
        return
    typer.echo("\n".join(explanations.text(item) for item in explanations.explain(name)), nl=False)


def config(
    ctx: typer.Context, config: settings.ConfigFile = None, json: opt.AsJson = False
) -> None:
    """Show which settings hold here, and where each comes from.

    Options come above IMGPREP_* variables, those above .imgprep.toml in the working directory or --config.
    """
    from datetime import UTC, datetime

    del config
    found = settings.current(ctx)
    told = settings.sources(found)
    today = datetime.now(UTC).astimezone().date()
    waivers = [(item, item.holds(today)) for item in (found.waivers if found else ())]
    if json:
        data = {
            "settings": {name: {"value": value, "from": origin} for name, value, origin in told},
            "waivers": [
                asdict(item) | {"expires": item.expires.isoformat(), "holds": holds}
                for item, holds in waivers
            ],
        }
        typer.echo(json_module.dumps(data, indent=2))
        return
    for name, value, origin in told:
        shown = " ".join(value) if isinstance(value, list) else str(value).lower()
        typer.echo(f"{name:<12} {clean('none' if value is None else shown):<28} {origin}")
    for item, holds in waivers:
        state = "until" if holds else "EXPIRED on"
        typer.echo(
            f"waiver       {item.rule}: {clean(item.reason)} ({clean(item.owner)}, {state} "
            f"{item.expires.isoformat()})  {found.path if found else ''}:{item.line}"
        )


def doctor(
    launch: bool = typer.Option(
        True, "--launch/--no-launch", help="Try to start the appliance (10-20 s without KVM)."
    ),
    json: opt.AsJson = False,
) -> None:
    """Check this machine, and say what to do.

    Tools and versions, confinement, KVM, the appliance (by trying them), and disk space.
    """
    from pipeline.cli.signals import cancel_on_signals
    from pipeline.tools import doctor as machine

    with cancel_on_signals() as cancellation:  # so that an appliance is ended, not left
        checks = machine.diagnose(_directories(), launch=launch, cancellation=cancellation)
        cancellation.check()
    if json:
        typer.echo(json_module.dumps([asdict(check) for check in checks], indent=2))
    else:
        column = max(len(check.name) for check in checks) + 4
        for check in checks:
            _show(check, column)
    if any(check.status == "error" for check in checks):
        raise typer.Exit(ENVIRONMENT_FAILED)


def _directories() -> dict[str, Path]:
    import tempfile

    from pipeline.journal import default_directory

    return {"state": default_directory(), "temporary files": Path(tempfile.gettempdir())}


_MARKS = {"ok": "✓", "warning": "!", "error": "✗"}


def _show(check: Diagnosis, column: int) -> None:
    lines = [*beside(f"{_MARKS[check.status]} {check.name}", clean(check.found), column)]
    if check.remedy:
        lines += wrapped(f"for {check.needed_for}; to do: {clean(check.remedy, 2000)}", "    ")
    typer.echo("\n".join(lines))
