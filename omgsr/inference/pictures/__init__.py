"""Picture files in and out: formats, metadata, what to restore, and the record of it."""
