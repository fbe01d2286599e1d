"""The nouns of imgprep: frozen data, JSON in and out, no handles and no behaviour beyond that.

    Job ──▶ stages ──▶ Outcome (facts, judgement, artifact, receipt) ──▶ Report

Sizes are bytes.  A fact that is not known is ``null`` and its section's ``unknown`` says why.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import IntEnum, StrEnum
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object: what facts, plans and records are made of."""

Facts: TypeAlias = Mapping[str, JsonObject]
"""Section name (``container``, ``disk``, ``guest``, ``result``) to that section's facts."""

T = TypeVar("T")

OMIT_NONE: Mapping[str, bool] = {"omit_none": True}
"""Metadata of a field that is not in the JSON where it is None."""


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Status(StrEnum):
    """Why a finding stands in the list."""

    FAIL = "fail"  # the requirement does not hold
    UNKNOWN = "unknown"  # it could not be judged; never counted as passed
    WAIVED = "waived"  # it does not hold, and the user allowed that with a reason


class Verdict(StrEnum):
    """The one word about a job."""

    ACCEPTED = "accepted"
    ACCEPTED_WITH_ADVICE = "accepted-with-advice"
    REJECTED = "rejected"
    UNDETERMINED = "undetermined"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class StageStatus(StrEnum):
    """How a stage ended."""

    DONE = "done"
    REUSED = "reused"  # an earlier run of the same job had done it, and it is still true
    SKIPPED = "skipped"
    FAILED = "failed"
    REFUSED = "refused"  # the image goes no further


class ExitCode(IntEnum):
    """The process's exit codes; errors carry theirs (see ``pipeline.errors``)."""

    OK = 0
    REFUSED = 1
    UNDETERMINED = 7
    BUG = 70


_FIRST_THAT_OCCURRED = (130, 143, 70, 2, 3, 5, 6, 4, 7, 1)


def combined_exit_code(codes: Iterable[int]) -> int:
    """The one exit code of several jobs: the first that occurred in the order of the public face."""
    seen = set(codes)
    return next((code for code in _FIRST_THAT_OCCURRED if code in seen), ExitCode.OK)


@dataclass(frozen=True)
class ByteRange:
    """Bytes ``offset`` to ``offset + length`` of the source file."""

    offset: int
    length: int


@dataclass(frozen=True)
class Provenance:
    """Where a requirement comes from: its text's address, and the date of that text."""

    address: str
    date: str
    note: str | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True)
class Finding:
    """One requirement that does not hold, or could not be judged."""

    rule: str
    severity: Severity
    status: Status
    title: str
    message: str  # one sentence, with the value seen
    observed: Any
    expected: str
    remedy: str
    source: Provenance
    vendor_code: str | None = field(default=None, metadata=OMIT_NONE)
    path: str | None = field(
        default=None, metadata=OMIT_NONE
    )  # the fact it speaks of, e.g. "container.virtual_size"
    fixed_by: Literal["convert"] | None = field(default=None, metadata=OMIT_NONE)
    range: ByteRange | None = field(
        default=None, metadata=OMIT_NONE
    )  # the bytes it speaks of, where they are known
    reason: str | None = field(default=None, metadata=OMIT_NONE)  # of a waiver
    # it protects whoever reads the image: never allowed, never converted
    gate: bool | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True)
