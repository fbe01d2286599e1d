"""Images that lie on a server: read by ranges, or copied to scratch where that is not enough.

    stores.sources ──Origin──▶ RemoteSource ─┬─ read(), view()   what lies in its file as it is
                                             └─ copy_of()        what only a tool can read

Nothing here opens a connection: whoever does (``pipeline.stores.sources``) hands an ``Origin`` in.
"""
