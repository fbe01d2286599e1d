"""The segment engine: an artifact into any ``ObjectStore``, resumed exactly and proved.

It knows the protocol (``protocol.py``) and no store: ``pipeline.stores`` imports this room.
"""
