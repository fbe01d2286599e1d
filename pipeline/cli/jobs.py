"""The commands that do a job on an image: inspect, check, convert, run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from pipeline import defaults
from pipeline.cli import baseline, output, running, settings
from pipeline.cli import images as meant
from pipeline.cli import options as opt
from pipeline.cli.running import Audience
from pipeline.errors import UsageError
from pipeline.model import Job, Options


def add_to(app: typer.Typer) -> None:
    """Add this room's commands, in the order in which a newcomer meets them."""
    for command in (inspect, check, convert, run):
        app.command()(command)


def inspect(
    image: opt.Images,
    *,  # what follows need not have a default here: some have it in options.py
    guest: opt.GuestMode = opt.Guest.AUTO,
    reports: opt.Reports,
    json: opt.Json = False,
    unpack: opt.Unpack = False,
    allow_device: opt.AllowDevice = False,
    config: settings.ConfigFile = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    log: opt.Log = None,
    events: opt.Events = None,
    color: opt.ColorMode = opt.Color.AUTO,
) -> None:
    """Say what each IMAGE is, and judge nothing.

    Its container, its disk, its partitions and file systems, and the system inside.
    """
    from stages import for_inspect

    del config, color  # read before everything else
    images = meant.expand(image)
    options = Options(guest=guest.value, unpack=unpack, allow_device=allow_device)
    jobs = [Job(path, defaults.PROFILE, options=options) for path in images.paths]
    out = output.parse(reports, json=json)
    audience = Audience(quiet, events, verbose, log)
    if images.several:
        running.do_each(jobs, for_inspect(), out, audience)
    running.do(jobs[0], for_inspect(), out, audience)


def check(
    ctx: typer.Context,
    image: opt.Images,
    *,
    profile: opt.ProfileNames,
    any_profile: opt.AnyProfile = False,
    guest: opt.GuestMode = opt.Guest.AUTO,
    fail_on: opt.FailOnLevel = opt.FailOn.ERROR,
    strict: opt.Strict = False,
    allow: opt.Allow,
    write_baseline: opt.Baseline = None,
    reports: opt.Reports,
    json: opt.Json = False,
    unpack: opt.Unpack = False,
    allow_device: opt.AllowDevice = False,
    config: settings.ConfigFile = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    log: opt.Log = None,
    events: opt.Events = None,
    color: opt.ColorMode = opt.Color.AUTO,
) -> None:
    """Judge each IMAGE by the requirements of one cloud or more.

    Lists every finding at once: what was seen, what is expected, what to do. Changes nothing. With several
    images or profiles each image is looked at once, and a table tells who takes what.
    """
    del config, color
    options = Options(
        guest=guest.value,
        fail_on=fail_on.value,
        strict=strict,
        allow=waivers(allow),
        unpack=unpack,
        allow_device=allow_device,
    )
    images, names = meant.expand(image), _profiles(profile) or [defaults.PROFILE]
    jobs = _jobs(ctx, images, names, options)
    out = output.parse(reports, json=json)
    audience = Audience(quiet, events, verbose, log)
    if write_baseline:
        baseline.require_new(write_baseline)
    if images.several or len(names) > 1 or "all" in profile:
        found = running.judge(jobs, out, audience)
    else:
        found = [running.judge_one(jobs[0], out, audience)]
    if write_baseline:
        baseline.tell(write_baseline, found)
    raise typer.Exit(running.exit_code(found, any_profile=any_profile))


def _jobs(
    ctx: typer.Context, images: meant.Images, profiles: Sequence[str], options: Options
) -> list[Job]:
    """A job for each image and profile; what stands beside an image may make its jobs stricter."""
    waived = {name: settings.with_waivers(ctx, options, name) for name in profiles}
    tightening = {path: settings.tightening_beside(ctx, path, options) for path in images.paths}
    return [
        Job(path, name, options=settings.tightened(ctx, waived[name], tightening[path]))
        for path in images.paths
        for name in profiles
    ]


