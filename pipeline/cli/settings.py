"""Where a command's settings come from: its options, then ``IMGPREP_*``, then ``.imgprep.toml``.

``--config`` is read before all other options, and what the file says becomes their defaults.  A file in the
working directory is the user's own; one beside an image may be anybody's, so it may only tighten.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import defaults
from pipeline.model import Options

if TYPE_CHECKING:
    from pipeline.config import Config, Tightening

NAME = ".imgprep.toml"  # pipeline.config's, which is only loaded where there is a file
VARIABLES: Mapping[str, str] = {
    "profile": "IMGPREP_PROFILE",
    "destination": "IMGPREP_DESTINATION",
    "guest": "IMGPREP_GUEST",
    "fail-on": "IMGPREP_FAIL_ON",
    "strict": "IMGPREP_STRICT",
}
DEFAULTS: Mapping[str, Any] = {
    "profile": [defaults.PROFILE],
    "destination": None,
    "guest": "auto",
    "fail-on": "error",
    "strict": False,
}


def _read(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make the file's settings this command's defaults; raises ``UsageError``."""
    if ctx.resilient_parsing:  # completing a word
        return path
    if path is None and not os.path.isfile(NAME):
        return None
    from pipeline import config

    found = config.load(path or Path(NAME))
    ctx.obj = found
    ctx.default_map = _default_map(ctx, found)
    return found.path


def _default_map(ctx: typer.Context, found: Config) -> dict[str, Any]:
    """What the file says, for the parameters that a variable can set too: upload's profile is none."""
    own = {item.name: item for item in ctx.command.params}
    values = {key.replace("-", "_"): value for key, value in found.settings.items()}
    values = {name: value for name, value in values.items() if name in own and own[name].envvar}
    if "profile" in values and not getattr(own["profile"], "multiple", False):
        values["profile"] = values["profile"][0]
    return values


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="IMGPREP_CONFIG",
        is_eager=True,
        callback=_read,
        help=f"Take defaults and waivers from this file [default: {NAME} in the working directory].",
        show_default=False,
    ),
]


def current(ctx: typer.Context) -> Config | None:
    """The file that this command's defaults came from."""
    found: Config | None = ctx.obj
    return found


def with_waivers(ctx: typer.Context, options: Options, profile_name: str) -> Options:
    """``options`` with the file's waivers of this profile's rules; an option's own reason wins."""
    found = current(ctx)
    if found is None or not found.waivers:
        return options
    from pipeline import profile

    loaded = profile.load(profile_name)
    today = datetime.now(UTC).astimezone().date()
    mine = [item for item in found.waivers if loaded.requirement(item.rule)]
    _require_known(found)
    allow = {item.rule: item.describe() for item in mine if item.holds(today)}
    expired = {item.rule: item.expired() for item in mine if not item.holds(today)}
    given = options.allow
    return replace(
        options,
        allow={**allow, **given},
        expired={rule: words for rule, words in expired.items() if rule not in given},
    )


def _require_known(found: Config) -> None:
    from pipeline import profile
    from pipeline.errors import UsageError

    strangers = [item for item in found.waivers if item.rule not in profile.rules()]
    if strangers:
        listed = "; ".join(f"line {item.line}: {item.rule}" for item in strangers)
        raise UsageError(
            "config-invalid",
            f"{found.path} waives rules that do not exist: {listed}",
            hint="'imgprep explain' lists the rules",
        )


def tightening_beside(ctx: typer.Context, image: str, options: Options) -> Tightening | None:
    """What a file beside the image asks for; it is told to the person."""
    path = Path(image).parent / NAME
    used = current(ctx)
    if not path.is_file() or _is_same(path, Path(NAME)) or (used and _is_same(path, used.path)):
        return None
    from pipeline import config

    found = config.tightening(config.load(path), fail_on=options.fail_on)
    typer.echo(f"note: {found.describe()}", err=True)
    return found


def tightened(ctx: typer.Context, options: Options, found: Tightening | None) -> Options:
    """``options`` made stricter, except for those that were given on the command line."""
    if found is None:
        return options

    def open_to(name: str) -> bool:
        source = ctx.get_parameter_source(name)
        return source is None or source.name in ("DEFAULT", "DEFAULT_MAP")

    fail_on: Any = found.fail_on if found.fail_on and open_to("fail_on") else options.fail_on
    return replace(
        options,
        strict=options.strict or (found.strict and open_to("strict")),
        fail_on=fail_on,
        guest="require" if found.guest_required and open_to("guest") else options.guest,
    )


def for_job(ctx: typer.Context, options: Options, profile_name: str, image: str) -> Options:
    """``options`` with waivers of this profile, and tightened by what is beside the image."""
    return tightened(
        ctx, with_waivers(ctx, options, profile_name), tightening_beside(ctx, image, options)
    )


def _is_same(one: Path, other: Path | None) -> bool:
    with suppress(OSError):
        return other is not None and os.path.samefile(one, other)
    return False


def sources(found: Config | None) -> list[tuple[str, Any, str]]:
    """Each setting with its value and where it comes from, for ``imgprep config``."""
    told = []
    for name, default in DEFAULTS.items():
        variable = VARIABLES[name]
        if os.environ.get(variable):
            told.append((name, os.environ[variable], variable))
        elif found and name in found.settings:
            told.append((name, found.settings[name], found.place(name)))
        else:
            told.append((name, default, "default"))
    return told
