"""The commands of `omgsr`, one module each: DESCRIPTION, `arguments` and `run`, which imports.

What a command needs is imported when it runs, so that help answers at once.
"""
