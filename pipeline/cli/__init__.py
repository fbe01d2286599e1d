"""The command line: the only room that prints."""

from __future__ import annotations


def start() -> None:
    """The command ``imgprep``.  Ctrl-C ends it quietly even while Python still loads its parts."""
    try:
        from pipeline.cli.main import main

        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
