"""Faults on purpose: what kills, full disks, flipped bits and company do to a pipeline run."""