class Judgement:
    """What a profile says about facts: every requirement is in exactly one of the three."""

    findings: tuple[Finding, ...] = ()
    passed: tuple[str, ...] = ()
    not_applicable: tuple[str, ...] = ()


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a source becomes for a cloud (a profile's ``x-target``).  Sizes in bytes."""

    format: str  # "vhd", "qcow2", "raw", …
    suffix: str  # of the stored object's name, with its dot
    variant: str | None = None  # "dynamic", "fixed", "streamOptimized", …
    creator: str | None = None  # the VHD's creator application
    size_multiple: int | None = None  # the size rule: virtual sizes are rounded up to one
    packing: str | None = None  # what the image is wrapped in: "gzip", "tar.gz"
    segment_size: int = 128 << 20  # of an object stored in parts
    content_type: str = "application/octet-stream"
    reclaim: bool = False  # leave out what the guest has deleted

    def rounded_up(self, size: int) -> int:
        """The virtual size of the artifact for a disk of ``size`` bytes, by the size rule."""
        multiple = max(self.size_multiple or 1, 512)
        return -(-max(size, 1) // multiple) * multiple

    def outcome(self, virtual_size: int | None) -> JsonObject:
        """What a report says of it for a disk of this size: only what is set, and the disk's size."""
        chosen = {
            "format": self.format,
            "variant": self.variant,
            "packing": self.packing,
            "suffix": self.suffix,
        }
        known = {name: value for name, value in chosen.items() if value is not None}
        size = None if virtual_size is None else self.rounded_up(virtual_size)
        return {**known, "virtual_size": size}


@dataclass(frozen=True)
class Artifact:
    """The converted image, which may never exist as a file.

    ``plan`` is what ``pipeline.targets.artifact`` makes its bytes from: plain JSON, so that any
    later process makes the same bytes.
    """

    format: str
    virtual_size: int
    size: int
    plan: JsonObject
    variant: str | None = None
    suffix: str = ""  # of its name, with the dot
    packing: str | None = None  # what it is, or will be, wrapped in; ``size`` is then the whole's
    copy: JsonObject | None = None  # the plan of a local file that holds the same bytes
    sha256: str | None = field(default=None, metadata=OMIT_NONE)
    segments: int | None = None


@dataclass(frozen=True)
class Receipt:
    """What the store holds after an upload."""

    url: str
    size: int
    segments: tuple[JsonObject, ...] = ()  # {name, offset, size, md5}, in order
    checksum: str | None = None  # the store's own: "etag:…" or "sha256:…"
    sha256: str | None = field(default=None, metadata=OMIT_NONE)  # of the whole object …
    sha256_note: str | None = field(default=None, metadata=OMIT_NONE)  # … or why it is not known
    verified: str | None = None  # None, "manifest" or "readback"
    reused_bytes: int = 0  # what the store already held
    sent_bytes: int = 0


@dataclass(frozen=True)
class Options:
    """What the user may choose about a job.  The names are those of the command line."""

    guest: Literal["auto", "require", "direct", "appliance", "off"] = "auto"
    name: str | None = None
    format: str | None = None
    if_exists: Literal["fail", "skip", "replace"] = "fail"
    verify: Literal["manifest", "readback"] = "manifest"
    keep: str | None = None
    checksum: Literal["sha256", "none"] = "sha256"  # of a local file that is written
    fail_on: Literal["error", "warning", "info", "never"] = "error"
    strict: bool = False
    allow: Mapping[str, str] = field(default_factory=dict)  # rule -> reason
    expired: Mapping[str, str] = field(default_factory=dict)  # rule -> of a waiver of the past
    dry_run: bool = False
    unpack: bool = False
    allow_device: bool = False
    create: bool = False  # make the container or bucket when it is missing
    connections: int | None = None
    reclaim: bool = False  # leave out what the guest has deleted
    identity: Literal["stat", "content"] = "stat"  # what makes a source the same one


@dataclass(frozen=True)
class Job:
    """One source, one profile, one destination: plain data that may travel between machines."""

    source: str
    profile: str | None  # None: only what makes a file unsafe is asked
    destination: str | None = None
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Outcome:
    """What a stage found out or made.  Everything in it can be written to the journal."""

    status: StageStatus = StageStatus.DONE
    reason: str | None = field(default=None, metadata=OMIT_NONE)
    facts: Facts = field(default_factory=dict)  # sections that this stage adds
    judgement: Judgement | None = None  # of the source
    result: Judgement | None = None  # of the artifact, before it was sent
    artifact: Artifact | None = None
    receipt: Receipt | None = None
    tools: Mapping[str, str] = field(default_factory=dict)  # name -> version
    unpacked: str | None = None  # a file in scratch that later stages shall see as the source


@dataclass(frozen=True)
class StageRecord:
    """One line of a report's ``stages``."""

    name: str
    status: StageStatus
    seconds: float
    reason: str | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True)
class ErrorRecord:
    """An error of ours, as a report holds it."""

    code: str
    title: str
    message: str
    hint: str


@dataclass(frozen=True)
class JudgedBy:
    """The profile that judged, and what the source becomes for it."""

    name: str  # its own, whatever alias was given
    digest: str  # of all its documents' contents
    target: JsonObject  # {format, variant?, packing?, suffix, virtual_size}; the last may be null
    limits: JsonObject = field(default_factory=dict)  # bytes: {virtual_size?, file_size?}
    # the cloud's own for this kind of destination, with placeholders: see ``profile.Import``
    import_command: str | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True)
class Report:
    """The whole truth of one job; every other output is made from it."""

    imgprep_version: str
    job: JsonObject
    verdict: Verdict
    exit_code: int
    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    not_applicable: tuple[str, ...]
    facts: Facts
    stages: tuple[StageRecord, ...]
    artifact: JsonObject | None  # {format, virtual_size, size, sha256?, segments?}
    receipt: Receipt | None
    error: ErrorRecord | None
    tools: Mapping[str, str]
    started: str
    finished: str
    profile: JudgedBy | None = None  # None: it could not be loaded
    result: Judgement | None = None  # of the artifact, before it was sent
    report_version: int = 1


@functools.cache
def _left_out(kind: type[Any]) -> frozenset[str]:
    return frozenset(item.name for item in fields(kind) if item.metadata.get("omit_none"))


def to_json(value: Any) -> Any:
    """The JSON-shaped form of any value above; optional fields that are None are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            name: to_json(item)
            for name in field_names(type(value))
            if (item := getattr(value, name)) is not None or name not in _left_out(type(value))
        }
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return msgspec.to_builtins(value)


def from_json(value: Any, kind: type[T]) -> T:
    """Read one of the types above; raises ``msgspec.ValidationError`` on any other shape."""
    return msgspec.convert(value, kind)


def digest(value: Any) -> str:
    """A stable sha256 (hex) of a JSON-shaped value or of one of the types above."""
    text = json.dumps(to_json(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def field_names(kind: type[Any]) -> tuple[str, ...]:
    """The field names of one of the types above."""
    return tuple(item.name for item in fields(kind))
