"""What holds where nobody chose: data in ``schemas/defaults.json``, so that no code knows a cloud."""

from __future__ import annotations

import json
from pathlib import Path

_FILE = Path(__file__).resolve().parents[1] / "schemas" / "defaults.json"

PROFILE: str = json.loads(_FILE.read_bytes())["profile"]
"""Whose requirements an image is judged by when no profile is named."""
