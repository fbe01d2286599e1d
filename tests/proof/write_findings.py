#!/usr/bin/env python3
"""Write ``findings.json`` anew, as the program judges now; whoever runs it reads what changed.

.venv/bin/python tests/proof/write_findings.py [IMAGE…]      all images, or these rows alone
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import proof_images as images  # noqa: E402
from test_requirements_on_images import TABLE, found  # noqa: E402


def main() -> None:
    """Judge, and write."""
    names = sys.argv[1:] or images.NAMES
    rows = TABLE | {name: found(images.seen(name)) for name in names}
    chosen = {name: rows[name] for name in images.NAMES if name in rows}
    (HERE / "findings.json").write_text(json.dumps(chosen, indent=1) + "\n")


if __name__ == "__main__":
    main()
