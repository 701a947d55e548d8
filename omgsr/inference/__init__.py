"""Any picture restored: tiles, precision, memory, colours; `pictures` reads and writes files.

May import `training` and the rooms before it.
"""
