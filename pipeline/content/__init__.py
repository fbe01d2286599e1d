"""What lies *on a disk*: partitions, file systems, LVM, archives of a boot loader.

Pure knowledge of bytes, as ``pipeline.formats`` is of containers: it may import that room, never the
other way round, and starts no process.
"""
