"""The options that several commands share, each with its help in one place."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.errors import UsageError
from pipeline.stores.schemes import credentials, forms


class Guest(StrEnum):
    """Whether to look at the operating system inside."""

    AUTO = "auto"
    REQUIRE = "require"
    DIRECT = "direct"
    APPLIANCE = "appliance"
    OFF = "off"


class FailOn(StrEnum):
    """The least severity that makes the exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"


class Color(StrEnum):
    """Whether the output is coloured."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class IfExists(StrEnum):
    """What to do when the object is already there."""

    FAIL = "fail"
    SKIP = "skip"
    REPLACE = "replace"


class Format(StrEnum):
    """What an image can be converted to; the keys of ``targets.choice.FORMATS``, not loaded here."""

    VHD = "vhd"
    VHD_FIXED = "vhd-fixed"
    QCOW2 = "qcow2"
    QCOW2_COMPRESSED = "qcow2-compressed"
    RAW = "raw"
    VMDK = "vmdk"
    VMDK_SPARSE = "vmdk-sparse"
    VHDX = "vhdx"
    VDI = "vdi"


class Identity(StrEnum):
    """What makes a source the same one in another run."""

    STAT = "stat"
    CONTENT = "content"


class VerifyBy(StrEnum):
    """How the stored object is proved."""

    MANIFEST = "manifest"
    READBACK = "readback"


class Checksum(StrEnum):
    """What is computed of a local file while it is written."""

    SHA256 = "sha256"
    NONE = "none"


Image = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="The disk image, a file or an address (s3://, swift://, http://, https://): qcow2, VHD, raw, "
        "VMDK, VHDX or VDI. It is never changed.",
        show_default=False,
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...",
        help="Disk images: files, patterns ('*.qcow2'), directories of images, or addresses (s3://, "
        "swift://, http://, https://). They are never changed.",
        show_default=False,
    ),
]
ProfileName = Annotated[
    str,
    typer.Option(
        "--profile",
        metavar="NAME|FILE",
        envvar="IMGPREP_PROFILE",
        autocompletion=completion.profiles,
        help="Whose requirements to judge by; 'imgprep profiles' lists them.",
    ),
]
OptionalProfile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME|FILE",
        autocompletion=completion.profiles,
        help="Refuse the file when it does not fit these requirements as it is.",
        show_default=False,
    ),
]
ProfileNames = Annotated[
    list[str],
    typer.Option(
        "--profile",
        metavar="NAME|FILE",
        envvar="IMGPREP_PROFILE",
        autocompletion=completion.profiles,
        help="Whose requirements to judge by; 'imgprep profiles' lists them. May be given several times; "
        "'all' are every cloud's newest [default: rackspace].",
        default_factory=list,
        show_default=False,
    ),
]
AnyProfile = Annotated[
    bool, typer.Option("--any", help="Exit with 0 when at least one of the profiles takes IMAGE.")
]
GuestMode = Annotated[
    Guest,
    typer.Option(
        "--guest",
        envvar="IMGPREP_GUEST",
        help="How to look at the system inside: auto (read it directly, and by a virtual machine only what "
        "that cannot read), require (the same, and fail if it cannot be read), direct (never a virtual "
        "machine), appliance (always one), off (requirements on it stay unknown).",
    ),
]
FailOnLevel = Annotated[
    FailOn,
    typer.Option("--fail-on", envvar="IMGPREP_FAIL_ON", help="Exit with 1 from this severity on."),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        envvar="IMGPREP_STRICT",
        help="Exit with 7 when a requirement could not be judged.",
    ),
]
Allow = Annotated[
    list[str],
    typer.Option(
        "--allow",
        metavar="RULE=REASON",
        autocompletion=completion.waivers,
        help="Accept that this requirement does not hold; may be given several times.",
        default_factory=list,
        show_default=False,
    ),
]
Reports = Annotated[
    list[str],
    typer.Option(
        "--report",
        metavar="KIND=PATH",
        autocompletion=completion.reports,
        help="Also write a report: json, junit, sarif, markdown, html or github; PATH - is stdout. "
        "May be given several times.",
        default_factory=list,
        show_default=False,
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        "--write-baseline",
        metavar="FILE",
        help="Also write waivers for everything that fails today, for --config.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write the JSON report to stdout.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
"""Of commands that make no report."""
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        help="Tell each step and each request to a store with its time; -vv: and each program that is "
        "started.",
        show_default=False,
    ),
]
Log = Annotated[
    Path | None,
    typer.Option("--log", metavar="FILE", help="Append all that -vv tells, with dates."),
]


def _color(wanted: Color) -> Color:
    """What ``rich`` and the summaries ask is the environment."""
    if wanted is not Color.AUTO:
        on, off = (
            ("FORCE_COLOR", "NO_COLOR") if wanted is Color.ALWAYS else ("NO_COLOR", "FORCE_COLOR")
        )
        os.environ.pop(off, None)
        os.environ[on] = "1"
    return wanted


ColorMode = Annotated[
    Color,
    typer.Option(
        "--color", is_eager=True, callback=_color, help="Colours: auto is on terminals only."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Events = Annotated[
    Path | None,
    typer.Option("--events", metavar="FILE", help="Append what happens as JSON Lines."),
]
Unpack = Annotated[
    bool,
    typer.Option("--unpack", help="Unpack a gz, xz, bz2, zstd or single-disk OVA file first."),
]
AllowDevice = Annotated[bool, typer.Option("--allow-device", help="IMAGE may be a block device.")]
Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="The object's name [default: the file's name, with the format's suffix].",
    ),
]
IfExistsMode = Annotated[
    IfExists,
    typer.Option("--if-exists", help="When the object is there already; skip needs equal content."),
]
Create = Annotated[
    bool,
    typer.Option(
        "--create", help="Make the container or bucket if it is missing (a directory always is)."
    ),
]
Connections = Annotated[
    int | None,
    typer.Option(
        "--connections", min=1, max=64, help="Uploads at a time [default: by the machine]."
    ),
]
IdentityBy = Annotated[
    Identity,
    typer.Option(
        "--identity",
        help="What makes it the same source: stat (this very file, unchanged) or content (the same "
        "bytes, wherever they lie: a job continues on another machine; costs one reading).",
    ),
]
JobDir = Annotated[
    Path | None,
    typer.Option("--job-dir", metavar="DIR", help="Where the state for a resume is kept."),
]
Reclaim = Annotated[
    bool,
    typer.Option(
        "--reclaim",
        help="Leave out what the guest has deleted: free space, as the file systems themselves tell it, "
        "becomes zeros. IMAGE is not changed.",
    ),
]
Verify = Annotated[
    VerifyBy,
    typer.Option(
        "--verify",
        help="manifest: checksums and structure of what is stored; readback: all data again.",
    ),
]
FileChecksum = Annotated[
    Checksum,
    typer.Option("--checksum", help="Of the local file; it takes about as long as the writing."),
]
FormatName = Annotated[
    Format | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Make this format instead of the profile's: vhd (dynamic, creator tap), vhd-fixed, "
        "qcow2, qcow2-compressed, raw, vmdk (streamOptimized), vmdk-sparse, vhdx, vdi.",
    ),
]


def is_local(destination: str) -> bool:
    """Whether DEST is a directory: that is made when it is missing, a container only on demand."""
    return destination.startswith("file:") or "://" not in destination


def require_other_files(image: str, outputs: Iterable[str | Path]) -> None:
    """Raise ``UsageError`` when something would be written over the image."""
    from pipeline.source import output_is_source

    for output in outputs:
        with suppress(OSError, ValueError):  # one of them is not there
            if os.path.samefile(image, output):
                raise output_is_source(output)


def require_file(image: str) -> None:
    """Raise ``UsageError`` for a stream, and for an address that nobody here can read.

    An image is read at any offset, more than once.
    """
    from pipeline.stores.sources.address import FORMS, is_address, parse

    if is_address(image):
        parse(image)
        return
    is_foreign = "://" in image and not os.path.exists(image)
    if image != "-" and not image.startswith("/dev/std") and not is_foreign:
        return
    what = "another address" if is_foreign else "a stream"
    raise UsageError(
        "source-not-a-path",
        f"{image} is {what}; imgprep needs a file, or one of {FORMS}",
        hint="download or save the image first, then give the path of that file",
    )


def require_place(destination: str, name: str | None) -> None:
    """Raise ``UsageError`` for a malformed DEST or NAME at once, and not after a long inspection."""
    from pipeline.stores.destination import object_name, parse

    place = parse(destination)
    if name is not None:
        object_name(place, source="", suffix="", name=name)


Destination = Annotated[
    str,
    typer.Argument(
        metavar="DEST",
        envvar="IMGPREP_DESTINATION",
        help=f"A directory's path, or {forms()}. "
        f"Credentials come from the store's usual places ({credentials()}).",
        show_default=False,
    ),
]
