"""Any picture restored: tiles, precision, memory, colours; `pictures` reads and writes files."""
