"""VMDK's descriptor: a text that says what the disk is made of.

VMware, "Virtual Disk Format 5.0", https://www.vmware.com/app/vmdk/?src=vmdk:

    # Disk DescriptorFile
    version=1
    CID=fffffffe
    parentCID=ffffffff            anything else: a snapshot
    parentFileNameHint="base.vmdk"
    createType="monolithicFlat"
    RW 20480 FLAT "disk-flat.vmdk" 0
    ddb.toolsVersion = "2147483647"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice, pairwise

from pipeline.text import clean

_MARK = re.compile(rb"^[ \t]*#[ \t]*disk descriptorfile", re.IGNORECASE | re.MULTILINE)
_QEMU = re.compile(rb"(?:#[^\n]*\n| *\r?\n)*version=[1-3]\r?\n", re.IGNORECASE)
_EXTENT = re.compile(
    r"^[ \t]*(RW|RDONLY|NOACCESS)[ \t]+(\d{1,19})[ \t]+([A-Z0-9_]{1,16})(?:[ \t]+\"([^\"]*)\")?",
    re.IGNORECASE | re.MULTILINE,
)
_SETTING = re.compile(r"^[ \t]*([A-Za-z][\w.]*)[ \t]*=[ \t]*\"?([^\"\r\n]*)\"?", re.MULTILINE)
_EXTENT_START = re.compile(rb"^[ \t]*(?:RW|RDONLY|NOACCESS)[ \t]+\d", re.IGNORECASE | re.MULTILINE)
_NO_PARENT = "ffffffff"
_KEPT = 20  # extents that are named
_EARLY = 4096  # bytes in which a text must show that it is a descriptor
_MAX_SETTINGS = 512


@dataclass(frozen=True)
class Extent:
    """One extent: its kind (FLAT, SPARSE, VMFS, …), its name, its size in bytes."""

    kind: str
    name: str
    size: int


@dataclass(frozen=True)
class Descriptor:
    """What the text says; names are cleaned of control characters."""

    create_type: str | None
    extents: tuple[Extent, ...]  # the first ones
    count: int  # of all extents
    size: int  # bytes, of all extents
    parent: str | None
    encrypted: bool
    tools_version: str | None  # of VMware Tools in the guest; 2147483647: open-vm-tools
    uuid: str | None

    @property
    def references(self) -> tuple[str, ...]:
        """Every other file that the text names."""
        parent = (self.parent,) if self.parent is not None else ()
        return (*parent, *(extent.name for extent in self.extents))


def is_descriptor(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a descriptor, to VMware or to qemu.

    qemu asks for comments, blank lines and then a version; VMware for its first comment.  Either may
    come late, so a text with the mark or with an extent and a version anywhere early counts as well.
    """
    early = head[:_EARLY].partition(b"\0")[0].removeprefix(b"\xef\xbb\xbf")
    if _QEMU.match(early) or _MARK.search(early):
        return True
    return b"createtype" in early.lower() and bool(_EXTENT_START.search(head))


def parse(data: bytes) -> Descriptor:
    """Read a descriptor; anything that is not understood is left out."""
    text = data.partition(b"\0")[0].decode("utf-8", "backslashreplace").replace("\r", "\n")
    settings: dict[str, str] = {}
    for found in islice(_SETTING.finditer(text), _MAX_SETTINGS):
        settings.setdefault(found[1].lower(), found[2].strip())
    extents: list[Extent] = []
    count = size = 0
    for found in _EXTENT.finditer(text):
        count += 1
        length = int(found[2]) * 512
        size += length
        if len(extents) < _KEPT:
            extents.append(Extent(found[3].upper(), clean(found[4] or "", 200), length))
    return Descriptor(
        create_type=clean(settings["createtype"], 40) if settings.get("createtype") else None,
        extents=tuple(extents),
        count=count,
        size=size,
        parent=_parent(settings),
        encrypted=any(key.startswith("encryption") for key in settings),
        tools_version=clean(settings["ddb.toolsversion"], 40)
        if "ddb.toolsversion" in settings
        else None,
        uuid=_uuid(settings.get("ddb.uuid", "")),
    )


def _parent(settings: dict[str, str]) -> str | None:
    hint = settings.get("parentfilenamehint")
    if hint is not None:
        return clean(hint, 200)
    cid = settings.get("parentcid", _NO_PARENT).lower()
    return None if cid in (_NO_PARENT, "") else f"CID {clean(cid, 20)}"


def _uuid(value: str) -> str | None:
    digits = re.sub(r"[^0-9a-fA-F]", "", value).lower()
    if len(digits) != 32:
        return None
    cuts = (0, 8, 12, 16, 20, 32)
    return "-".join(digits[start:end] for start, end in pairwise(cuts))
