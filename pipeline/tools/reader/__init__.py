"""A guest's files without a virtual machine: read by libyal, in a process that can do nothing else.

    client.py ─ child.py ──questions──▶ worker.py ─ ext.py, xfs.py, ntfs.py, hive.py ─▶ libyal
                 ▲  │                     │         fat.py, by itself                  │
                 │  └────── bytes ◀───────┴────────── volume.py ◀── reads ─────────────┘
    gates.py: what the libraries would read wrongly never meets them

Ours: client.py, child.py, gates.py.  The child's: worker.py, lock.py, volume.py, the file systems, hive.py.
Both: wire.py.  https://github.com/libyal
"""
