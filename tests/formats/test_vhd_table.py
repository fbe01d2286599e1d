"""The block table's fast answers are those of a plain loop."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.vhd_bytes import UNALLOCATED
from pipeline.formats.vhd_table import Table

BLOCK = 2 << 20

# near misses of the mark for "nothing is stored here", and blocks that repeat
entries = st.lists(
    st.sampled_from([UNALLOCATED, UNALLOCATED, 0, 7, 0xFFFFFFFE, 0x00FFFFFF, 0xFFFFFF00])
    | st.integers(0, UNALLOCATED),
    min_size=1,
    max_size=70,
)


def table(numbers: list[int]) -> Table:
    data = b"".join(number.to_bytes(4, "big") for number in numbers)
    return Table.parse(data, 1536, len(data), BLOCK)


def stored(numbers: list[int]) -> list[int]:
    return [at for at, number in enumerate(numbers) if number != UNALLOCATED]


@given(entries)
def test_what_is_stored(numbers: list[int]) -> None:
    made = table(numbers)
    assert list(made.entries) == numbers
    assert [at for at, flag in enumerate(made.stored) if flag] == stored(numbers)
    assert made.allocated() == sorted(numbers[at] for at in stored(numbers))


@given(entries, st.data())
def test_a_map_that_marks_what_is_not_stored(numbers: list[int], data: st.DataObject) -> None:
    # given a map at least as long as the table
    size = -(-len(numbers) // 8)
    bits = data.draw(st.binary(min_size=size, max_size=size + 3) | st.just(bytes(size)))
    marked = [at for at in range(8 * len(bits)) if bits[at // 8] & 0x80 >> at % 8]
    # when it is asked for the first block that is wrong, then a loop finds the same
    wrong = [at for at in marked if at not in stored(numbers)]
    assert table(numbers).first_unstored(bits) == (wrong[0] if wrong else None)
