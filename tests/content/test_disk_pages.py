"""Pages over a view: the same bytes, in fewer reads."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.content.disk import PAGE, PagedReader


class Counting:
    """A disk of known bytes that counts how often it is asked."""

    def __init__(self, data):
        self.data, self.reads = data, 0

    @property
    def size(self):
        return len(self.data)

    def read(self, offset, length):
        self.reads += 1
        assert 0 <= offset < len(self.data)
        return self.data[offset : offset + length]


DISK = bytes(range(251)) * (5 * PAGE // 251) + b"odd end"


@given(offset=st.integers(-10, len(DISK) + 10), length=st.integers(0, 3 * PAGE))
def test_every_range_reads_the_same(offset, length):
    expected = DISK[offset : offset + length] if offset >= 0 else b""

    assert PagedReader(Counting(DISK)).read(offset, length) == expected


def test_neighbours_cost_one_read():
    disk = Counting(DISK)
    pages = PagedReader(disk)

    for offset in range(0, PAGE, 512):
        pages.read(offset, 512)

    assert disk.reads == 1


def test_a_long_range_is_not_kept():
    disk = Counting(bytes(64 * PAGE))
    pages = PagedReader(disk)

    assert len(pages.read(0, 40 * PAGE)) == 40 * PAGE
    assert disk.reads == 1


def test_a_long_range_may_begin_anywhere():
    disk = bytes(range(251)) * (64 * PAGE // 251)

    for offset in (0, 1, 5, PAGE, PAGE + 7, 3 * PAGE - 1):
        assert PagedReader(Counting(disk)).read(offset, 40 * PAGE) == disk[offset:][: 40 * PAGE]


def test_old_pages_go():
    disk = Counting(bytes(100 * PAGE))
    pages = PagedReader(disk)
    for number in range(100):
        pages.read(number * PAGE, 1)

    pages.read(0, 1)
    pages.read(99 * PAGE, 1)

    assert disk.reads == 101


def test_half_as_many_pages_as_are_kept_are_read_at_once():
    for count, reads in ((31, 31), (32, 32), (33, 1)):
        disk = Counting(bytes(64 * PAGE))

        PagedReader(disk).read(0, count * PAGE)

        assert disk.reads == reads


def test_the_page_that_was_used_last_stays_longest():
    # given as many pages as are kept, of which the first one was used again
    disk = Counting(bytes(100 * PAGE))
    pages = PagedReader(disk)
    for number in (*range(64), 0):
        pages.read(number * PAGE, 1)
    assert disk.reads == 64
    # when another one comes, then the second one goes
    pages.read(64 * PAGE, 1)
    for number in (0, 64, *range(2, 64)):
        pages.read(number * PAGE, 1)
    assert disk.reads == 65
    pages.read(PAGE, 1)
    assert disk.reads == 66
