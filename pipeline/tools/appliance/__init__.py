"""libguestfs: one virtual machine that reads guests, started, asked and ended."""
