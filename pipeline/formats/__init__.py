"""Container formats, from bytes alone."""
