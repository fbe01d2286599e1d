"""The boot sector of FAT12 and FAT16 is believed when directories lie where its numbers put them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import made_volumes as made
import pytest
from handmade import Memory

from pipeline.content.free_space import fat
from pipeline.content.free_space.base import Effort, KeptError
from pipeline.content.free_space.fat import FatMap, Geometry
from tests.content.free_space.kept import reason

TABLE, TABLE_SIZE, ROOT, CLUSTER = 1536, 1536, 5 * 512, 1024
DATA = TABLE + 2 * TABLE_SIZE + ROOT
CLUSTERS = 400
Listing = Sequence[bytes]


def named(cluster: int, name: bytes = b"DIR", attributes: int = 0x10) -> bytes:
    """An entry of a directory; by default another directory."""
    return made.fat_entry(name, attributes, cluster)


def volume(root: Listing, directories: Mapping[int, Listing]) -> FatMap:
    """Directories by their first cluster; each begins with itself and what it lies in."""
    data = bytearray(named(77, b"NOT HERE") * ((DATA + CLUSTERS * CLUSTER) // 32))
    parts = [(TABLE + 2 * TABLE_SIZE, b"".join(root).ljust(ROOT, b"\0"))]
    for number, listing in directories.items():
        own = named(number, b".") + named(0, b"..") + b"".join(listing)
        parts.append((DATA + (number - 2) * CLUSTER, own.ljust(CLUSTER, b"\0")))
    for at, part in parts:
        data[at : at + len(part)] = part
    geometry = Geometry(12, TABLE, TABLE_SIZE, DATA, CLUSTER, CLUSTERS, 0xF8, 0, in_use=False)
    return FatMap(Memory(bytes(data)), geometry)


NONE = "its boot sector puts a directory where none is"
NOTHING = "nothing tells that its boot sector is right"
LAST = CLUSTERS + 1
CASES: dict[str, tuple[Listing, Mapping[int, Listing], str | None]] = {
    "a directory": ([named(3)], {3: ()}, None),
    "in the last cluster": ([named(LAST)], {LAST: ()}, None),
    "behind the last cluster": ([named(LAST + 1)], {}, NOTHING),
    "behind it, and one inside": ([named(3), named(LAST + 1)], {3: ()}, None),
    "no directory": ([named(3, b"FILE", 0x20)], {3: ()}, NOTHING),
    "in the first cluster only": ([named(2)], {2: ()}, NOTHING),
    "in the first cluster, and one in it": ([named(2)], {2: [named(3)], 3: ()}, None),
    "none there": ([named(3)], {}, NONE),
    "none in a far cluster": ([named(300)], {44: ()}, NONE),
    "none in the first cluster": ([named(3), named(2)], {3: ()}, NONE),
    "another there": ([named(9)], {9 + 256: (), 9: ()}, None),
    "deleted": ([named(4, b"\xe5LD"), named(3)], {3: ()}, None),
    "of a name in other letters": ([named(4, b"\xf1DIR"), named(3)], {3: ()}, NONE),
    "a label": ([named(4, b"LABEL", 0x08), named(3)], {3: ()}, None),
    "a label that says it is one": ([named(4, b"LABEL", 0x18), named(3)], {3: ()}, None),
    "hidden, of the system, to read only": ([named(4, b"D", 0x17)], {4: ()}, None),
    "hidden, and none there": ([named(4, b"D", 0x37)], {}, NONE),
    "behind the end": ([named(3), b"\0" * 32, named(4)], {3: ()}, None),
    "before the end": ([named(3), b"\1" * 11 + named(4)[11:]], {3: ()}, NONE),
    "the root's last entry": ([named(0, b"F", 0x20)] * 79 + [named(4)], {}, NONE),
    "a cluster's last entry": ([named(3)], {3: [*[named(0, b"F", 0)] * 29, named(5)]}, NONE),
    "beyond a cluster's last entry": ([named(3)], {3: [named(0, b"F", 0)] * 30, 4: ()}, None),
    "one below the other": ([named(3)], {3: [named(5)], 5: [named(7)]}, NONE),
    "in a ring": ([named(3)], {3: [named(5)], 5: [named(3), named(0)]}, None),
    "two, one not there": ([named(3), named(8)], {3: ()}, NONE),
    "two, the first not there": ([named(8), named(3)], {3: ()}, NONE),
}


@pytest.mark.parametrize("name", CASES)
def test_where_directories_lie(name: str) -> None:
    root, directories, wanted = CASES[name]

    assert reason(volume(root, directories)._prove_places) == wanted


def test_what_a_directory_says_of_itself() -> None:
    # given a directory at 300: its own entry has another name, or another cluster
    at = DATA + 298 * CLUSTER
    whole = volume([named(300)], {300: ()})
    whole._prove_places()
    memory = whole._volume
    assert isinstance(memory, Memory)
    for byte, value in ((0, 0x20), (1, 0x2E), (10, 0x2E), (26, 45), (27, 0), (27, 2)):
        damaged = FatMap(memory.also(at + byte, bytes([value])), whole.geometry)
        with pytest.raises(KeptError, match=NONE):
            damaged._prove_places()
    for byte in (11, 25, 28, 31):
        FatMap(memory.also(at + byte, b"\x99"), whole.geometry)._prove_places()


@pytest.mark.parametrize("bits", [12, 16])
def test_a_fat_without_directories_is_kept(bits: int) -> None:
    whole = Memory(made.fat(bits))
    found = fat.look(whole, Effort())
    root = found.geometry.data - 512
    assert found.free > 0

    assert reason(fat.look, whole.also(root, bytes(512)), Effort()) == NOTHING


@pytest.mark.parametrize(("bad", "wanted"), [(6, NONE), (5, None)])
def test_sixty_four_directories_are_looked_at(bad: int, wanted: str | None) -> None:
    # given 70 of them, which are looked at from the last one on
    numbers = range(10, 80)
    root = [named(number) for number in numbers]
    directories = {n: () for n in numbers if n != numbers[bad]}

    assert reason(volume(root, directories)._prove_places) == wanted
