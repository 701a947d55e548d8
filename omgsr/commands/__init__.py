"""The commands of `omgsr`, one module each: NAME, HELP, `arguments` and `run`."""
