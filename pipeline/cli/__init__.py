"""The command line: the only room that prints."""

from __future__ import annotations

import gc
import sys


def start() -> None:
    """The command ``imgprep``.  Ctrl-C ends it quietly even while Python still loads its parts."""
    try:
        if sys.argv[1:] == ["--version"] and _version_printed():
            return
        gc.disable()  # what is loaded stays to the end: to look through it again and again costs 12 ms
        from pipeline.cli.main import main

        gc.freeze()
        gc.enable()
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _version_printed() -> bool:
    """Scripts ask for it often, and none of the parts is needed.  What fails, ``main`` tells."""
    from pipeline import __version__

    try:
        print(f"imgprep {__version__}", flush=True)
    except OSError:
        return False
    return True
