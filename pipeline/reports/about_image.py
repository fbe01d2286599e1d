"""What an image is, as labels and values for people: its container, its disk, the system inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.model import JsonObject
from pipeline.reports import about_guest
from pipeline.reports.pictures import disk_map
from pipeline.text import clean, size

MOST_PROBLEMS = 5
_WORTH_A_LINE = 1 << 20  # bytes of deleted data

_FORMATS: Mapping[str, str] = {
    **{name: name.upper() for name in ("vhd", "vhdx", "vmdk", "vdi", "qed", "luks", "iso", "ova")},
    "unknown": "of no known format",
}
"""How a format is written in a sentence; any other as it is."""


def format_name(name: str) -> str:
    """A format as people write it: ``VHD``, ``qcow2``."""
    return _FORMATS.get(name, clean(name))


def rows(facts: Mapping[str, Any], *, whole: bool) -> Iterable[tuple[str, str]]:
    """What the image is; ``whole``: with all that is known, where nothing is judged."""
    container = facts.get("container") or {}
    disk = facts.get("disk")
    if container:
        yield "format", _format(container)
        yield "file", _file(container)
    if container.get("packed"):
        yield from _packed(container)
    if container.get("virtual_size") is not None:
        yield "disk", f"{size(container['virtual_size'])}{_partitions(disk)}"
        drawn = disk_map(disk)
        if drawn:
            yield "map", drawn
    yield from _deleted(disk)
    if whole:
        yield from _only_inspected(facts, container)
    if "guest" in facts and whole:
        yield from about_guest.rows(facts["guest"])
    elif "guest" in facts:
        yield "guest", about_guest.name(facts["guest"])


def _only_inspected(facts: Mapping[str, Any], container: JsonObject) -> Iterator[tuple[str, str]]:
    """What findings would say if a profile were asked."""
    others = container.get("external_references") or ()
    if others:
        yield "needs", f"other files: {', '.join(clean(str(item)) for item in others)}"
    if container.get("encrypted"):
        yield "encrypted", "yes; nothing inside can be read"
    if container.get("snapshots"):
        count = container["snapshots"]
        yield "snapshots", f"{count}; the conversion takes the current state only"
    problems = [
        *(container.get("problems") or ()),
        *((facts.get("disk") or {}).get("problems") or ()),
    ]
    for number, item in enumerate(problems[:MOST_PROBLEMS]):
        yield (
            "" if number else "problems",
            f"{item['rule']}: {clean(str(item.get('detail') or ''))}",
        )
    if len(problems) > MOST_PROBLEMS:
        yield "", f"and {len(problems) - MOST_PROBLEMS} more"
    for number, line in enumerate(_kept(facts.get("disk") or {})):
        yield "" if number else "as it is", line
    for number, line in enumerate(_contents(facts)):
        yield "" if number else "on it", line


def _contents(facts: Mapping[str, Any]) -> Iterator[str]:
    """Each file system as the guest sees it; where nobody looked inside, each partition."""
    guest = facts.get("guest") or {}
    found = guest.get("filesystems") or ()
    early = guest.get("before_replay") or ()
    for item in found:
        label = f" {clean(item['label'])!r}" if item.get("label") else ""
        use = f", used as {clean(item['use'])}" if item.get("use") else ""
        kind = clean(item["type"] or "nothing known")
        state = " (not unmounted: read before replay)" if item["device"] in early else ""
        yield f"{clean(item['device'])}: {kind}{label}, {size(item['size'])}{use}{state}"
    for item in () if found else (facts.get("disk") or {}).get("partitions") or ():
        kind = clean(str(item.get("content") or item.get("type_name") or "nothing known"))
        yield f"partition {item['number']}: {kind}, {size(item['size'])}"


def _kept(disk: JsonObject) -> Iterator[str]:
    """What --reclaim would not look into, and why."""
    for area in (disk.get("free_space") or {}).get("areas", ()):
        if area["reason"] is not None:
            yield clean(f"{area['place']}, all of it: {area['reason']}")
        elif area["behind"]:
            yield clean(f"{area['place']}, its last {size(area['behind'])}: behind its file system")


def _format(container: JsonObject) -> str:
    name = str(container.get("format"))
    variant = container.get("variant")
    creator = container.get("creator")
    shown = f"{name} ({clean(str(variant))})" if variant else name
    if creator and not str(creator).isdigit():  # a number is a code that nobody has a name for
        return f"{shown}, written by {clean(str(creator))}"
    return shown


def _file(container: JsonObject) -> str:
    total, allocated = container.get("file_size"), container.get("allocated_size")
    if total is None:
        return "size not known"
    shown = size(total)
    return f"{shown}, {size(allocated)} on the disk" if allocated is not None else shown


def _packed(container: JsonObject) -> Iterator[tuple[str, str]]:
    packed = container["packed"]
    total = size(packed["size"])
    refused = any(str(item["rule"]).startswith(_NOT_UNPACKED) for item in container["problems"])
    if refused:
        yield "packed", f"{packed['format']}, {total}; not unpacked"
    elif packed["format"] == "ova":
        yield "unpacked", f"{clean(str(packed['name']))!r} from an OVA of {total}"
    else:
        yield "unpacked", f"from {packed['format']}, {total}"


_NOT_UNPACKED = ("ova-", "packed-", "nested-packing", "unpack-limit")
"""The problems of a packing out of which nothing came."""


def _partitions(disk: Any) -> str:
    if not isinstance(disk, Mapping) or "partition_table" not in disk:
        return ""
    optical = disk.get("optical")
    if optical:
        label = optical.get("label") if isinstance(optical, Mapping) else None
        return f", an optical disc {clean(str(label))!r}" if label else ", an optical disc"
    table = disk["partition_table"]
    if table in (None, "none"):
        return ", no partition table" if table == "none" else ""
    count = len(disk.get("partitions") or ())
    return f", {str(table).upper()} with {count} partition{'' if count == 1 else 's'}"


def _deleted(disk: Any) -> Iterator[tuple[str, str]]:
    """What could be left out, when it is worth a line."""
    space = disk.get("free_space") if isinstance(disk, Mapping) else None
    if space and space["deleted"] >= _WORTH_A_LINE:
        yield "deleted", f"about {size(space['deleted'])} of old data; --reclaim leaves it out"
