"""How images on servers are tried."""

import subprocess

QUICK = {"IMGPREP_STORE_DEADLINE": "5", "IMGPREP_STORE_TIMEOUT": "5"}
"""Seconds until a server that fails is given up."""


def require_equal(output, folder):
    """A VHD that holds the folder's disk."""
    same = ["qemu-img", "compare", "-f", "vpc", "-F", "qcow2", output, folder / "disk.qcow2"]
    done = subprocess.run(same, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
