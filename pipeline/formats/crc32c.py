"""CRC-32C (Castagnoli), as VHDX, ext4 and XFS use it: polynomial 0x1EDC6F41, reflected.

RFC 3720, appendix B.4 (https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4) has test vectors.
"""

from __future__ import annotations

import google_crc32c


def crc32c(data: bytes, before: int = 0) -> int:
    """The checksum of ``data``, or of what has the checksum ``before`` with ``data`` behind it."""
    return int(google_crc32c.extend(before, data))
