"""What lies inside a disk: found on the host as far as possible, read through a tree otherwise.

    survey.py     volumes of a disk: partitions, file systems, LVM (from bytes, no process)
    tree.py       files of a guest: careful paths over anything that can stat, list and read
    volumes.py    handles of a disk's volumes; roots.py finds the systems on them, mounts.py follows fstab
    answers.py    a value or the reason why nobody knows it; records of answers become JSON
    section.py    GuestFacts: the names and types of all facts
    system.py     LinuxSystem, the frozen record of all subjects; facts.py makes the section of it
    others        one subject a file: boot/, kernels, drivers, network/, cloud-init, sshd, Windows, …

Nothing here starts a process: ``pipeline.tools.appliance.launch`` brings the tree.
"""
