"""Every short signature, at its place and nowhere else; written down a second time, from file(1)'s."""

import pytest

from pipeline.formats import tar, trailer
from pipeline.formats.archives import Archive, _Bytes
from pipeline.formats.raw import Raw

DOCUMENTS = {
    "an ELF program": [(0, "7f 45 4c 46")],
    "a PDF document": [(0, "25 50 44 46 2d")],
    "a PNG picture": [(0, "89 50 4e 47 0d 0a 1a 0a")],
    "a JPEG picture": [(0, "ff d8 ff")],
    "a GIF picture": [(0, "47 49 46 38")],
    "an SQLite database": [(0, "53 51 4c 69 74 65 20 66 6f 72 6d 61 74 20 33 00")],
    "a Java class or macOS program": [(0, "ca fe ba be")],
    "a macOS program": [(0, "cf fa ed fe")],
    "a TIFF picture": [(0, "49 49 2a 00"), (0, "4d 4d 00 2a")],
    "a RIFF recording or picture": [(0, "52 49 46 46")],
    "an Ogg recording": [(0, "4f 67 67 53")],
    "a FLAC recording": [(0, "66 4c 61 43")],
    "an MP3 recording": [(0, "49 44 33")],
    "an MP4 recording": [(4, "66 74 79 70")],
    "a Matroska recording": [(0, "1a 45 df a3")],
    "a font": [(0, "77 4f 46 46")],
    "a Microsoft Office document": [(0, "d0 cf 11 e0 a1 b1 1a e1")],
    "a network capture": [(0, "d4 c3 b2 a1"), (0, "a1 b2 c3 d4"), (0, "0a 0d 0d 0a")],
}
ARCHIVES = {
    "7z": [(0, "37 7a bc af 27 1c")],
    "rar": [(0, "52 61 72 21 1a 07")],
    "lz4": [(0, "04 22 4d 18"), (0, "02 21 4c 18")],
    "ace": [(7, "2a 2a 41 43 45 2a 2a")],
    "lzip": [(0, "4c 5a 49 50 01")],
    "lzop": [(0, "89 4c 5a 4f 00 0d 0a 1a 0a")],
    "compress": [(0, "1f 9d 90")],
    "cab": [(0, "4d 53 43 46 00 00 00 00")],
    "cpio": [(0, "30 37 30 37 30 31"), (0, "30 37 30 37 30 32"), (0, "30 37 30 37 30 37")],
    "ar": [(0, "21 3c 61 72 63 68 3e 0a")],
    "rpm": [(0, "ed ab ee db")],
}


def listed(table):
    return [
        pytest.param(name, offset, bytes.fromhex(magic), id=f"{name}-{magic.replace(' ', '')}")
        for name, places in table.items()
        for offset, magic in places
    ]


def document(data):
    return next((problem.detail for problem in Raw().inspect(_Bytes(data)).problems), None)


def archive(data):
    return Archive().signature(_Bytes(data))


def told(ask, offset, magic):
    return ask(bytes(offset) + magic + bytes(4096))


def damaged(magic):
    """The signature with each of its bytes changed."""
    return [magic[:at] + bytes([byte ^ 0x80]) + magic[at + 1 :] for at, byte in enumerate(magic)]


@pytest.mark.parametrize(("name", "offset", "magic"), listed(DOCUMENTS))
def test_a_document_is_known_by_all_of_its_signature(name, offset, magic):
    assert told(document, offset, magic) == name
    assert {told(document, offset, each) for each in damaged(magic)} == {None}
    assert told(document, offset + 1, magic) is None


@pytest.mark.parametrize(("name", "offset", "magic"), listed(ARCHIVES))
def test_an_archive_is_known_by_all_of_its_signature(name, offset, magic):
    assert told(archive, offset, magic) == name
    assert {told(archive, offset, each) for each in damaged(magic)} == {None}
    assert told(archive, offset + 1, magic) is None


