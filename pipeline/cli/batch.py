"""``imgprep batch``: many images; and what became of them: ``batch status``, ``batch retry``."""

from __future__ import annotations

import json as json_module
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.cli import batch_plan, completion, output
from pipeline.cli import options as opt
from pipeline.cli.running import Audience
from pipeline.errors import UsageError
from pipeline.text import clean, duration

if TYPE_CHECKING:
    from pipeline.batch.ledger import Ledger, State
    from pipeline.batch.main import BatchOptions
    from pipeline.batch.plan import Task

DO = "do"
"""The command behind ``imgprep batch`` itself; nobody types it."""


class _Group(TyperGroup):
    """A group that is a command as well: what is no subcommand's name is an argument."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args:
            args = ["--help"]
        return super().parse_args(ctx, args if args[0] in self.commands else [DO, *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == DO else name), command, rest


def add_to(app: typer.Typer) -> None:
    """Add ``batch`` and its subcommands."""
    group = typer.Typer(
        cls=_Group, name="batch", help="Do many images, and continue what was begun."
    )
    group.command(DO, hidden=True)(do)
    group.command()(status)
    group.command()(retry)
    app.add_typer(group)


Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, max=1024, help="Images at a time [default: by cores and memory]."
    ),
]
MaxFailures = Annotated[
    int | None,
    typer.Option(
        "--max-failures",
        metavar="N",
        min=1,
        help="Begin no more images when N have failed or were refused.",
    ),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="The same as --max-failures 1.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Have the jobs done by a Dask cluster, as tcp://host:8786 [needs imgprep[cluster]].",
    ),
]
LimitRate = Annotated[
    str | None,
    typer.Option(
        "--limit-rate",
        metavar="RATE",
        help="Bytes a second to stores, and from servers, of all images together: "
        "500k, 10M, 1.5G (KiB, MiB, GiB).",
    ),
]
Background = Annotated[
    bool, typer.Option("--background", help="Leave cores and disks to everybody else first.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Look anew; neither use nor keep known facts.")
]
Directory = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="The batch's directory, as imgprep batch names it.", show_default=False
    ),
]


def do(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="MANIFEST|IMAGE...",
            help="A manifest (YAML or JSON); or, with --to, images.",
            show_default=False,
        ),
    ],
    to: str | None = typer.Option(
        None, "--to", metavar="DEST", help="Store every IMAGE here; no manifest is needed."
    ),
    *,
    profile: Annotated[
        list[str],
        typer.Option(
            "--profile",
            metavar="NAME|FILE",
            autocompletion=completion.profiles,
            help="With --to: whose requirements to judge by; may be given several times.",
            default_factory=list,
            show_default=False,
        ),
    ],
    guest: opt.GuestMode = opt.Guest.AUTO,
    if_exists: opt.IfExistsMode = opt.IfExists.FAIL,
    create: opt.Create = False,
    unpack: opt.Unpack = False,
    reclaim: opt.Reclaim = False,
    identity: Annotated[
        opt.Identity | None,
        typer.Option(
            "--identity",
            help="What makes it the same image: stat (this very file, unchanged) or content (the same "
            "bytes, wherever they lie) [default: by the manifest, else stat; content with --scheduler].",
            show_default=False,
        ),
    ] = None,
    directory: Path | None = typer.Option(
        None,
        "--dir",
        metavar="DIR",
        help="Where the ledger and what a resume needs are kept [default: MANIFEST.batch beside "
        "the manifest, imgprep.batch without one].",
    ),
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    only: str | None = typer.Option(
        None,
        "--only",
        metavar="STATE",
        help="Do only what is pending, failed, refused or skipped.",
    ),
    max_failures: MaxFailures = None,
    fail_fast: FailFast = False,
    limit_rate: LimitRate = None,
    background: Background = False,
    no_cache: NoCache = False,
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the plan, begin nothing."),
    reports: opt.Reports,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    log: opt.Log = None,
    events: opt.Events = None,
    color: opt.ColorMode = opt.Color.AUTO,
) -> None:
    """Do many images: judge each, and store it where the manifest says.

    The same command continues after anything, and does only what is missing or has changed.
    "imgprep batch status DIR" shows how far it is, "imgprep batch retry DIR" does again what failed.
    """
    from pipeline.batch import manifest, plan
    from pipeline.model import Options

    del color  # read before everything else
    if to is None:
        _require_none_given(
            context, ("profile", "guest", "if_exists", "create", "unpack", "reclaim")
        )
        found = manifest.load(Path(_only_one(images)))
        place = directory or Path(images[0]).with_suffix(".batch")
    else:
        chosen = Options(
            guest=guest.value,
            if_exists=if_exists.value,
            create=create,
            unpack=unpack,
            reclaim=reclaim,
        )
        found = manifest.of_images(images, to, tuple(profile), chosen)
        place = directory or Path("imgprep.batch")
    out = output.parse(reports, json=json)
    known_by: manifest.Identity | None = identity.value if identity else None
    most = 1 if fail_fast else max_failures
    how = _plan(place, jobs, only, most, limit_rate, scheduler, no_cache=no_cache)
    tasks = _told(lambda: plan.make(found, here=scheduler is None, identity=known_by))
    if dry_run:
        batch_plan.show(how, tasks, json=json)
        return
    _run(how, tasks, out, Audience(quiet, events, verbose, log), background=background)


def status(directory: Directory, json: opt.AsJson = False) -> None:
    """Show what became of every image of a batch; it may be at work."""
    from pipeline.batch import summary
    from pipeline.batch.ledger import read_ledger

    with read_ledger(directory) as ledger:
        if json:
            typer.echo(json_module.dumps(summary.as_json(ledger), indent=2))
            return
        for row in ledger.rows():
            seconds = f" in {duration(row.seconds)}" if row.seconds else ""
            reason = f": {clean(row.reason, 300)}" if row.reason else ""
            typer.echo(f"{row.state:<8} {clean(row.job.source)}{seconds}{reason}")
        for line in summary.lines(ledger):
            typer.echo(line)


def retry(
    directory: Directory,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    only: str = typer.Option("failed", "--only", metavar="STATE", help="What is done again."),
    max_failures: MaxFailures = None,
    fail_fast: FailFast = False,
    limit_rate: LimitRate = None,
    background: Background = False,
    no_cache: NoCache = False,
    *,
    reports: opt.Reports,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    log: opt.Log = None,
    events: opt.Events = None,
    color: opt.ColorMode = opt.Color.AUTO,
) -> None:
    """Do again what failed, without the manifest."""
    del color
    most = 1 if fail_fast else max_failures
    plan = _plan(directory, jobs, only, most, limit_rate, scheduler, no_cache=no_cache)
    from pipeline.batch.ledger import read_ledger

    with read_ledger(directory):  # an error where there is none: retry makes no new batch
        pass
    out = output.parse(reports, json=json)
    _run(plan, None, out, Audience(quiet, events, verbose, log), background=background)


def _require_none_given(context: typer.Context, names: Sequence[str]) -> None:
    """Raise ``UsageError`` for options that the manifest's own would silently stand above."""
    sources = [(name, context.get_parameter_source(name)) for name in names]
    given = [name for name, source in sources if source and source.name == "COMMANDLINE"]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(
            "option-beside-manifest",
            f"{flags}: beside a manifest this has no effect",
            hint="write it into the manifest (defaults, or an image's own); or give images and --to DEST",
        )


