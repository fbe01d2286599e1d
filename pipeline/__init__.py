"""imgprep: prepare a virtual machine's disk image for a cloud's import, and store it there."""

__version__ = "0.1.0"