def test_no_signature_is_missing_here():
    from pipeline.formats import archives, raw

    kernel = ("a Linux kernel", 0x202, b"HdrS")  # which has tests of its own
    ours = [(words, offset, magic) for offset, magic, words in raw._DOCUMENTS]
    assert [*(case.values for case in listed(DOCUMENTS)), kernel] == ours
    assert [case.values for case in listed(ARCHIVES)] == list(archives._MAGICS)


def tar_header(content):
    """A header whose checksum is right, as octal digits at 148."""
    header = bytearray(content)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def test_every_byte_of_a_tar_header_counts_in_its_sum():
    sound = tar_header(b"name".ljust(100, b"n") + bytes(range(1, 158)) + b"ustar" + b"x" * 250)
    outside = [at for at in range(512) if not 148 <= at < 156 and not 257 <= at < 262]

    assert tar.is_header(sound)
    assert not tar.is_header(sound[:511])
    for at in outside:
        assert not tar.is_header(sound[:at] + bytes([sound[at] ^ 0x80]) + sound[at + 1 :]), at


def test_a_time_of_twelve_digits_is_no_part_of_the_sum_behind_it():
    assert tar.is_header(tar_header(b"name".ljust(136, b"\0") + b"7" * 12 + bytes(364)))


@pytest.mark.parametrize(
    ("size", "names"),
    [
        (b"00000001130\0", ["first", "second"]),
        (b"\x80" + (600).to_bytes(11, "big"), ["first", "second"]),
        (b"\x80\1" + (600).to_bytes(10, "big"), ["first"]),  # of 2^80 bytes more
        (b"\x81" + (600).to_bytes(11, "big"), ["first"]),  # only 0x80 says base 256
        (b"\xff" * 12, ["first"]),
        (b"00000001138\0", ["first"]),
        (bytes(12), ["first"]),
    ],
)
def test_the_next_file_of_a_tar_stands_behind_the_size_of_this_one(size, names):
    first = tar_header(b"first".ljust(124, b"\0") + size + bytes(376))
    second = tar_header(b"second".ljust(512, b"\0"))

    assert list(tar.members(_Bytes(first + b"x" * 600 + bytes(424) + second))) == names


def test_a_magic_at_the_very_start_of_a_short_file_is_found_from_its_end():
    assert trailer.anywhere(_Bytes(b"conectix" + bytes(600)), b"conectix") == 0
    assert trailer.anywhere(_Bytes(b"x" + b"conectix" * 2), b"conectix") == 9
    assert trailer.anywhere(_Bytes(bytes(600)), b"conectix") is None


@pytest.mark.parametrize("length", range(1, 30))
def test_a_stream_s_head_must_be_whole(length):
    heads = {
        "lzma": (b"\x5d\0\0\x10\0" + b"\xff" * 8 + b"\0" * 20, 14),
        "gzip": (b"\x1f\x8b\x08\0" + b"\0" * 6 + b"\x4b" * 20, 10),
        "zstd": (b"\x28\xb5\x2f\xfd\4" + b"\0" * 30, 6),
        "bzip2": (b"BZh9\x31\x41\x59\x26\x53\x59" + b"\1" * 20, 10),
    }
    for name, (head, needed) in heads.items():
        assert archive(head[:length]) == (name if length >= needed else None), name


@pytest.mark.parametrize("end", [b"\x55\xab", b"\xff\xff", b"\0\0", b"\x55\xa9", b"\x55\xaa"])
def test_what_ends_like_a_boot_sector_is_no_stream(end):
    lzma = b"\x5d\0\0\x10\0" + b"\xff" * 8 + b"\0"
    damaged = b"\x1f\x8b\x08\0" + b"\0" * 6 + b"\xff" * 30

    for name, head in (("lzma", lzma), ("gzip", damaged)):
        expected = name if end != b"\x55\xaa" else None
        assert archive(head.ljust(510, b"\1") + end + bytes(600)) == expected


@pytest.mark.parametrize("comment", [b"", b"a", b"hi", b"\xff" * 300])
def test_an_empty_zip_ends_with_its_comment(comment):
    whole = b"PK\5\6" + bytes(16) + len(comment).to_bytes(2, "little") + comment

    assert archive(whole) == "zip"
    assert archive(whole + b"x") is None
    assert archive(whole[:-1]) is None
