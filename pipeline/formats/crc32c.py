"""CRC-32C (Castagnoli), as VHDX uses it: polynomial 0x1EDC6F41, reflected.

RFC 3720, appendix B.4 (https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4) has test vectors.  VHDX
sums 64 KiB of mostly zeros, so long runs of trailing zeros are not walked byte by byte: appending
zeros is linear over GF(2), and a doubled run is the operator applied twice.
"""

from __future__ import annotations

from functools import lru_cache

from pipeline.formats.tables import used_length

_POLYNOMIAL = 0x82F63B78


def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return tuple(found)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The checksum of ``data``."""
    used = data[: used_length(data)]
    state = 0xFFFFFFFF
    for value in used:
        state = state >> 8 ^ _TABLE[(state ^ value) & 0xFF]
    return _append_zeros(state, len(data) - len(used)) ^ 0xFFFFFFFF


def _append_zeros(state: int, count: int) -> int:
    power = 0
    while count:
        if count & 1:
            state = _apply(_operator(power), state)
        count >>= 1
        power += 1
    return state


def _apply(operator: tuple[int, ...], state: int) -> int:
    found = 0
    for column in operator:
        if state & 1:
            found ^= column
        state >>= 1
    return found


@lru_cache(maxsize=32)
def _operator(power: int) -> tuple[int, ...]:
    """What 2**power zero bytes do to each bit of the state."""
    if power == 0:
        return tuple((1 << bit) >> 8 ^ _TABLE[(1 << bit) & 0xFF] for bit in range(32))
    half = _operator(power - 1)
    return tuple(_apply(half, column) for column in half)
