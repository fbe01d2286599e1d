"""Targets: one file a way of making the artifact that a cloud takes.

choice.py     what a profile or ``--format`` asks for, and who makes it
tap_vhd.py    the dynamic VHD of XenServer       planned: its bytes are made when they are read
linear.py     raw, and the fixed VHD             planned
qemu.py       qcow2, VMDK, VHDX, VDI             written by qemu-img, as a file
artifact.py   any of them, opened for reading at any offset
writing.py    any of them, written to a local file
comparison.py the disk inside an artifact against the source's
"""
