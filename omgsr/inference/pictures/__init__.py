"""Picture files in and out: formats, metadata, what to restore, and the record of what was done.

Part of `inference`.
"""
