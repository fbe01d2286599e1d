"""VMDK's descriptor: what is taken for one, and what each of its lines says."""

from __future__ import annotations

import pytest

from pipeline.formats.vmdk_descriptor import Descriptor, Extent, is_descriptor, parse

WHOLE = b"""# Disk DescriptorFile
version=1
parentCID=0Badcafe
createType="monolithicFlat"
RW 20480 FLAT "one.vmdk" 0
 rdonly 3 sparse "two.vmdk"
\tNOACCESS  7\tZERO
ddb.toolsVersion = "2147483647"
ddb.uuid = "60 00 C2 9a b4 43 a5 c5-5c e0 9f 88 9f 1b 11 22"
encryption.keySafe = "vmware:key/list"
createType="second"
"""


def test_every_line() -> None:
    assert parse(WHOLE) == Descriptor(
        create_type="monolithicFlat",
        extents=(
            Extent("FLAT", "one.vmdk", 20480 * 512),
            Extent("SPARSE", "two.vmdk", 3 * 512),
            Extent("ZERO", "", 7 * 512),
        ),
        count=3,
        size=20490 * 512,
        parent="CID 0badcafe",
        encrypted=True,
        tools_version="2147483647",
        uuid="6000c29a-b443-a5c5-5ce0-9f889f1b1122",
    )
    assert parse(WHOLE).references == ("CID 0badcafe", "one.vmdk", "two.vmdk", "")
    assert (
        parse(WHOLE.replace(b"\n", b"\r\n")) == parse(WHOLE.replace(b"\n", b"\r")) == parse(WHOLE)
    )


def test_nothing() -> None:
    nothing = Descriptor(None, (), 0, 0, None, False, None, None)

    assert parse(b"") == parse(b"\0" + WHOLE) == parse(b"\xff\xfe RW x FLAT\n") == nothing
    assert nothing.references == ()


@pytest.mark.parametrize(
    ("line", "parent"),
    [
        (b"parentCID=ffffffff", None),
        (b"parentCID=FFFFFFFF", None),
        (b"parentCID=", None),
        (b"", None),
        (b"PARENTCID=1", "CID 1"),
        (b'parentFileNameHint="a.vmdk"', "a.vmdk"),
        (b'parentCID=ffffffff\nparentFileNameHint="a.vmdk"', "a.vmdk"),
        (b'parentCID=12345678\nparentFileNameHint=""', ""),
        (b"parentFileNameHint=a\x1b.vmdk", "a\\x1b.vmdk"),
    ],
)
def test_a_parent(line: bytes, parent: str | None) -> None:
    found = parse(line + b'\nRW 5 FLAT "x"\n')

    assert found.parent == parent
    assert found.references == (("x",) if parent is None else (parent, "x"))


@pytest.mark.parametrize(
    ("line", "extents"),
    [
        (b'RW 5 FLAT "a b" 0', [("FLAT", "a b", 2560)]),
        (b"RW 5 FLAT", [("FLAT", "", 2560)]),
        (b'RW 5 FLAT"x"', [("FLAT", "", 2560)]),
        (b"RW 0 ZERO", [("ZERO", "", 0)]),
        (b'xRW 5 FLAT "a"', []),
        (b'RW5 FLAT "a"', []),
        (b'RW -5 FLAT "a"', []),
        (b'# RW 5 FLAT "a"', []),
        (b'RW 5 VMFS_2 "\x1b"', [("VMFS_2", "\\x1b", 2560)]),
        (b'RW\t5\tFLAT\t"a"', [("FLAT", "a", 2560)]),
    ],
)
def test_an_extent(line: bytes, extents: list[tuple[str, str, int]]) -> None:
    found = parse(line)

    assert found.extents == tuple(Extent(*each) for each in extents)
    assert (found.count, found.size) == (len(extents), sum(each[2] for each in extents))


@pytest.mark.parametrize("count", [19, 20, 21])
def test_the_first_extents_are_named_and_all_are_counted(count: int) -> None:
    found = parse(b"".join(b'RW %d FLAT "%d"\n' % (n, n) for n in range(1, count + 1)))

    assert [extent.name for extent in found.extents] == [
        str(n) for n in range(1, min(count, 20) + 1)
    ]
    assert (found.count, found.size) == (count, 512 * count * (count + 1) // 2)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"createType=x", "x"),
        (b'  createtype = " x y "', "x y"),
        (b'createType=""', None),
        (b"createType", None),
        (b"acreateType=x", None),
        (b"1createType=x", None),
        (b"createType=a\ncreateType=b", "a"),
    ],
)
def test_a_type(line: bytes, kind: str | None) -> None:
    assert parse(line).create_type == kind


@pytest.mark.parametrize(("number", "seen"), [(511, True), (512, False)])
def test_so_many_settings_are_read(number: int, seen: bool) -> None:
    text = b"".join(b"a%d = 1\n" % n for n in range(number)) + b"createType=x\n"

    assert (parse(text).create_type == "x") is seen


@pytest.mark.parametrize(
    ("value", "uuid"),
    [
        (b"0123456789abcdefABCDEF0123456789", "01234567-89ab-cdef-abcd-ef0123456789"),
        (b"0123456789abcdefABCDEF012345678", None),
        (b"0123456789abcdefABCDEF0123456789a", None),
        (b"", None),
    ],
)
def test_an_id(value: bytes, uuid: str | None) -> None:
    assert parse(b'ddb.uuid = "' + value + b'"').uuid == uuid


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        (b"# Disk DescriptorFile", True),
        (b" \t#\tdisk descriptorfile", True),
        (b"x\n# Disk DescriptorFile", True),
        (b"\xef\xbb\xbf# Disk DescriptorFile", True),
        (b"x# Disk DescriptorFile", False),
        (b"\0# Disk DescriptorFile", False),
        (b" " * 4075 + b"# Disk DescriptorFile", True),
        (b" " * 4076 + b"# Disk DescriptorFile", False),
        (b"version=1\n", True),
        (b"VERSION=3\r\n", True),
        (b"# any\n\n \n#\nversion=2\n", True),
        (b"#\nx\nversion=1\n", False),
        (b"version=0\n", False),
        (b"version=4\n", False),
        (b"version=11\n", False),
        (b"version=1", False),
        (b" version=1\n", False),
        (b"createType=\nRW 5", True),
        (b"CREATETYPE\n\tnoaccess\t5", True),
        (b"createType=\nRW x", False),
        (b"createType=\nxRW 5", False),
        (b"RW 5\n", False),
        (b"createType=" + b"\n" * 5000 + b"RW 5", True),
        (b"\n" * 4086 + b"createType\nRW 5", True),
        (b"\n" * 4087 + b"createType\nRW 5", False),
        (b"", False),
    ],
)
def test_what_is_taken_for_a_descriptor(head: bytes, is_one: bool) -> None:
    assert is_descriptor(head) is is_one
