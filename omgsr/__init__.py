"""OMGSR: one mid-timestep guidance for real-world image super-resolution (the method; no tracking, no pipeline)."""
