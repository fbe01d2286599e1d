"""A directory, written so that it could be a network share."""
