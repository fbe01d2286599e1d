"""The sections of facts as typed records: what a stage may read of what another found out.

    {"container": ContainerFacts, "disk": DiskFacts, "guest": …, "result": ResultFacts}

``schemas/facts.schema.json`` says the same to everybody outside this program, and a test holds the two
together.  Sizes and offsets are bytes.  A fact that is not known is None, and the section's
``unknown`` says why; None without an entry there means: there is none.  A section that was not read
is a ``NotRead`` instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, cast


class ProblemFacts(TypedDict):
    """One thing that is wrong in the bytes."""

    rule: str  # the requirement that it breaks
    detail: str  # what was seen, one clause
    offset: int | None  # byte of the source file
    length: int | None


class NotRead(TypedDict):
    """Stands where a section would be that was not read."""

    status: Literal["skipped", "failed"]
    reason: str
    code: NotRequired[str]  # of the error


class ContainerFacts(TypedDict):
    """What the file is, from its own bytes.  Made by ``stages.identify``."""

    format: str  # raw, qcow2, vhd, vhdx, vmdk, vdi, iso, …, or unknown
    variant: str | None  # of a VHD: fixed, dynamic, differencing
    creator: str | None  # the application that wrote it, where the format tells
    virtual_size: int | None  # of the disk that the guest sees
    file_size: int
    allocated_size: int | None  # on the file system that holds the file
    external_references: list[str]
    encrypted: bool
    snapshots: int
    uuid: str | None
    suffix: str  # of the file's name
    matches: list[str]  # every format whose signature holds
    problems: list[ProblemFacts]
    details: dict[str, Any]  # particular to the format
    unknown: dict[str, str]
    packed: (
        Mapping[str, Any] | None
    )  # {format, name, size}: unpacked from, or (a result) wrapped in


class PartitionFacts(TypedDict):
    """One partition."""

    number: int
    start: int
    size: int
    type: str
    type_name: str | None
    name: str | None
    bootable: bool
    content: str | None  # what it begins with, as blkid names it


class FreeAreaFacts(TypedDict):
    """What one part of the disk says of its free space."""

    place: str  # "partition 1", "volume vg/root", "outside of partitions", "the disk"
    content: str | None  # as blkid names it
    offset: int
    size: int
    free: int | None  # None: all of it is kept …
    runs: int | None
    behind: int  # bytes behind the file system, which are kept
    reason: str | None  # … for this reason


class FreeSpaceFacts(TypedDict):
    """What of the disk holds nothing, as its own file systems say it."""

    free: int
    runs: int | None  # None: not counted to the end, which only --reclaim needs
    deleted: int  # of it, what the image holds other data than zeros for: an estimate from samples
    areas: list[FreeAreaFacts]


class DiskFacts(TypedDict):
    """What lies on the disk.  Made by ``stages.inspect_disk``."""

    virtual_size: int | None
    partition_table: Literal["gpt", "mbr", "none"] | None
    partitions: list[PartitionFacts] | None
    sector_size: int | None
    identifier: str | None
    boot_code: str | None
    protective_mbr: str | None
    optical: Mapping[str, Any] | None  # what makes it an ISO or UDF image
    nested_format: str | None  # the image format whose header the disk begins with
    content: str | None  # of a disk without a partition table
    free_space: FreeSpaceFacts | None
    allocation: Mapping[str, Any] | None  # {cell: bytes, data: [percent]}, see content.allocation
    problems: list[ProblemFacts]
    unknown: dict[str, str]


class ResultFacts(TypedDict):
    """The same about the artifact, read as any stranger's file.  Made by ``stages.prove``."""

    container: ContainerFacts
    disk: DiskFacts | NotRead


def container(facts: Mapping[str, Mapping[str, Any]]) -> ContainerFacts | None:
    """The section ``container``; None while the file is not identified."""
    section = facts.get("container")
    return None if section is None else cast(ContainerFacts, section)


def result(facts: Mapping[str, Mapping[str, Any]]) -> ResultFacts | None:
    """The section ``result``; None while nothing was proved."""
    section = facts.get("result")
    return None if section is None else cast(ResultFacts, section)
