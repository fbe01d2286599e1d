"""What lies inside a disk: found on the host as far as possible, read through a tree otherwise.

    survey.py     volumes of a disk: partitions, file systems, LVM (from bytes, no process)
    tree.py       files of a guest: careful paths over anything that can stat, list and read
    facts.py      the guest section of the facts, collected from both
    others        one subject a file: boot, kernels, network, cloud-init, Windows, …

Nothing here starts a process: ``pipeline.tools.appliance.launch`` brings the tree.
"""