def convert(
    ctx: typer.Context,
    image: opt.Image,
    target: str = typer.Argument(
        ..., metavar="OUTPUT", help="The file to write.", show_default=False
    ),
    *,
    profile: opt.ProfileName = defaults.PROFILE,
    format_name: opt.FormatName = None,
    reclaim: opt.Reclaim = False,
    checksum: opt.FileChecksum = opt.Checksum.SHA256,
    identity: opt.IdentityBy = opt.Identity.STAT,
    allow: opt.Allow,
    reports: opt.Reports,
    json: opt.Json = False,
    unpack: opt.Unpack = False,
    allow_device: opt.AllowDevice = False,
    force: bool = typer.Option(False, "--force", help="Replace OUTPUT when it exists."),
    config: settings.ConfigFile = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    log: opt.Log = None,
    events: opt.Events = None,
    color: opt.ColorMode = opt.Color.AUTO,
) -> None:
    """Write IMAGE as the cloud wants it to OUTPUT.

    Whatever needs no look at the system inside is judged first; a refused image is not converted.
    """
    from stages import for_convert

    del config, color
    options = Options(
        guest="off",
        format=format_name and format_name.value,
        keep=target,
        if_exists="replace" if force else "fail",
        allow=waivers(allow),
        unpack=unpack,
        allow_device=allow_device,
        reclaim=reclaim,
        checksum=checksum.value,
        identity=identity.value,
    )
    job = Job(image, profile, options=settings.for_job(ctx, options, profile, image))
    out = output.parse(reports, json=json)
    running.do(job, for_convert(), out, Audience(quiet, events, verbose, log))


def run(
    ctx: typer.Context,
    image: opt.Image,
    destination: opt.Destination,
    *,
    profile: opt.ProfileName = defaults.PROFILE,
    name: opt.Name = None,
    format_name: opt.FormatName = None,
    guest: opt.GuestMode = opt.Guest.AUTO,
    if_exists: opt.IfExistsMode = opt.IfExists.FAIL,
    create: opt.Create = False,
    dry_run: bool = typer.Option(False, "--dry-run", help="Plan everything, store nothing."),
    keep: str | None = typer.Option(
        None, "--keep", metavar="PATH", help="Also write the artifact to a local file."
    ),
    checksum: opt.FileChecksum = opt.Checksum.SHA256,
    reclaim: opt.Reclaim = False,
    verify: opt.Verify = opt.VerifyBy.MANIFEST,
    fail_on: opt.FailOnLevel = opt.FailOn.ERROR,
    strict: opt.Strict = False,
    allow: opt.Allow,
    connections: opt.Connections = None,
    identity: opt.IdentityBy = opt.Identity.STAT,
    job_dir: opt.JobDir = None,
    reports: opt.Reports,
    json: opt.Json = False,
    unpack: opt.Unpack = False,
    allow_device: opt.AllowDevice = False,
    config: settings.ConfigFile = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    log: opt.Log = None,
    events: opt.Events = None,
    color: opt.ColorMode = opt.Color.AUTO,
) -> None:
    """Check, convert, store in DEST, and prove it.

    The whole way, without a scratch copy of the image. Killed at any moment, the same command continues.
    """
    from stages import for_run

    del config, color
    opt.require_place(destination, name)
    options = Options(
        guest=guest.value,
        name=name,
        format=format_name and format_name.value,
        if_exists=if_exists.value,
        verify=verify.value,
        keep=keep,
        checksum=checksum.value,
        fail_on=fail_on.value,
        strict=strict,
        allow=waivers(allow),
        dry_run=dry_run,
        unpack=unpack,
        allow_device=allow_device,
        create=create or opt.is_local(destination),
        identity=identity.value,
        connections=connections,
        reclaim=reclaim,
    )
    job = Job(image, profile, destination, settings.for_job(ctx, options, profile, image))
    out = output.parse(reports, json=json)
    audience = Audience(quiet, events, verbose, log)
    stages = for_run(keep=keep is not None)
    running.do(job, stages, out, audience, job_dir=job_dir or state())


def _profiles(names: Sequence[str]) -> list[str]:
    """The profiles that are meant, each once; ``all`` are every cloud's newest."""
    from pipeline import profile

    meant: list[str] = []
    for name in names:
        meant += profile.newest() if name == "all" else [name]
    return list(dict.fromkeys(meant))


def state() -> Path:
    """Where job directories live unless the user says otherwise."""
    from pipeline.journal import default_directory

    return default_directory()


def waivers(values: Sequence[str]) -> dict[str, str]:
    """Rule and reason of every ``--allow``; raises ``UsageError`` with all that is wrong."""
    split = [value.partition("=") for value in values]
    pairs = {rule: reason for rule, _, reason in split}
    repeated = sorted({rule for rule in pairs if sum(item[0] == rule for item in split) > 1})
    if repeated:
        raise UsageError(
            "waiver-repeated",
            f"--allow {', '.join(repeated)}: given more than once",
            hint="give each rule once, with one reason",
        )
    unreasoned = sorted(rule for rule, reason in pairs.items() if not reason.strip())
    if unreasoned:
        raise UsageError(
            "waiver-without-reason",
            f"--allow {', '.join(unreasoned)}: a reason is missing",
            hint="write --allow RULE=REASON; the reason stands in every report",
        )
    return pairs
