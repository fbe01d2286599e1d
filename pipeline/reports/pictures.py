"""What is drawn of a report: the disk to scale, its allocation, sizes against limits, the stages in time.

    Block     left, width    percent of the picture, with a label and a tooltip
    Bar       share          of a limit, may be above 100
    Step      left, width    percent of the whole time

Numbers for a renderer; no markup here.  Made from the report's JSON alone, whose strings are cleaned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.model import JsonObject
from pipeline.profile import templates
from pipeline.text import clean, duration, size

GLYPHS = "·▁▂▃▄▅▆▇█"
"""No data, then more and more of it."""
MAP_WIDTH = 48
_LEAST = 0.6  # percent of the picture below which a partition could not be seen


@dataclass(frozen=True)
class Block:
    """A part of the disk."""

    left: float
    width: float
    label: str  # short, within the block
    tip: str  # all that is known
    kind: str  # "partition" or "gap"
    filled: int | None  # percent of it that holds data


@dataclass(frozen=True)
class Run:
    """Neighbouring cells of the allocation that hold about as much."""

    left: float
    width: float
    percent: int


@dataclass(frozen=True)
class Bar:
    """A size against the cloud's limit."""

    label: str
    value: str
    limit: str
    share: float  # percent of the limit
    over: bool


@dataclass(frozen=True)
class Step:
    """A stage in time."""

    name: str
    left: float
    width: float
    took: str
    status: str


@dataclass(frozen=True)
class Table:
    """Rows with a head."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Pictures:
    """Everything that is drawn."""

    disk: tuple[Block, ...]
    allocation: tuple[Run, ...]
    allocated: str  # in words
    bars: tuple[Bar, ...]
    steps: tuple[Step, ...]
    tables: tuple[Table, ...]


def draw(report: JsonObject) -> Pictures:
    """The pictures of a report's JSON."""
    disk = report["facts"].get("disk") or {}
    total = disk.get("virtual_size") or 0
    cells = (disk.get("allocation") or {}).get("data") or ()
    return Pictures(
        disk=tuple(_blocks(disk, total)),
        allocation=tuple(_runs(cells)),
        allocated=_allocated(cells, total),
        bars=tuple(_bars(report)),
        steps=tuple(_steps(report["stages"])),
        tables=tuple(_tables(report)),
    )


# --- the disk ------------------------------------------------------------------------------------


def _blocks(disk: Mapping[str, Any], total: int) -> Iterator[Block]:
    parts = sorted(disk.get("partitions") or (), key=lambda part: part["start"])
    at = 0
    for part in parts if total else ():
        start, end = min(part["start"], total), min(part["start"] + part["size"], total)
        if 100 * (start - at) / total >= _LEAST:
            yield _gap(at, start, total)
        kind = clean(str(part.get("content") or part.get("type_name") or "nothing known"), 60)
        name = f"partition {part['number']}: {kind}, {size(part['size'])}"
        filled = data_within(disk, start, end)
        told = "" if filled is None else f", {filled} % of it holds data"
        width = max(100 * (end - start) / total, _LEAST)
        label = f"{part['number']} {kind}"
        yield Block(100 * start / total, width, label, f"{name}{told}", "partition", filled)
        at = max(at, end)
    if parts and total and 100 * (total - at) / total >= _LEAST:
        yield _gap(at, total, total)


def _gap(start: int, end: int, total: int) -> Block:
    left, width = 100 * start / total, 100 * (end - start) / total
    return Block(left, width, "", f"{size(end - start)} in no partition", "gap", None)