def _only_one(images: Sequence[str]) -> str:
    if len(images) == 1:
        return images[0]
    raise UsageError(
        "batch-without-destination",
        f"{len(images)} files were given, and no --to DEST",
        hint="give one manifest; or images and --to DEST",
    )


def _told(make: Any) -> Any:
    """The value; before an error of a manifest ends us, all that is wrong is listed."""
    from pipeline.batch.manifest import ManifestError

    try:
        return make()
    except ManifestError as error:
        for line in error.lines:
            print(line, file=sys.stderr)
        raise


def _plan(
    place: Path,
    jobs: int | None,
    only: str | None,
    most: int | None,
    limit_rate: str | None,
    scheduler: str | None,
    *,
    no_cache: bool,
) -> BatchOptions:
    import stages
    from pipeline.batch import cache
    from pipeline.batch.ledger import TO_DO
    from pipeline.batch.main import BatchOptions
    from pipeline.batch.runner import Policy

    return BatchOptions(
        place,
        {True: stages.for_run, False: stages.for_check},
        (_state(only),) if only else TO_DO,
        jobs,
        Policy(max_failures=most),
        _rate(limit_rate) if limit_rate else None,
        None if no_cache else cache.default_directory(),
        scheduler,
    )


_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)(?:i?B)?(?:/s)?")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _rate(text: str) -> int:
    """Bytes a second."""
    match = _RATE.fullmatch(text.strip())
    rate = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if rate < 1:
        raise UsageError(
            "rate-malformed",
            f"--limit-rate {text!r} is no rate",
            hint="give bytes a second, as 500k, 10M or 1.5G",
        )
    return rate


def _state(name: str) -> State:
    from pipeline.batch.ledger import State

    if name in set(State) - {State.RUNNING}:
        return State(name)
    raise UsageError(
        "state-unknown",
        f"--only {name}: there is no such state",
        hint="give pending, failed, refused, skipped or done",
    )


def _run(
    plan: BatchOptions,
    tasks: Sequence[Task] | None,
    out: output.Output,
    audience: Audience,
    *,
    background: bool,
) -> None:
    from pipeline.batch import main
    from pipeline.batch.ledger import read_ledger
    from pipeline.batch.stopping import stop_on_signals
    from pipeline.cli.batch_watch import watches
    from pipeline.tools.background import step_back

    if background:
        step_back()
    with stop_on_signals() as stop, watches(audience) as watch:
        code = main.run(plan, tasks, watch, stop)
    with read_ledger(plan.directory) as ledger:
        _conclude(ledger, plan.directory, out)
    raise typer.Exit(code)


def _conclude(ledger: Ledger, place: Path, out: output.Output) -> None:
    """The summary, and every report that was asked for, as one document of all images."""
    from pipeline.batch import summary
    from pipeline.batch.ledger import State

    told = [*summary.lines(ledger), f"reports and state: {clean(str(place))}"]
    if ledger.counts()[State.FAILED]:
        told.append(f"do again what failed: imgprep batch retry {clean(str(place))}")
    for line in told:
        typer.echo(line, err=out.machine_on_stdout)
    if out.targets:
        out.deliver_several(list(ledger.reports()))
