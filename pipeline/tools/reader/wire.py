"""What goes over the socket between the reader's child and us.

frame   0  1  kind           1  4  length of the payload, little-endian        5  …  payload

kind  direction  payload
Q     to child   JSON: {"call": NAME, …}
A     to us      JSON: {"value": …}, {"error": TEXT} (so it is on the disk) or {"unable": TEXT}
B     to us      bytes: the answer to "read"
R     to us      volume (4), offset (8), length (4): the child needs these bytes of a volume
D     to child   the bytes
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("<cI")
RANGE = struct.Struct("<IQI")
QUESTION, ANSWER, BYTES, NEED, DATA = b"Q", b"A", b"B", b"R", b"D"
LARGEST = 32 << 20  # bytes of a payload
LARGEST_RANGE = 1 << 20  # bytes that the child may ask for at once


_SMALL = 16 << 10  # bytes that are cheaper to copy than to send by themselves


def parts(kind: bytes, payload: bytes) -> tuple[bytes, ...]:
    """One frame, as what is to be sent one after the other."""
    header = HEADER.pack(kind, len(payload))
    return (header + payload,) if len(payload) <= _SMALL else (header, payload)
