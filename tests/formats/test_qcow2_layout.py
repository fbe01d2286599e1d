"""qcow2's entries as the specification has them: which bits are an offset, and which a length."""

from __future__ import annotations

import random
import struct
import zlib

import pytest
from handmade import Memory

from pipeline.formats.qcow2_layout import (
    Qcow2Layout,
    entries,
    unpacks,
    unpacks_wholly,
)
from pipeline.formats.tables import Region


def layout(bits: int = 16, *, extended: bool = False, compression: int = 0) -> Qcow2Layout:
    return Qcow2Layout(
        size=1 << 30,
        cluster_bits=bits,
        extended=extended,
        dirty=False,
        compression=compression,
        refcount_order=4,
        l1=Region("the L1 table", 0, 0),
        refcounts=Region("the refcount table", 0, 0),
        snapshots=0,
        snapshots_offset=0,
        bitmaps=None,
    )


@pytest.mark.parametrize(
    ("bits", "shift"), [(9, 61), (10, 60), (12, 58), (16, 54), (20, 50), (21, 49)]
)
@pytest.mark.parametrize(
    ("offset", "sectors", "length"),
    [
        (0, 0, 512),
        (511, 0, 1),
        (512, 1, 1024),
        (700, 0, 324),
        (0x12345, 1, 699),
        ((1 << 48) + 1000, 1, 536),
    ],
)
def test_a_compressed_entry_is_an_offset_and_how_many_sectors_follow(
    bits: int, shift: int, offset: int, sectors: int, length: int
) -> None:
    for copied in (0, 1 << 63):
        entry = copied | 1 << 62 | sectors << shift | offset
        assert layout(bits).packed_place(entry) == (offset, length)


def test_clusters_of_2_mib_may_take_8192_sectors() -> None:
    entry = 1 << 62 | 8191 << 49 | 513
    assert layout(21).packed_place(entry) == (513, 8193 * 512 - 513)


@pytest.mark.parametrize("bits", range(9, 22))
def test_a_cluster_has_a_power_of_two_of_bytes(bits: int) -> None:
    assert layout(bits).cluster == 2**bits
    assert layout(bits).packed_mask == 2 ** (70 - bits) - 1


def test_of_an_extended_table_every_other_word_is_an_entry() -> None:
    words = list(range(100, 110))
    reader = Memory(b"\xff" * 24 + struct.pack(">10Q", *words))

    assert list(entries(layout(), reader, 24, 48)) == words[:6]
    assert list(entries(layout(extended=True), reader, 24, 48)) == words[:6:2]
    assert list(entries(layout(), reader, 24 + 72, 32)) == [109, 0, 0, 0]


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    return packer.compress(data) + packer.flush()


WHOLE = deflated(bytes(range(256)) * 2)  # of a cluster of 512 bytes
SHORT = deflated(b"no cluster is full of it")


@pytest.mark.parametrize(
    ("data", "begins", "wholly"),
    [
        (WHOLE, True, True),
        (WHOLE + b"the next", True, True),
        (WHOLE[:-20], True, False),
        (WHOLE[:1], False, False),
        (SHORT, True, True),
        (SHORT[:-1], True, False),
        (deflated(b"x" * 513), True, True),
        (deflated(b""), False, True),
        (b"\xff" * 64, False, False),
        (b"", False, False),
    ],
)
def test_a_stream_that_zlib_made(data: bytes, begins: bool, wholly: bool) -> None:
    assert unpacks(data, layout(9)) is begins
    assert unpacks_wholly(data, layout(9)) is wholly


def test_a_stream_may_refer_32_kib_back() -> None:
    # given a cluster that repeats after 30,000 bytes, packed by a writer with zlib's largest window
    data = (random.Random(3).randbytes(30_000) * 3)[: 1 << 16]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()

    assert len(packed) < 40_000
    assert unpacks_wholly(packed, layout(16))


ZSTD = b"\x28\xb5\x2f\xfd"


@pytest.mark.parametrize("data", [ZSTD, ZSTD + b"more", ZSTD[:3], b"\x28\xb5\x2f\xfe", WHOLE])
def test_a_stream_that_zstd_made_is_known_by_its_magic(data: bytes) -> None:
    assert unpacks(data, layout(compression=1)) is data.startswith(ZSTD)
    assert unpacks_wholly(data, layout(compression=1))
