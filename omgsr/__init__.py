"""OMGSR: one-step real-world image super-resolution that enters the diffusion at its mid-timestep.

The method alone: no experiment tracking and no pipeline, those live in `stages/`.
"""