def data_within(disk: Mapping[str, Any], start: int, end: int) -> int | None:
    """Percent of these bytes that hold data, as far as the allocation's cells can tell."""
    found = disk.get("allocation")
    if not found or end <= start:
        return None
    cell, held = found["cell"], 0.0
    for index in range(start // cell, min(-(-end // cell), len(found["data"]))):
        within = min(end, (index + 1) * cell) - max(start, index * cell)
        held += within * found["data"][index] / 100
    return round(100 * held / (end - start))


def _runs(cells: Sequence[int]) -> Iterator[Run]:
    """Cells drawn as few rectangles: neighbours whose tenth is the same are one."""
    begin = 0
    for index in range(1, len(cells) + 1):
        if index == len(cells) or _tenth(cells[index]) != _tenth(cells[begin]):
            percent = max(cells[begin:index])
            if percent:
                yield Run(100 * begin / len(cells), 100 * (index - begin) / len(cells), percent)
            begin = index


def _tenth(percent: int) -> int:
    return -(-percent // 10)


def _allocated(cells: Sequence[int], total: int) -> str:
    if not cells:
        return ""
    share = sum(cells) / len(cells) / 100
    return f"about {size(round(share * total))} of {size(total)} hold data ({100 * share:.0f} %)"


def disk_map(disk: Any) -> str:
    """The disk in one line: how much data lies where, partitions between bars; empty if unknown."""
    cells = ((disk or {}).get("allocation") or {}).get("data") or ()
    if not cells:
        return ""
    starts = {
        part["start"] * MAP_WIDTH // max(disk["virtual_size"], 1)
        for part in disk.get("partitions") or ()
    }
    glyphs = (
        ("|" if column in starts else "") + _glyph(cells, column) for column in range(MAP_WIDTH)
    )
    return f"[{''.join(glyphs)}]"


def _glyph(cells: Sequence[int], column: int) -> str:
    first = column * len(cells) // MAP_WIDTH
    last = max((column + 1) * len(cells) // MAP_WIDTH, first + 1)
    percent = sum(cells[first:last]) / len(cells[first:last])
    return GLYPHS[-(-int(-(-percent // 1)) * (len(GLYPHS) - 1) // 100)]


# --- sizes, time ---------------------------------------------------------------------------------


def _bars(report: JsonObject) -> Iterator[Bar]:
    limits = (report.get("profile") or {}).get("limits") or {}
    container, artifact = report["facts"].get("container") or {}, report["artifact"] or {}
    made = ((report.get("profile") or {}).get("target") or {}).get("virtual_size")
    seen = (
        ("disk", made or container.get("virtual_size"), limits.get("virtual_size")),
        ("file", artifact.get("size"), limits.get("file_size")),
    )
    for label, value, limit in seen:
        if value is not None and limit:
            share = 100 * value / limit
            yield Bar(label, templates.size(value), templates.size(limit), share, value > limit)


def _steps(stages: Sequence[JsonObject]) -> Iterator[Step]:
    total = sum(stage["seconds"] for stage in stages) or 1
    at = 0.0
    for stage in stages:
        width = 100 * stage["seconds"] / total
        took = duration(stage["seconds"])
        yield Step(stage["name"], 100 * at / total, max(width, 0.4), took, stage["status"])
        at += stage["seconds"]


# --- tables --------------------------------------------------------------------------------------


def _tables(report: JsonObject) -> Iterator[Table]:
    disk = report["facts"].get("disk") or {}
    guest = report["facts"].get("guest") or {}
    made = (
        Table("Partitions", ("", "content", "type", "size", "starts at"), _partitions(disk)),
        Table("File systems", ("device", "type", "size", "label", "used as"), _systems(guest)),
        Table("Kernels", ("version", "initramfs", "starts"), _kernels(guest)),
        Table("Xen drivers", ("driver", "where"), _pairs(guest.get("xen_drivers"))),
        Table("/etc/fstab", ("what", "where", "type", "options"), _fstab(guest)),
        Table("cloud-init", ("", ""), _pairs(guest.get("cloud_init"))),
        Table("Tools", ("tool", "version"), _pairs(report["tools"])),
    )
    yield from (table for table in made if table.rows)


def _partitions(disk: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            str(part["number"]),
            templates.plain(part.get("content")),
            templates.plain(part.get("type_name") or part.get("type")),
            size(part["size"]),
            size(part["start"]),
        )
        for part in disk.get("partitions") or ()
    )


def _systems(guest: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            clean(item["device"]),
            templates.plain(item["type"]),
            size(item["size"]),
            clean(item.get("label") or ""),
            clean(item.get("use") or ""),
        )
        for item in guest.get("filesystems") or ()
    )


def _kernels(guest: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            clean(item["version"]),
            templates.plain(item.get("initramfs")),
            "by default" if item.get("default") else "",
        )
        for item in guest.get("kernels") or ()
    )


def _fstab(guest: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            clean(line["spec"]),
            clean(line["mountpoint"]),
            clean(line["type"]),
            clean(",".join(line["options"])),
        )
        for line in guest.get("fstab") or ()
    )


def _pairs(found: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(found, Mapping):
        return ()
    return tuple((clean(str(key)), _words(value)) for key, value in sorted(found.items()))


def _words(value: Any) -> str:
    """A value in a cell: an object as ``name: value; name: value``."""
    if not isinstance(value, Mapping):
        return templates.plain(value)
    return "; ".join(f"{clean(str(name))}: {templates.plain(item)}" for name, item in value.items())
