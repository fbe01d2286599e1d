"""Text for people: sizes, durations, and strings that nobody vouches for.

A file name, a volume label or a line of a guest's ``/etc/os-release`` may hold terminal escapes or
newlines.  ``clean`` is what stands between such a string and a message.
"""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(count: int | None) -> str:
    """A number of bytes for people: ``1.5 GiB``; exact below one KiB."""
    if count is None:
        return "unknown"
    if abs(count) < 1024:
        return counted(count, "byte")
    value = float(count)
    for unit in _UNITS:
        value /= 1024
        if abs(value) < 1024 or unit == _UNITS[-1]:
            break
    return f"{value:.4g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def counted(number: int, noun: str) -> str:
    """``1 byte``, ``2 bytes``: a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Seconds for people: ``0.2 s``, ``3 min 5 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def clean(text: str | bytes, limit: int = 400) -> str:
    """``text`` with every character that could steer a terminal or a line written as an escape."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join(_visible(character) for character in shown)
    return shown[: limit - 1] + "…" if len(shown) > limit else shown


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
