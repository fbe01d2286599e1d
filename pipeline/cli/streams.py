"""The standard streams: there although the caller closed them, and given up when nobody can take them."""

from __future__ import annotations

import logging
import os
import sys
import warnings

NAMES = ("stdin", "stdout", "stderr")


def open_missing() -> None:
    """Put /dev/null where a standard stream is closed.

    Otherwise the next file that is opened, for instance the image, gets the stream's number, and what
    a library prints goes there.
    """
    for number, name in enumerate(NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            stream = os.fdopen(number, "r" if number == 0 else "w", closefd=False)
            setattr(sys, name, stream)


def give_up_output() -> None:
    """Send what nobody takes nowhere: Python would fail once more, with code 120, at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


def quiet_libraries() -> None:
    """What libraries log or warn of is for their developers; our messages say what a person needs."""
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
