"""The only room that may start a process."""
