"""What the tests of this room share."""

from hostile_corpus import corpus

__all__ = ["corpus"]
