"""Checks both files before any work and lists the runs that `dvc repro` makes."""

import argparse

from omgsr.commands import profile

arguments = profile


def run(given: argparse.Namespace) -> int:
    """Prints what the configuration makes, in a few lines."""
    from omgsr import config

    settings = config.load(given.folder, given.profile)
    for name, value in {
        "profile": (settings.profile,),
        "runs": settings.run_names,
        "beside them": settings.method_names,
        "benchmarks": settings.benchmarks,
        "metrics": settings.score.metrics,
    }.items():
        print(f"{name:12} {', '.join(value)}")
    return 0
